"""JSON that is none by the standard: halves of characters, and numbers that Python's own encoder writes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kong_ai_proxy.core.json import JSONEvents, dumps, loads_lenient, says_twice


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a":"\\ud83e\\udd8d"}', {"a": "🦍"}),
        (b'{"a":"\\ud83e"}', {"a": "\ufffd"}),
        (b'{"a":"x\\udd8d"}', {"a": "x\ufffd"}),
        (b'{"a":"\\ud83e\\ud83e\\udd8d"}', {"a": "\ufffd🦍"}),
        (b'{"a":"\\\\ud83e"}', {"a": "\\ud83e"}),
        (b'{"a":NaN,"b":-Infinity,"c":[Infinity]}', {"a": None, "b": None, "c": [None]}),
        (
            b'{"a":1e999,"b":-1e999,"c":%b,"d":[%b]}' % (b"9" * 400, b"9" * 5000),
            {"a": None, "b": None, "c": None, "d": [None]},
        ),
        (
            b"[1e999,18446744073709551615,-9223372036854775808,18446744073709551616,1e30,0.1]",
            [None, 2**64 - 1, -(2**63), float(2**64), 1e30, 0.1],
        ),
        (b'{"a":"\xf0\x9f"}', {"a": "\ufffd"}),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
    ],
)
def test_what_can_be_made_of_it(data: bytes, value: Any) -> None:
    assert loads_lenient(data) == value
    dumps(loads_lenient(data))


@pytest.mark.parametrize("data", [b"", b"{", b"{'a':1}", b'{"a":1}{', b"[" * 100_000])
def test_what_is_none_even_so(data: bytes) -> None:
    with pytest.raises(ValueError):
        loads_lenient(data)


class TestEvents:
    """A character of which two events of a stream have a part each."""

    @pytest.mark.parametrize(
        ("events", "texts"),
        [
            ([b'"a\\ud83e"', b'"\\udd8db"'], ["a", "🦍b"]),
            ([b'"\\ud83e"', b'""', b'"\\udd8d"'], ["", "", "🦍"]),
            ([b'"\\ud83e\\udd8d\\ud83e"', b'"\\udd8d\\ud83e"', b'"\\udd8d"'], ["🦍", "🦍", "🦍"]),
            ([b'"\\ud83e"', b'"b"', b'"\\udd8d"'], ["", "\ufffdb", "\ufffd"]),
            ([b'"a\xf0\x9f"', b'"\xa6\x8db"'], ["a", "🦍b"]),
            ([b'"\xf0"', b'"\x9f"', b'"\xa6\x8d"'], ["", "", "🦍"]),
            ([b'"\xc3"', b'"\xa9"'], ["", "é"]),
            ([b'"\xff"', b'"\xa9"'], ["\ufffd", "\ufffd"]),
            ([b'"\xf0\x9f"', b'"b"'], ["", "\ufffdb"]),
        ],
    )
    def test_are_put_together(self, events: list[bytes], texts: list[str]) -> None:
        parser = JSONEvents()
        assert [parser.loads(b'{"t":%b}' % event)["t"] for event in events] == texts

    def test_each_at_its_own_place(self) -> None:
        parser = JSONEvents()
        said = [[0, "\ud83e"], [1, "\ud83d"], [0, "\udd8d"], [1, "\ude00"]]
        found = [
            parser.loads(json.dumps({"choices": [{"index": index, "delta": {"content": text}}]}).encode())
            for index, text in said
        ]
        assert [event["choices"][0]["delta"]["content"] for event in found] == ["", "", "🦍", "😀"]

    def test_wherever_in_an_event_a_choice_stands(self) -> None:
        parser = JSONEvents()

        def said(*texts: tuple[int, str]) -> list[str]:
            choices = [{"index": index, "delta": {"content": text}} for index, text in texts]
            event = parser.loads(json.dumps({"choices": choices}).encode())
            return [choice["delta"]["content"] for choice in event["choices"]]

        assert said((0, "a"), (1, "b\ud83e")) == ["a", "b"]
        assert said((1, "\udd8d")) == ["🦍"]

    def test_says_whether_it_changed_anything(self) -> None:
        parser = JSONEvents()
        mended = []
        for event in (b'{"t":"a"}', b'{"t":"\\ud83e"}', b'{"t":"\\udd8d"}', b'{"t":"b"}'):
            parser.loads(event)
            mended.append(parser.mended)
        assert mended == [False, True, True, False]

    @pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000])
    def test_what_is_no_json(self, data: bytes) -> None:
        parser = JSONEvents()
        parser.loads(b'"\\ud83e"')
        with pytest.raises(ValueError):
            parser.loads(data)


@pytest.mark.parametrize(
    ("data", "twice"),
    [
        (b'{"model":"a"}', False),
        (b'{"model":"a","model":"b"}', True),
        (b'{"x":[{"model":1,"y":2,"model":3}]}', True),
        (b'{"model":"a","x":{"model":"b"},"role":"model"}', False),
        (b'{"m\\u006Fdel":"a","model":"b"}', True),
        (b'{"m\\u006fdel":"a"}', False),
        (b'{"x":"\\u0041"}', False),
        (b'{"model":1,"model"', True),
    ],
)
def test_a_member_that_stands_there_twice(data: bytes, twice: bool) -> None:
    assert says_twice(data, "model") is twice
