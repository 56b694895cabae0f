"""A JSON array that arrives piece by piece, without I/O: each element is given out as soon as it is complete.

Gemini's streamGenerateContent answers so where `alt=sse` is not asked for
(https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent).
"""

from __future__ import annotations

import re

from .sse import MAX_FRAME

_STRUCTURE = re.compile(rb'["{}\[\]]')
_STRING_END = re.compile(rb'["\\]')
_OPENING = b"{["


class ElementTooLarge(ValueError):
    """An element is larger than the limit. `elements` came before it in the same `feed` and are good."""

    def __init__(self, limit: int, elements: list[bytes] | None = None) -> None:
        super().__init__(f"an element of the provider's stream exceeds {limit} bytes")
        self.limit = limit
        self.elements = elements or []


class JSONArrayDecoder:
    """Bytes in, the outer array's objects and arrays out as bytes; the same ones however the bytes are split.

    Objects that follow each other outside any array are given out as well. What else there is between
    elements (commas, white space, numbers) is skipped: these streams are made of objects.
    """

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max = max_frame
        self._held = bytearray()
        self._at = 0
        """Where in `_held` to read on."""
        self._start = -1
        """Where in `_held` the element at hand begins; -1 between elements."""
        self._depth = 0
        """Brackets open inside the element at hand."""
        self._in_string = False
        self._in_array = False
        self._closed = False

    @property
    def complete(self) -> bool:
        """The outer array was closed (or there was none) and nothing is left over."""
        return self._start < 0 and (self._closed or not self._in_array)

    def feed(self, data: bytes) -> list[bytes]:
        """The elements that `data` completes. Raises ElementTooLarge; the decoder is of no use after that."""
        held = self._held
        held += data
        elements: list[bytes] = []
        at = self._at
        size = len(held)
        while at < size:
            if self._in_string:
                found = _STRING_END.search(held, at)
                if found is None:
                    at = size
                elif held[found.start()] == 0x5C:  # a backslash hides the byte that follows it
                    if found.end() == size:
                        at = found.start()
                        break
                    at = found.end() + 1
                else:
                    self._in_string = False
                    at = found.end()
                continue
            found = _STRUCTURE.search(held, at)
            if found is None:
                at = size
                continue
            at = found.end()
            self._step(found.group(), found.start(), elements)
        self._keep(at, elements)
        return elements

    def finish(self) -> list[bytes]:
        """The stream has ended. An element that was cut off is not given out; see `complete`."""
        return []

    def _step(self, byte: bytes | bytearray, where: int, elements: list[bytes]) -> None:
        if byte == b'"':
            # Strings between elements are read over too, so that brackets in them do not count.
            self._in_string = True
        elif byte in _OPENING:
            if self._start >= 0:
                self._depth += 1
            elif byte == b"[" and not self._in_array:
                self._in_array = True
            else:
                self._start = where
                self._depth = 1
        elif self._start < 0:
            self._closed = self._closed or byte == b"]"
        else:
            self._depth -= 1
            if self._depth == 0:
                element = bytes(self._held[self._start : where + 1])
                if len(element) > self._max:
                    raise ElementTooLarge(self._max, elements)
                elements.append(element)
                self._start = -1

    def _keep(self, at: int, elements: list[bytes]) -> None:
        """Forget what was read; only the element at hand is kept."""
        begin = self._start if self._start >= 0 else at
        del self._held[:begin]
        self._at = at - begin
        if self._start >= 0:
            self._start = 0
        if len(self._held) > self._max:
            raise ElementTooLarge(self._max, elements)
