"""AWS event streams without I/O: frames with headers, a payload and two checksums.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html (the encoding all AWS
services share). botocore parses and checks.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple
from zlib import crc32

from botocore.eventstream import EventStreamBuffer, ParserError

MAX_FRAME = 16 * 1024 * 1024
"""Bytes one frame may have unless said otherwise."""

_PRELUDE = struct.Struct(">II")
_CRC = struct.Struct(">I")
_STRING = 7
_OVERHEAD = 16
"""Prelude (two lengths and their checksum) and the frame's checksum."""


class Frame(NamedTuple):
    """One message of the stream."""

    headers: Mapping[str, Any]
    payload: bytes

    @property
    def kind(self) -> str:
        """`:message-type`: "event", "exception" or "error"."""
        return str(self.headers.get(":message-type", "event"))

    @property
    def name(self) -> str:
        """What event or exception it is."""
        found = self.headers.get(":event-type") or self.headers.get(":exception-type")
        return str(found or self.headers.get(":error-code") or "")


class BadFrame(ValueError):
    """A frame is corrupt or too large. `frames` came before it in the same `feed` and are good."""

    def __init__(self, message: str, frames: list[Frame]) -> None:
        super().__init__(message)
        self.frames = frames


class EventStreamDecoder:
    """Bytes in, frames out; the same frames however the bytes are split."""

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max = max_frame
        self._buffer = EventStreamBuffer()
        self._held: list[bytes] = []
        self._held_size = 0
        self._wanted = 12
        """Bytes that must be there before it is worth parsing: the prelude, then the whole frame."""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes. Raises BadFrame; the decoder is of no use after that."""
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size < self._wanted:
            return []
        rest = b"".join(self._held)
        frames: list[Frame] = []
        while len(rest) >= 12:
            size = int.from_bytes(rest[:4], "big")
            if size > self._max:
                raise BadFrame(f"a frame of the provider's stream exceeds {self._max} bytes", frames)
            if size < _OVERHEAD:
                raise BadFrame("a frame of the provider's stream is corrupt", frames)
            if len(rest) < size:
                break
            frames.append(self._parse(rest[:size], frames))
            rest = rest[size:]
        self._held = [rest] if rest else []
        self._held_size = len(rest)
        self._wanted = int.from_bytes(rest[:4], "big") if len(rest) >= 12 else 12
        return frames

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not complete yet. Not 0 at the end: the stream was cut."""
        return self._held_size

    def _parse(self, data: bytes, frames: list[Frame]) -> Frame:
        self._buffer.add_data(data)
        try:
            message = self._buffer.next()
        except (ParserError, StopIteration, KeyError, ValueError, struct.error) as error:
            raise BadFrame("a frame of the provider's stream is corrupt", frames) from error
        return Frame(message.headers, message.payload)


def encode_frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One frame with string headers and right checksums."""
    head = b"".join(
        bytes((len(name := key.encode()),))
        + name
        + bytes((_STRING,))
        + len(value := text.encode()).to_bytes(2, "big")
        + value
        for key, text in headers.items()
    )
    prelude = _PRELUDE.pack(len(head) + len(payload) + _OVERHEAD, len(head))
    frame = prelude + _CRC.pack(crc32(prelude)) + head + payload
    return frame + _CRC.pack(crc32(frame))
