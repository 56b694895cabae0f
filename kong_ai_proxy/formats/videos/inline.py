"""A video that comes as base64 within a JSON answer: read while it arrives, never held.

Source: `bytesBase64Encoded` in https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/veo-video-generation.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final

from ...core.errors import ApiError
from ...core.json import Json, loads_lenient

_VALUE: Final = re.compile(rb'"bytesBase64Encoded"\s{0,16}:\s{0,16}"')
_TAIL: Final = 64
"""Bytes that are looked at again with the next piece: the beginning of a value may be cut anywhere."""
_ESCAPES: Final = (
    (b"\\u003d", b"="),
    (b"\\u003D", b"="),
    (b"\\/", b"/"),
    (b"\\u002b", b"+"),
    (b"\\u002B", b"+"),
)
"""What JSON writers make of base64's characters, besides leaving them alone."""
_ESCAPE_LENGTH: Final = 6
_REST_MOST: Final = 1024 * 1024
"""Bytes of what is not the video."""


class InlineVideo:
    """See `Through`. The first video's bytes, or where there is to be none, what `told` makes of the rest.

    `told` gets the answer without its videos, each of them an empty text, and whether there were any.
    """

    def __init__(self, told: Callable[[Json], bytes], *, content: bool) -> None:
        self._told = told
        self._content = content
        self._buffer = b""
        self._rest = bytearray()
        self._within = False
        self._carry = b""
        """Base64 characters that are no whole group yet."""
        self._videos = 0
        self._finished = False

    def feed(self, data: bytes) -> bytes:
        """Raises ApiError (502) for what is no such answer."""
        self._buffer += data
        found = []
        while True:
            if not self._within:
                match = _VALUE.search(self._buffer)
                if match is None:
                    self._keep(self._buffer[:-_TAIL])
                    self._buffer = self._buffer[-_TAIL:]
                    break
                self._keep(self._buffer[: match.end()])
                self._buffer = self._buffer[match.end() :]
                self._within = True
                self._videos += 1
            end = self._buffer.find(b'"')
            if end < 0:
                found.append(self._decoded(self._take_open()))
                break
            found.append(self._decoded(self._buffer[:end], last=True))
            self._buffer = self._buffer[end:]
            self._within = False
        return b"".join(found)

    def finish(self) -> bytes:
        """Raises ApiError: what `told` raises; 502 for an answer that breaks off."""
        if self._finished:
            return b""
        self._finished = True
        self._keep(self._buffer)
        self._buffer = b""
        if self._within:
            raise ApiError(502, "the provider's answer broke off", code="bad_upstream_answer")
        if self._content and self._videos:
            return b""
        try:
            body = loads_lenient(bytes(self._rest))
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise ApiError(
                502, "the provider answered with something other than JSON", code="bad_upstream_answer"
            )
        return self._told(body)

    def _keep(self, data: bytes) -> None:
        if len(self._rest) + len(data) > _REST_MOST:
            raise ApiError(502, "the provider's answer is too large", code="bad_upstream_answer")
        self._rest += data

    def _take_open(self) -> bytes:
        """What of the value has come, but for an escape that may be cut."""
        cut = self._buffer.rfind(b"\\", max(len(self._buffer) - _ESCAPE_LENGTH, 0))
        if cut < 0:
            cut = len(self._buffer)
        taken, self._buffer = self._buffer[:cut], self._buffer[cut:]
        return taken

    def _decoded(self, characters: bytes, *, last: bool = False) -> bytes:
        if not self._content or self._videos > 1:
            return b""
        if b"\\" in characters:
            for escape, plain in _ESCAPES:
                characters = characters.replace(escape, plain)
        characters = self._carry + characters
        whole = len(characters) if last else len(characters) - len(characters) % 4
        self._carry = characters[whole:]
        try:
            return base64.b64decode(characters[:whole], validate=True)
        except binascii.Error:
            raise ApiError(502, "the provider's video is not base64", code="bad_upstream_answer") from None
