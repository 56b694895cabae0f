"""Answers that a provider compressed although it was asked not to."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

_STEP = 64 * 1024
"""No piece is longer: a few bytes of a compressed bomb must not become gigabytes in one go."""
_RATIO = 200
_RATIO_FROM = 16 * 1024 * 1024
"""What comes out may be so many times longer than what went in, once it has so many bytes: text is some ten
times longer, a bomb a thousand."""
_GZIP_WINDOW = 31
_ZLIB_WINDOW = 15
_RAW_WINDOW = -15


class BadEncoding(Exception):
    """The body is not what its content-encoding says, ended too early, or is encoded in an unknown way."""


class Inflate:
    """One body of `gzip` or `deflate` (zlib-wrapped or, as some servers send it, raw)."""

    def __init__(self, encoding: str) -> None:
        self._gzip = encoding != "deflate"
        self._inflate = zlib.decompressobj(_GZIP_WINDOW if self._gzip else _ZLIB_WINDOW)
        self._head = b""
        self._begun = False
        self._taken = self._given = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Pieces of the decoded body, of at most 64 KiB. Raises BadEncoding."""
        self._taken += len(data)
        if not self._begun:
            data = self._head + data
            if len(data) < 2:
                self._head = data
                return
            self._begin(data)
        while True:
            if self._inflate.eof:
                # Several gzip members make one body (RFC 1952, 2.2); other bytes behind the end are padding.
                if not self._gzip or data[:1] != b"\x1f":
                    return
                self._inflate = zlib.decompressobj(_GZIP_WINDOW)
            try:
                piece = self._inflate.decompress(data, _STEP)
            except zlib.error as error:
                raise BadEncoding(str(error)) from None
            self._given += len(piece)
            if self._given > _RATIO_FROM and self._given > _RATIO * self._taken:
                raise BadEncoding("it is far longer than what was compressed")
            if piece:
                yield piece
            data = self._inflate.unconsumed_tail or self._inflate.unused_data
            # A full piece may leave output behind with no input left to go with it.
            if not data and len(piece) < _STEP:
                return

    def _begin(self, data: bytes) -> None:
        self._begun = True
        self._head = b""
        # RFC 1950: CM is 8 and the first two bytes are a multiple of 31; else it is raw deflate.
        if not self._gzip and (data[0] & 0x0F != 8 or (data[0] << 8 | data[1]) % 31):
            self._inflate = zlib.decompressobj(_RAW_WINDOW)

    def finish(self) -> None:
        """Raises BadEncoding where the compressed body is not complete. A body of no bytes at all is."""
        if self._head or (self._begun and not self._inflate.eof):
            raise BadEncoding("the compressed body is not complete")


def inflater(content_encoding: str) -> Inflate | None:
    """What undoes a content-encoding; None for identity. Raises BadEncoding for one not known here."""
    names = [name.strip().lower() for name in content_encoding.split(",")]
    names = [name for name in names if name and name != "identity"]
    if not names:
        return None
    if len(names) > 1 or names[0] not in ("gzip", "x-gzip", "deflate"):
        raise BadEncoding(f"content-encoding {content_encoding[:40]!r}")
    return Inflate(names[0])
