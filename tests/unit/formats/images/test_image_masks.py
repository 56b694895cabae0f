"""OpenAI's transparent masks as black and white ones."""

from __future__ import annotations

import random
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images_support import greys_of, png_of

from kong_ai_proxy.core.errors import BadRequest
from kong_ai_proxy.formats.images.mask import MAX_PIXELS, painted


def rgba(alpha: list[int]) -> bytes:
    return b"".join(bytes((9, 8, 7, value)) for value in alpha)


def filtered(rows: list[bytes], kinds: list[int], samples: int) -> list[bytes]:
    """PNG's filters as its specification writes them, byte by byte."""
    made, above = [], bytes(len(rows[0]))
    for row, kind in zip(rows, kinds, strict=True):
        line = bytearray((kind,))
        for at, value in enumerate(row):
            left = row[at - samples] if at >= samples else 0
            up, corner = above[at], above[at - samples] if at >= samples else 0
            guess = left + up - corner
            distances = [(abs(guess - left), 0), (abs(guess - up), 1), (abs(guess - corner), 2)]
            paeth = (left, up, corner)[min(distances)[1]]
            line.append((value - (0, left, up, (left + up) // 2, paeth)[kind]) & 255)
        made.append(bytes(line))
        above = row
    return made


ALPHA = [[0, 255, 255], [0, 0, 255], [128, 0, 1]]


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("change", [0, 255])
def test_transparent_pixels_are_the_ones_to_change(kind: int, change: int) -> None:
    rows = filtered([rgba(alpha) for alpha in ALPHA], [kind] * 3, 4)
    found = painted(png_of(rows, 6), change)  # type: ignore[arg-type]
    assert found is not None
    assert greys_of(found) == [[change if value == 0 else 255 - change for value in row] for row in ALPHA]


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(1, 9), st.integers(1, 9), st.sampled_from([(4, 2), (6, 4)]))
def test_every_mixture_of_filters(
    data: st.DataObject, width: int, height: int, kind: tuple[int, int]
) -> None:
    colour, samples = kind
    rows = [data.draw(st.binary(min_size=width * samples, max_size=width * samples)) for _ in range(height)]
    kinds = [data.draw(st.integers(0, 4)) for _ in range(height)]
    found = painted(png_of(filtered(rows, kinds, samples), colour), 255)
    assert found is not None
    assert greys_of(found) == [
        [255 if value == 0 else 0 for value in row[samples - 1 :: samples]] for row in rows
    ]


def test_a_palette_with_transparency() -> None:
    found = painted(png_of([b"\x00\x00\x01\x02\x07"], 3, palette_alpha=bytes((255, 0, 3))), 0)
    assert found is not None
    # An index beyond the table is opaque.
    assert greys_of(found) == [[255, 0, 255, 255]]


def test_masks_without_transparency_are_the_providers_own() -> None:
    assert painted(b"\xff\xd8\xff jpeg", 0) is None
    assert painted(png_of([b"\x00\x10\x20"], 0), 0) is None
    assert painted(png_of([b"\x00\x10\x20\x30"], 2), 0) is None
    assert painted(png_of([b"\x00\x01"], 3), 0) is None


@pytest.mark.parametrize(
    "png",
    [
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\x0dIHDR",
        png_of([b"\x00" + bytes(8)], 6, depth=16),
        png_of([b"\x00" + bytes(8)], 6, lace=1),
        png_of([b"\x05" + bytes(8)], 6),
        png_of([b"\x00" + bytes(8)], 6).replace(b"IDAT", b"IDAX"),
        png_of([b"\x00" + bytes(8)], 6)[:-26],
        b"\x89PNG\r\n\x1a\n"
        + b"\x00\x00\x00\x0dIHDR"
        + b"\xff\xff\xff\xff" * 2
        + b"\x08\x06\x00\x00\x00....",
    ],
)
def test_a_png_that_cannot_be_read(png: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        painted(png, 0)
    assert caught.value.param == "mask"


def test_a_bomb_is_not_unpacked() -> None:
    rows = [b"\x04" + bytes(4 * 4096) for _ in range(100)]
    png = bytearray(png_of(rows, 6))
    png[20:24] = (100_000).to_bytes(4, "big")
    assert MAX_PIXELS < 4096 * 100_000
    with pytest.raises(BadRequest):
        painted(bytes(png), 0)


def test_too_much_detail_is_refused_in_time() -> None:
    dice = random.Random(1)
    row = bytes((3,)) + dice.randbytes(4 * 2048)
    rows = [row[:1] + dice.randbytes(8) + row[9:] for _ in range(1100)]
    began = time.process_time()
    with pytest.raises(BadRequest, match="detail"):
        painted(png_of(rows, 6), 0)
    assert time.process_time() - began < 3


def test_a_painted_mask_of_usual_size_is_quick() -> None:
    outside = b"\x00" + bytes((0, 0, 0, 255)) * 1024
    same = b"\x02" + bytes(4 * 1024)
    hole = b"\x00" + bytes((0, 0, 0, 255)) * 300 + bytes(4 * 400) + bytes((0, 0, 0, 255)) * 324
    rows = [outside, *[same] * 400, hole, *[same] * 300, outside, *[same] * 321]
    began = time.process_time()
    found = painted(png_of(rows, 6), 255)
    assert time.process_time() - began < 0.5
    assert found is not None
    greys = greys_of(found)
    assert (greys[0][500], greys[500][500], greys[500][299], greys[-1][500]) == (0, 255, 0, 0)


def test_data_that_is_not_packed() -> None:
    png = png_of([b"\x00" + bytes(8)], 6)
    at = png.index(b"IDAT") + 4
    with pytest.raises(BadRequest):
        painted(png[:at] + b"\xff\xff\xff\xff" + png[at + 4 :], 0)


def test_rows_that_repeat_by_paeths_filter() -> None:
    rows = filtered([rgba([255, 255, 255])] * 3, [4, 4, 4], 4)
    found = painted(png_of(rows, 6), 255)
    assert found is not None and greys_of(found) == [[0, 0, 0]] * 3


def test_others_get_their_turn_while_a_large_mask_is_painted() -> None:
    side = 1024
    png = png_of([b"\0" + b"\0\0\0\xff" * side] * side, 6)
    turns: list[int] = []
    assert painted(png, 255, lambda: turns.append(1)) is not None
    assert len(turns) >= 12


@pytest.mark.parametrize("spoilt", ["cut", "garbled", "chunks", "wide", "stalled"])
def test_masks_that_are_made_to_cost(spoilt: str) -> None:
    png = png_of([b"\0" + bytes(4 * 300)] * 300, 6)
    if spoilt == "cut":
        png = png_of([b"\0" + bytes(4 * 300)] * 299, 6).replace(
            (300).to_bytes(4, "big") + (299).to_bytes(4, "big"), (300).to_bytes(4, "big") * 2
        )
    elif spoilt == "garbled":
        at = png.index(b"IDAT") + 30
        png = png[:at] + b"\xff\xfe" * 20 + png[at:]
    elif spoilt == "chunks":
        png = png[:33] + b"\0\0\0\0tEXt0000" * 20_001 + png[33:]
    elif spoilt == "wide":
        png = png_of([b"\0" + bytes(4 * 16_385)], 6)
    else:
        at = png.index(b"IDAT")
        empty = zlib.compress(b"")
        png = png[: at - 4] + len(empty).to_bytes(4, "big") + b"IDAT" + empty + bytes(4) + png[-12:]
    with pytest.raises(BadRequest) as caught:
        painted(png, 255)
    assert caught.value.param == "mask"
