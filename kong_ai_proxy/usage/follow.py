"""Reading lines as they are written."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

_PIECE: Final = 256 * 1024
_LONGEST_LINE: Final = 64 * 1024 * 1024
"""Bytes of a line without an end that are kept; payloads may be logged."""


class Lines:
    """Puts pieces together to whole lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are whole now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        return lines

    def finish(self) -> list[bytes]:
        """What is left at the end of the input."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


class FollowedFile:
    """A file that grows, is emptied, or is replaced by a new one of its name (log rotation)."""

    def __init__(self, path: str | Path) -> None:
        """Raises OSError where it cannot be read."""
        self._path = path
        self._lines = Lines()
        self._file: IO[bytes] = open(path, "rb", buffering=0)  # noqa: SIM115

    def read(self) -> Iterator[bytes]:
        """The lines that have come since the last call."""
        yield from self._rest()
        if self._replaced():
            yield from self._rest()
            yield from self._lines.finish()
            self._file.close()
            self._file = open(self._path, "rb", buffering=0)  # noqa: SIM115
            yield from self._rest()

    def close(self) -> None:
        self._file.close()

    def _rest(self) -> Iterator[bytes]:
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._lines.finish()
            self._file.seek(0)
        while data := self._file.read(_PIECE):
            yield from self._lines.feed(data)

    def _replaced(self) -> bool:
        """Another file has the name. Between the old one's going and the new one's coming there is none."""
        try:
            now, ours = os.stat(self._path), os.fstat(self._file.fileno())
        except OSError:
            return False
        return (now.st_dev, now.st_ino) != (ours.st_dev, ours.st_ino)


class FollowedPipe:
    """Standard input from a program that goes on writing."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lines = Lines()
        self.ended = False

    def read(self, seconds: float) -> Iterator[bytes]:
        """The lines that are there; waits for something up to so long."""
        while not self.ended and select.select([self._fd], [], [], seconds)[0]:
            seconds = 0.0
            data = os.read(self._fd, _PIECE)
            if data:
                yield from self._lines.feed(data)
            else:
                self.ended = True
                yield from self._lines.finish()
