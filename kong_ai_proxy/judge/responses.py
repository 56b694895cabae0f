"""The Responses API's requests and answers, as a judge gets to see them. Whatever stands in them, nothing
raises.

Sources: https://platform.openai.com/docs/api-reference/responses/object and .../responses-streaming; the
members of each kind of call are those of openai 3.54's types (types/responses/response_*_tool_call.py,
response_output_item.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from ..core.json import Json
from ..formats.pivot import decoded, obj, objects, text
from ..wire.sse import Event, SSEDecoder
from .calls import Said, bounded, call_of

_CALLS: Final[dict[str, tuple[str, ...]]] = {
    "function_call": ("arguments",),
    "custom_tool_call": ("input",),
    "computer_call": ("action", "actions"),
    "local_shell_call": ("action",),
    "shell_call": ("action",),
    "apply_patch_call": ("operation",),
}
"""Items that ask the client to do something → where what it is stands. The rest is the provider's doing."""
_ENDS: Final = frozenset({"response.completed", "response.incomplete"})
_ITEM: Final = "response.output_item.done"
_DONE: Final = _ITEM.encode()
_PIECE: Final = 16 * 1024
"""Bytes of a stream that are read at a time."""
_FRAME_MAX: Final = 2 * 1024 * 1024
"""Bytes of an event: more than what is kept of an answer."""


def messages(body: Json, text_of: Callable[[Any], str]) -> Iterator[tuple[str, str]]:
    """Role, as it stands there, and text of what a request says. `text_of`: a content's text."""
    yield "system", text(body.get("instructions"))
    said = body.get("input")
    if isinstance(said, str):
        yield "user", said
        return
    for item in objects(said):
        kind = text(item.get("type"))
        if kind.endswith("_output"):
            yield "tool", text_of(item.get("output"))
        elif kind in ("", "message"):
            yield text(item.get("role")).lower(), text_of(item.get("content"))


def answer(response: Any, text_of: Callable[[Any], str]) -> Said:
    """Of a whole one."""
    return _said(objects(obj(response).get("output")), text_of)


def streamed(data: bytes, text_of: Callable[[Any], str], give: Callable[[], None]) -> Said:
    """Of a stream: its last event has the whole answer; where that one has no output, what was told done
    before. `give` is called now and then."""
    decoder = SSEDecoder(_FRAME_MAX)
    items: list[Json] = []
    whole: list[Json] = []

    def read(events: list[Event]) -> None:
        for event in events:
            # Most are pieces of what the last one has whole.
            if _DONE not in event.data and b'"output"' not in event.data:
                continue
            body = obj(decoded(event.data))
            kind = body.get("type")
            if kind in _ENDS:
                whole.extend(objects(obj(body.get("response")).get("output")))
            elif kind == _ITEM:
                items.append(obj(body.get("item")))

    for start in range(0, len(data), _PIECE):
        read(decoder.feed(data[start : start + _PIECE]))
        give()
    read(decoder.finish())
    return _said(whole or items, text_of)


def _said(items: list[Json], text_of: Callable[[Any], str]) -> Said:
    texts, calls = [], []
    for item in items:
        kind = text(item.get("type"))
        if kind == "message":
            texts.append(text_of(item.get("content")))
        elif kind in _CALLS:
            what = next((item[name] for name in _CALLS[kind] if item.get(name) is not None), None)
            calls.append(call_of(item.get("name") or kind.removesuffix("_call"), what))
    return Said("\n".join(filter(None, texts)), bounded(calls))
