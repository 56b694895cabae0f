"""Newline-delimited JSON, however it is cut up."""

from __future__ import annotations

import json
import random

import pytest

from kong_ai_proxy.wire.ndjson import LineTooLarge, NDJSONDecoder


def read(pieces: list[bytes], max_frame: int = 1000) -> list[bytes]:
    decoder = NDJSONDecoder(max_frame)
    return [line for piece in pieces for line in decoder.feed(piece)] + decoder.finish()


DATA = b'{"a":1}\r\n\n  {"b":"\xc3\xa9 \\n"} \n\r\n{"c":3}'
LINES = [b'{"a":1}', b'{"b":"\xc3\xa9 \\n"}', b'{"c":3}']


def test_however_split() -> None:
    assert read([DATA]) == LINES
    assert read([DATA[at : at + 1] for at in range(len(DATA))]) == LINES
    for at in range(len(DATA) + 1):
        assert read([DATA[:at], DATA[at:]]) == LINES


def test_a_line_comes_as_soon_as_it_ends() -> None:
    decoder = NDJSONDecoder()
    assert decoder.feed(b'{"a"') == []
    assert decoder.feed(b':1}\n{"b"') == [b'{"a":1}']
    assert decoder.finish() == [b'{"b"']
    assert decoder.finish() == []


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_too_long_a_line(step: int) -> None:
    data = b'{"a":1}\n' + b"x" * 200 + b"\n"
    decoder = NDJSONDecoder(50)
    lines: list[bytes] = []
    with pytest.raises(LineTooLarge) as caught:
        for at in range(0, len(data), step):
            lines += decoder.feed(data[at : at + step])
    assert lines + caught.value.lines == [b'{"a":1}']


def test_memory_is_bounded_by_the_line() -> None:
    decoder = NDJSONDecoder(100)
    for number in range(1000):
        assert len(decoder.feed(b'{"n":%d}\n' % number)) == 1
    assert decoder.finish() == []


def test_random_pieces() -> None:
    rng = random.Random(1)
    values = [{"n": number, "t": "é\n🙂" * (number % 5)} for number in range(50)]
    data = b"".join(json.dumps(value, ensure_ascii=False).encode() + b"\n" for value in values)
    for _ in range(50):
        pieces, rest = [], data
        while rest:
            size = rng.randint(1, 40)
            pieces.append(rest[:size])
            rest = rest[size:]
        assert [json.loads(line) for line in read(pieces)] == values
