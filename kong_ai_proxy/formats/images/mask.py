"""OpenAI's masks → those of providers that paint by colour.

OpenAI's mask is a PNG whose fully transparent pixels are the ones to change
(https://platform.openai.com/docs/api-reference/images/createEdit#images-createedit-mask). Others want black
and white. A mask without transparency is one of theirs already, and stays as it is.

Only the alpha channel is unpacked: PNG's filters work on each channel apart
(https://www.w3.org/TR/png-3/#9Filters).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Final, Literal

from ...core.errors import BadRequest

MAX_PIXELS: Final = 4096 * 4096
_MAX_SIDE: Final = 16384
_MAX_CHUNKS: Final = 20_000
_PAUSE: Final = 64 * 1024
"""Bytes that are unpacked, and pixels that are packed, at a time: others get their turn between."""
_SLOW: Final = 16
"""A pixel that is unpacked one by one counts as so many others."""
WORK: Final = 2_000_000
"""Pixels that may be unpacked one by one: about a third of a second. Painted masks need few such."""

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_GREY_ALPHA: Final = 4
_COLOUR_ALPHA: Final = 6
_PALETTE: Final = 3
_SAMPLES: Final = {_GREY_ALPHA: 2, _COLOUR_ALPHA: 4, _PALETTE: 1}
"""Bytes of a pixel; the last one is the alpha channel, or the palette's index."""
_WRONG: Final = "the mask must be a PNG of 8 bits a channel, not interlaced, of 16 million pixels at most"


def painted(
    mask: bytes, change: Literal[0, 255], breathe: Callable[[], None] = lambda: None
) -> bytes | None:
    """A black and white PNG (RGB, 8 bits) in which `change` is the grey of what is to be changed, and the
    other extreme that of the rest. None where the mask has no transparency to tell by. `breathe`: see
    `formats.steps.Asked`.

    Raises BadRequest (`param` mask) for a PNG that cannot be read.
    """
    if not mask.startswith(_SIGNATURE):
        return None
    header, transparency, data = b"", b"", []
    for kind, content in _chunks(mask):
        if kind == b"IHDR":
            header = content
        elif kind == b"tRNS":
            transparency = content
        elif kind == b"IDAT":
            data.append(content)
    if len(header) != 13:
        raise BadRequest(_WRONG, param="mask")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if colour not in _SAMPLES or (colour == _PALETTE and not transparency):
        return None
    if depth != 8 or interlaced or not width or not height:
        raise BadRequest(_WRONG, param="mask")
    if width * height > MAX_PIXELS or max(width, height) > _MAX_SIDE:
        raise BadRequest(_WRONG, param="mask")
    keep = 255 - change
    if colour == _PALETTE:
        greys = bytes(change if alpha == 0 else keep for alpha in transparency[:256])
        table = greys.ljust(256, bytes((keep,)))
    else:
        table = bytes((change,)) + bytes((keep,)) * 255
    samples = _SAMPLES[colour]
    lines = _lines(b"".join(data), width * samples + 1, height)
    rows = _rows(lines, width, samples, breathe)
    return _png(width, height, (row.translate(table) for row in rows))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if at + 12 > len(png):
            return
        (length,) = struct.unpack_from(">I", png, at)
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += length + 12
    raise BadRequest(_WRONG, param="mask")


def _lines(data: bytes, stride: int, height: int) -> Iterator[bytes]:
    """The image's rows, each with its filter's number before it. Raises BadRequest for fewer, or longer ones
    than there are."""
    unpacker = zlib.decompressobj()
    packed, held = b"", b""
    taken = at = 0
    for _ in range(height):
        while len(held) - at < stride:
            if not packed:
                packed = data[taken : taken + _PAUSE]
                taken += len(packed)
            try:
                piece = unpacker.decompress(packed, max(stride, _PAUSE)) if packed else b""
            except zlib.error:
                raise BadRequest(_WRONG, param="mask") from None
            if not piece and not unpacker.unconsumed_tail and taken >= len(data):
                raise BadRequest(_WRONG, param="mask")
            packed = unpacker.unconsumed_tail
            held, at = held[at:] + piece, 0
        yield held[at : at + stride]
        at += stride


def _rows(
    lines: Iterator[bytes], width: int, samples: int, breathe: Callable[[], None]
) -> Iterator[bytes]:
    """The last sample of each pixel, row by row, unfiltered."""
    above = bytes(width)
    before: tuple[int, bytes, bytes] | None = None
    work = WORK
    since = 0
    for whole in lines:
        since += width
        if since > _PAUSE:
            since = 0
            breathe()
        kind = whole[0]
        line = whole[samples::samples]
        # Painted areas repeat themselves.
        if before is not None and (kind, line, above) == before:
            yield above
            continue
        came = (kind, line, above)
        row = _quickly(kind, line, above)
        if row is None:
            work -= width
            since += width * _SLOW
            if work < 0:
                raise BadRequest("the mask has too much detail", param="mask")
            row = _unfiltered(kind, line, above)
        before = came if row == above else None
        above = row
        yield row


def _quickly(kind: int, line: bytes, above: bytes) -> bytes | None:
    """A row that needs no arithmetic; None for others."""
    if kind == 0:
        return line
    if kind in (1, 2) and line.count(0) == len(line):
        return line if kind == 1 else above
    if kind == 4 and line.count(0) == len(line) and above.count(above[0]) == len(above):
        return above
    return None


def _unfiltered(kind: int, line: bytes, above: bytes) -> bytes:
    if kind == 1:
        return bytes(value & 255 for value in accumulate(line))
    if kind == 2:
        return bytes((value + up) & 255 for value, up in zip(line, above, strict=True))
    row = bytearray()
    left = corner = 0
    if kind == 3:
        for value, up in zip(line, above, strict=True):
            left = (value + ((left + up) >> 1)) & 255
            row.append(left)
    elif kind == 4:
        for value, up in zip(line, above, strict=True):
            to_left, to_up = abs(up - corner), abs(left - corner)
            to_corner = abs(left + up - 2 * corner)
            if to_left <= to_up and to_left <= to_corner:
                guess = left
            else:
                guess = up if to_up <= to_corner else corner
            left, corner = (value + guess) & 255, up
            row.append(left)
    else:
        raise BadRequest(_WRONG, param="mask")
    return bytes(row)


def _png(width: int, height: int, rows: Iterator[bytes]) -> bytes:
    packer = zlib.compressobj(zlib.Z_BEST_SPEED)
    line = bytearray(3 * width + 1)
    packed = []
    for row in rows:
        line[1::3] = line[2::3] = line[3::3] = row
        packed.append(packer.compress(line))
    packed.append(packer.flush())
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", b"".join(packed)), (b"IEND", b""))
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
