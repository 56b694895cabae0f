"""Calls of tools in an answer, as a judge gets to see them: each with its name and what it is called with.

Bounded (`CALLS_MOST`, `ARGUMENTS_MOST`); what the provider itself did with tools of its own is not shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from ..core.json import Json, dumps_text
from ..formats.pivot import obj, objects, text

CALLS_MOST: Final = 16
"""Calls of one answer that are shown; further ones are counted."""
ARGUMENTS_MOST: Final = 4000
"""Characters of a call's arguments that are shown."""
TOOLS_MOST: Final = 64
"""Tools on offer that are named."""
DESCRIPTION_MOST: Final = 200
"""Characters of what a tool is said to be for."""
_NAME_MOST: Final = 200
_CUT: Final = "…"


@dataclass(slots=True)
class Said:
    """An answer's text, and the tools that it calls."""

    text: str = ""
    calls: list[Json] = field(default_factory=list)
    """`name` and `arguments`, bounded; at last `more`, where there are further ones."""

    def __bool__(self) -> bool:
        return bool(self.calls or self.text.strip())


def call_of(name: Any, arguments: Any) -> Json:
    """One call. Arguments that are no text are shown as JSON."""
    if arguments is None:
        arguments = ""
    elif not isinstance(arguments, str):
        arguments = dumps_text(arguments)
    return {"name": shortened(text(name), _NAME_MOST), "arguments": shortened(arguments, ARGUMENTS_MOST)}


def bounded(calls: list[Json]) -> list[Json]:
    """The first `CALLS_MOST` of them, and how many more there are."""
    more = len(calls) - CALLS_MOST
    return [*calls[:CALLS_MOST], {"more": more}] if more > 0 else calls


def chat_calls(message: Json) -> list[Json]:
    """Those of a message in chat's form, whole: functions, custom tools, and the old `function_call`."""
    found = [_chat_call(call) for call in objects(message.get("tool_calls"))]
    old = obj(message.get("function_call"))
    return bounded([*found, *([call_of(old.get("name"), old.get("arguments"))] if old else [])])


def _chat_call(call: Json) -> Json:
    custom = obj(call.get("custom"))
    if custom:
        return call_of(custom.get("name"), custom.get("input"))
    function = obj(call.get("function"))
    return call_of(function.get("name"), function.get("arguments"))


class Pieces:
    """Calls that come in pieces, as in a stream of chat's form."""

    def __init__(self) -> None:
        self._calls: dict[Any, tuple[list[str], list[str]]] = {}

    def take(self, delta: Json) -> None:
        """What one piece adds to them."""
        calls = delta.get("tool_calls")
        if calls:
            for call in objects(calls):
                custom = obj(call.get("custom"))
                function = obj(call.get("function"))
                said = custom.get("input") if custom else function.get("arguments")
                index = call.get("index")
                self._add(index if isinstance(index, int) else 0, (custom or function).get("name"), said)
        old = obj(delta.get("function_call"))
        if old:
            self._add("function_call", old.get("name"), old.get("arguments"))

    def _add(self, which: Any, name: Any, arguments: Any) -> None:
        names, said = self._calls.setdefault(which, ([], []))
        names.append(text(name))
        said.append(text(arguments))

    def calls(self) -> list[Json]:
        """All of them."""
        return bounded([call_of("".join(names), "".join(said)) for names, said in self._calls.values()])


def tools_of(body: Json) -> list[Json]:
    """What a request in OpenAI's form, chat's or that of the Responses API, offers to call: name, and what it
    is said to be for."""
    found = []
    for tool in [*objects(body.get("tools")), *objects(body.get("functions"))]:
        inner = obj(tool.get("function")) or obj(tool.get("custom")) or tool
        name = text(inner.get("name")) or text(tool.get("type"))
        if not name:
            continue
        entry: Json = {"name": shortened(name, _NAME_MOST)}
        described = text(inner.get("description"))
        if described:
            entry["description"] = shortened(described, DESCRIPTION_MOST)
        found.append(entry)
        if len(found) == TOOLS_MOST:
            break
    return found


def shortened(said: str, most: int) -> str:
    """So many characters of it, and a sign that there were more."""
    return said if len(said) <= most else said[:most] + _CUT
