"""Function calls that Vertex streams argument by argument (`streamFunctionCallArguments`).

A call begins with its name, goes on in parts whose `partialArgs` say what comes to which place, and ends with
a part that does not say `willContinue`. OpenAI's arguments are one JSON text, so a call is told as a whole.
Source: FunctionCall and PartialArg of google/cloud/aiplatform/v1/tool.proto
(https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/Content#functioncall).
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, Final

from ...core.json import Json
from ..pivot import integer, obj, objects, text

_STEP: Final = re.compile(r"""\.([^.\[\]]+)|\[(\d+)\]|\['([^']*)'\]|\["([^"]*)"\]""")
"""One step of a JSON path such as `$.foo.bar[0]['a b']` (RFC 9535, as far as it names one place)."""
_MOST: Final = 10_000
"""Places of a list that may be left out before one that is named."""


class PartialCall:
    """A call on its way."""

    def __init__(self) -> None:
        self._call: Json = {}
        self._args: Json = {}
        self.signature = ""

    def is_of(self, call: Json) -> bool:
        """Whether a part goes on with this call; one with another name or id begins another."""
        return all(
            not text(call.get(name)) or text(self._call.get(name)) in ("", call[name])
            for name in ("name", "id")
        )

    def take(self, call: Json, signature: str) -> bool:
        """Add a part; True where it was the last one."""
        self._call.update({name: call[name] for name in ("name", "id") if text(call.get(name))})
        self.signature = signature or self.signature
        self._args.update(obj(call.get("args")))
        for partial in objects(call.get("partialArgs")):
            _put(self._args, text(partial.get("jsonPath")), _value(partial))
        return call.get("willContinue") is not True

    def part(self) -> Json:
        """The part that says the call as a whole, as far as it has come."""
        part: Json = {"functionCall": {**self._call, "args": self._args}}
        if self.signature:
            part["thoughtSignature"] = self.signature
        return part


def is_partial(call: Json) -> bool:
    """Whether a part holds a piece of a call only."""
    return call.get("willContinue") is True or bool(call.get("partialArgs"))


def _value(partial: Json) -> Any:
    for name in ("stringValue", "numberValue", "boolValue"):
        if partial.get(name) is not None:
            value = partial[name]
            whole = integer(value) if name == "numberValue" else None
            return value if whole is None else whole
    return None


def _put(args: Json, path: str, value: Any) -> None:
    """Put a value where the path leads; a text goes on where there is one."""
    steps: list[str | int] = [
        int(found[2]) if found[2] else found[1] or found[3] or found[4] or ""
        for found in _STEP.finditer(path[:4096])
    ]
    if not steps or isinstance(steps[0], int):
        return
    place: Any = args
    for step, following in pairwise(steps):
        if not _reaches(place, step):
            return
        if place[step] is None:
            place[step] = [] if isinstance(following, int) else {}
        place = place[step]
    last = steps[-1]
    if _reaches(place, last):
        known = place[last]
        place[last] = known + value if isinstance(known, str) and isinstance(value, str) else value


def _reaches(place: Any, step: str | int) -> bool:
    """Whether a step leads from a place; what it leads to is None where there was nothing yet."""
    if isinstance(step, str) and isinstance(place, dict):
        place.setdefault(step, None)
        return True
    if isinstance(step, int) and isinstance(place, list) and step < len(place) + _MOST:
        place += [None] * (step + 1 - len(place))
        return True
    return False
