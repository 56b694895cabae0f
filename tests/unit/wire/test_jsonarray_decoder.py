"""A JSON array in pieces, however it is cut up."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest

from kong_ai_proxy.wire.jsonarray import ElementTooLarge, JSONArrayDecoder


def read(pieces: list[bytes], max_frame: int = 10_000) -> tuple[list[Any], bool]:
    decoder = JSONArrayDecoder(max_frame)
    found = [json.loads(element) for piece in pieces for element in decoder.feed(piece)]
    assert decoder.finish() == []
    return found, decoder.complete


VALUES = [
    {"a": 'quote " backslash \\ brackets ]}[{'},
    {"b": {"c": [[], {}, [{"d": "é🙂\u2028"}]]}},
    [1, [2]],
    {"e": "\\"},
    {},
]


@pytest.mark.parametrize("indent", [None, 2])
def test_however_split(indent: int | None) -> None:
    data = json.dumps(VALUES, indent=indent, ensure_ascii=False).encode()
    assert read([data]) == (VALUES, True)
    assert read([data[at : at + 1] for at in range(len(data))]) == (VALUES, True)
    for at in range(len(data) + 1):
        assert read([data[:at], data[at:]]) == (VALUES, True)


def test_an_element_comes_as_soon_as_it_ends() -> None:
    decoder = JSONArrayDecoder()
    assert decoder.feed(b'[{"a":') == []
    assert decoder.feed(b"1}") == [b'{"a":1}']
    assert not decoder.complete
    assert decoder.feed(b",\r\n") == []
    assert decoder.feed(b'{"b":2}]\n') == [b'{"b":2}']
    assert decoder.complete


@pytest.mark.parametrize("data", [b'[{"a":1},', b'[{"a":1}', b'[{"a":1},{"b":"'])
def test_cut_off(data: bytes) -> None:
    assert read([data]) == ([{"a": 1}], False)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"[]", []),
        (b"", []),
        (b'{"a":1}', [{"a": 1}]),
        (b'{"a":1}\n{"b":2}', [{"a": 1}, {"b": 2}]),
        (b'[1, "x{", null, {"a":1}]', [{"a": 1}]),
        (b"]}]{}", [{}]),
    ],
)
def test_odd_streams(data: bytes, expected: list[Any]) -> None:
    assert read([data])[0] == expected
    assert read([data[at : at + 1] for at in range(len(data))])[0] == expected


@pytest.mark.parametrize("step", [1, 9, 1000])
def test_too_large_an_element(step: int) -> None:
    data = b'[{"a":1},{"b":"' + b"x" * 300 + b'"}]'
    decoder = JSONArrayDecoder(100)
    elements: list[bytes] = []
    with pytest.raises(ElementTooLarge) as caught:
        for at in range(0, len(data), step):
            elements += decoder.feed(data[at : at + step])
    assert elements + caught.value.elements == [b'{"a":1}']


def test_what_was_read_is_forgotten() -> None:
    decoder = JSONArrayDecoder(100)
    decoder.feed(b"[")
    for _ in range(1000):
        assert len(decoder.feed(b' {"a":1},\n' + b" " * 50)) == 1


def test_a_large_element_in_small_pieces_is_read_in_linear_time() -> None:
    data = json.dumps([{"data": "A" * 4_000_000}]).encode()
    decoder = JSONArrayDecoder()
    began = time.process_time()
    found = [one for at in range(0, len(data), 4096) for one in decoder.feed(data[at : at + 4096])]
    assert len(found) == 1
    assert time.process_time() - began < 2


def test_random_pieces() -> None:
    rng = random.Random(2)
    data = json.dumps(VALUES * 5, ensure_ascii=False).encode()
    for _ in range(50):
        pieces, rest = [], data
        while rest:
            size = rng.randint(1, 60)
            pieces.append(rest[:size])
            rest = rest[size:]
        assert read(pieces) == (VALUES * 5, True)
