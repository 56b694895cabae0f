"""Newline-delimited JSON without I/O: one JSON value a line.

Source: https://github.com/ndjson/ndjson-spec. Ollama answers so (`application/x-ndjson`), and Cohere's v1
chat (`application/stream+json`).
"""

from __future__ import annotations

from .sse import MAX_FRAME


class LineTooLarge(ValueError):
    """A line is larger than the limit. `lines` came before it in the same `feed` and are good."""

    def __init__(self, limit: int, lines: list[bytes] | None = None) -> None:
        super().__init__(f"a line of the provider's stream exceeds {limit} bytes")
        self.limit = limit
        self.lines = lines or []


class NDJSONDecoder:
    """Bytes in, lines out (without line ends, empty ones left out); the same lines however the bytes are
    split.
    """

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max = max_frame
        self._held: list[bytes] = []
        self._held_size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes. Raises LineTooLarge; the decoder is of no use after that."""
        end = data.rfind(b"\n")
        if end < 0:
            if data:
                self._hold(data, [])
            return []
        self._held.append(data[:end])
        block = b"".join(self._held)
        self._held.clear()
        self._held_size = 0
        lines = self._lines(block)
        if end + 1 < len(data):
            self._hold(data[end + 1 :], lines)
        return lines

    def finish(self) -> list[bytes]:
        """The stream has ended: the line that no line end closed, if any."""
        rest = b"".join(self._held)
        self._held.clear()
        self._held_size = 0
        return self._lines(rest)

    def _lines(self, block: bytes) -> list[bytes]:
        lines: list[bytes] = []
        for line in block.split(b"\n"):
            line = line.strip()
            if not line:
                continue
            if len(line) > self._max:
                raise LineTooLarge(self._max, lines)
            lines.append(line)
        return lines

    def _hold(self, data: bytes, lines: list[bytes]) -> None:
        self._held.append(data)
        self._held_size += len(data)
        # White space around a line does not count; a line that long is no JSON's.
        if self._held_size > self._max + 2:
            raise LineTooLarge(self._max, lines)
