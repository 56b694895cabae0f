"""What OpenAI's SDK cannot put together from pieces, told in one.

Its accumulator (openai 3.54: lib/streaming/_deltas.py) takes the first list of objects it meets under a name
as it is, and raises on a second one whose entries have no `index`; texts it joins. The gateway's own members
come one for each block of an answer (two blocks of thinking, citations of several texts), so a client that
reads with `chat.completions.stream` would fail on them. They go out with the choice's end.

Source: https://github.com/openai/openai-python.
"""

from __future__ import annotations

from typing import Final

from ...core.json import Json

_HELD: Final = frozenset({"thinking_blocks", "annotations", "provider_specific_fields"})


class HeldBack:
    """The members of one stream that wait for the end of their choice."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[int, Json] = {}

    def pass_on(self, chunk: Json) -> Json | None:
        """The chunk as it goes out; None where all of it waits. What is given is left as it was."""
        choices = chunk.get("choices") or ()
        for choice in choices:
            delta = choice.get("delta")
            if delta and not _HELD.isdisjoint(delta):
                break
            if self._waiting and choice.get("finish_reason"):
                break
        else:
            return chunk
        kept = [one for choice in choices if (one := self._choice(choice)) is not None]
        return {**chunk, "choices": kept} if kept else None

    def _choice(self, choice: Json) -> Json | None:
        index, ends = choice.get("index", 0), bool(choice.get("finish_reason"))
        delta = choice.get("delta") or {}
        own = {name: value for name, value in delta.items() if name in _HELD}
        if not own and not (ends and index in self._waiting):
            return choice
        waiting = self._waiting.setdefault(index, {})
        _add(waiting, own)
        rest = {name: value for name, value in delta.items() if name not in _HELD}
        if ends:
            del self._waiting[index]
            return {**choice, "delta": {**rest, **waiting}}
        return {**choice, "delta": rest} if rest or choice.get("logprobs") else None


def _add(known: Json, more: Json) -> None:
    """Lists go on, members of objects are added; of other values the last one holds."""
    for name, value in more.items():
        before = known.get(name)
        if isinstance(value, list) and isinstance(before, list):
            known[name] = [*before, *value]
        elif isinstance(value, dict):
            known[name] = dict(before) if isinstance(before, dict) else {}
            _add(known[name], value)
        else:
            known[name] = value
