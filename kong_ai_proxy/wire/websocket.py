"""WebSocket frames (RFC 6455), without I/O: read along with a byte stream that is passed on, and made.

A frame passes as it came, mask, fragments and all: nothing is unmasked or joined but what somebody wants to
read. Extensions are never negotiated, so a frame's payload is what was said.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Final

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
POLICY: Final = 1008
TOO_BIG: Final = 1009
BROKEN: Final = 1011
"""RFC 6455, 7.4.1: what made the server unable to go on."""

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTROL_MAX: Final = 125
_REASON_MAX: Final = 123


class ProtocolError(Exception):
    """A peer broke the protocol or a limit; `code` is the close code for it."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Frames:
    """One direction of a WebSocket, read along.

    `feed` gives back what may be passed on: all of it but an incomplete header at its end, and the Close
    frame with whatever follows it. Every frame's header was checked before a byte of it is given out.
    """

    __slots__ = (
        "_body", "_fin", "_held", "_key", "_left", "_limit", "_masked", "_offset", "_opcode", "_size",
        "close", "collect", "messages", "one",
    )  # fmt: skip

    def __init__(self, *, masked: bool, limit: int, collect: bool) -> None:
        """`masked`: frames come from a client. `limit`: bytes of a message. `collect`: keep messages."""
        self._masked = masked
        self._limit = limit
        self._held = b""
        self._left = 0
        self._fin = True
        self._opcode = 0
        """Of the message under way; 0 between messages."""
        self._size = 0
        self._key = b""
        self._offset = 0
        self._body = bytearray()
        self.collect = collect
        """Text and binary messages go to `messages`. May be switched off between messages."""
        self.one = False
        """`feed` holds back what follows the message that it completes."""
        self.messages: list[bytes] = []
        """Complete messages, unmasked; whoever reads them clears the list."""
        self.close: bytes | None = None
        """The Close frame, as it came."""

    @property
    def boundary(self) -> bool:
        """Whether what was given out ends with a frame, so that another frame may follow."""
        return not self._left

    def feed(self, data: bytes) -> bytes:
        """What may be passed on now. Raises ProtocolError."""
        if self._held:
            data = self._held + data
            self._held = b""
        midway = self._left > 0
        try:
            return self._read(data)
        except ProtocolError:
            if midway:
                self._left = 1  # the rest of the frame that was begun stays behind with this data
            raise

    def _read(self, data: bytes) -> bytes:
        position, end = 0, len(data)
        while position < end and self.close is None:
            if not self._left:
                size = self._header(data, position)
                if not size:
                    self._held = data[position:]
                    break
                if self.close is not None:
                    break
                position += size
            if self._left:
                take = min(self._left, end - position)
                if self.collect:
                    self._keep(data[position : position + take])
                self._left -= take
                position += take
            if not self._left and self._frame_ended() and self.one:
                self._held = data[position:]
                break
        return data if position == end else data[:position]

    def _header(self, data: bytes, at: int) -> int:
        """Take a frame's header, and a whole control frame. Gives their size, 0 while they are incomplete."""
        have = len(data) - at
        if have < 2:
            return 0
        first, second = data[at], data[at + 1]
        opcode, length = first & 0x0F, second & 0x7F
        if first & 0x70:
            raise ProtocolError(PROTOCOL_ERROR, "a frame of an extension that was not negotiated")
        if bool(second & 0x80) != self._masked:
            raise ProtocolError(PROTOCOL_ERROR, "a frame that is not masked as it must be")
        size = 2
        if opcode >= CLOSE:
            return self._control(data, at, opcode, bool(first & 0x80), length)
        if length >= 126:
            wide = 2 if length == 126 else 8
            if have < 2 + wide:
                return 0
            size += wide
            length = int.from_bytes(data[at + 2 : at + size], "big")
        if self._masked:
            if have < size + 4:
                return 0
            self._key = data[at + size : at + size + 4]
            self._offset = 0
            size += 4
        if opcode:
            if opcode > BINARY:
                raise ProtocolError(PROTOCOL_ERROR, "a frame of an unknown kind")
            if self._opcode:
                raise ProtocolError(PROTOCOL_ERROR, "a new message within another")
            self._opcode, self._size = opcode, 0
        elif not self._opcode:
            raise ProtocolError(PROTOCOL_ERROR, "a continuation of no message")
        self._size += length
        if self._size > self._limit:
            raise ProtocolError(TOO_BIG, "a message larger than allowed")
        self._fin = bool(first & 0x80)
        self._left = length
        return size

    def _control(self, data: bytes, at: int, opcode: int, fin: bool, length: int) -> int:
        if opcode > PING + 1:
            raise ProtocolError(PROTOCOL_ERROR, "a frame of an unknown kind")
        if not fin or length > _CONTROL_MAX:
            raise ProtocolError(PROTOCOL_ERROR, "a control frame that is fragmented or too long")
        size = 2 + (4 if self._masked else 0) + length
        if len(data) - at < size:
            return 0
        if opcode == CLOSE:
            if length == 1:
                raise ProtocolError(PROTOCOL_ERROR, "a close code of one byte")
            self.close = data[at : at + size]
        return size

    def _keep(self, piece: bytes) -> None:
        if self._masked:
            turn = self._offset & 3
            self._offset += len(piece)
            piece = _xor(piece, self._key[turn:] + self._key[:turn])
        self._body += piece

    def _frame_ended(self) -> bool:
        """Whether a message ended with the frame."""
        if not self._opcode or not self._fin:
            return False
        self._opcode = 0
        if self.collect:
            self.messages.append(bytes(self._body))
            self._body.clear()
        return True


def frame(opcode: int, payload: bytes, *, mask: bool) -> bytes:
    """A whole frame."""
    size, bit = len(payload), 0x80 if mask else 0
    if size < 126:
        head = bytes((0x80 | opcode, bit | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, bit | 127)) + size.to_bytes(8, "big")
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + _xor(payload, key)


def close_frame(code: int, reason: str, *, mask: bool) -> bytes:
    """A Close frame; a reason that is too long is cut."""
    text = reason.encode()[:_REASON_MAX].decode(errors="ignore").encode()
    return frame(CLOSE, code.to_bytes(2, "big") + text, mask=mask)


def close_code(raw: bytes) -> int:
    """The code in a Close frame; 1005 where it has none (RFC 6455, 7.1.5)."""
    masked = bool(raw[1] & 0x80)
    if not raw[1] & 0x7F:
        return 1005
    payload = _xor(raw[6:], raw[2:6]) if masked else raw[2:]
    return int.from_bytes(payload[:2], "big")


def new_key() -> str:
    """A `sec-websocket-key`."""
    return base64.b64encode(os.urandom(16)).decode()


def valid_key(key: str) -> bool:
    """Whether a client's `sec-websocket-key` is one (RFC 6455, 4.2.1)."""
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        return False


def accept_key(key: str) -> str:
    """The `sec-websocket-accept` that answers a key (RFC 6455, 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def _xor(data: bytes, key: bytes) -> bytes:
    size = len(data)
    repeated = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
