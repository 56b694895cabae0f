"""JSON that is none by the standard: halves of characters, and numbers that Python's own encoder writes."""

from __future__ import annotations

from typing import Any

import pytest

from kong_ai_proxy.core.json import dumps, loads_lenient


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a":"\\ud83e\\udd8d"}', {"a": "🦍"}),
        (b'{"a":"\\ud83e"}', {"a": "\ufffd"}),
        (b'{"a":"x\\udd8d"}', {"a": "x\ufffd"}),
        (b'{"a":"\\ud83e\\ud83e\\udd8d"}', {"a": "\ufffd🦍"}),
        (b'{"a":"\\\\ud83e"}', {"a": "\\ud83e"}),
        (b'{"a":NaN,"b":-Infinity,"c":[Infinity]}', {"a": None, "b": None, "c": [None]}),
        (b'{"a":"\xf0\x9f"}', {"a": "\ufffd"}),
    ],
)
def test_what_can_be_made_of_it(data: bytes, value: Any) -> None:
    assert loads_lenient(data) == value
    dumps(loads_lenient(data))


@pytest.mark.parametrize("data", [b"", b"{", b"{'a':1}", b'{"a":1}{', b'{"a":1e999}', b"[" * 100_000])
def test_what_is_none_even_so(data: bytes) -> None:
    with pytest.raises(ValueError):
        loads_lenient(data)
