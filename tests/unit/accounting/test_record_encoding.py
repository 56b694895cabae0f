"""The record's way to Kong: what is encoded comes out the same, on one line, and never too long."""

from __future__ import annotations

import math
import string
from typing import Any
from urllib.parse import unquote

import pytest
from fuzz_support import examples
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_proxy.accounting.encoding import CUT, HEADER_LIMIT, encode

SAFE = set(string.ascii_letters + string.digits + "_-.:/%=&~+")


def decode(text: str) -> Any:
    """What the Lua side does, in Python."""
    root: dict[str, Any] = {}
    for pair in text.split("&") if text else []:
        path, _, value = pair.partition("=")
        found = _value(value[0], value[1:])
        at = root
        *parents, last = [unquote(part) for part in path.split(".")]
        for parent in parents:
            at = at.setdefault(parent, {})
        at[last] = found
    return _lists(root)


def _value(kind: str, rest: str) -> Any:
    if kind == "n":
        return float(rest) if any(sign in rest for sign in ".en") else int(rest)
    return {"s": unquote(rest), "b": rest == "1", "o": {}}[kind]


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    members = {name: _lists(member) for name, member in value.items()}
    if members and list(members) == [str(number) for number in range(1, len(members) + 1)]:
        return list(members.values())
    return members


RECORD = {
    "meta": {"provider_name": "openai", "request_mode": "stream", "llm_latency": 2670},
    "usage": {"cost": 0, "time_per_token": 30.142857142857, "prompt_tokens_details": {}, "prompt_tokens": 14},
    "tried_targets": [
        {"host": "api.openai.com", "port": 443, "upstream_uri": "/v1/chat/completions?beta=true"},
        {"host": "api.anthropic.com", "port": 443, "upstream_uri": "/v1/messages"},
    ],
}


def test_documented_form() -> None:
    assert (
        encode({"tried_targets": [{"host": "api.openai.com"}], "usage": {"prompt_tokens": 12}})
        == "tried_targets.1.host=sapi.openai.com&usage.prompt_tokens=n12"
    )
    assert encode({"a": {"b": True, "c": False, "d": {}, "e": None}}) == "a.b=b1&a.c=b0&a.d=o"


def test_round_trip() -> None:
    assert decode(encode(RECORD)) == RECORD


@pytest.mark.parametrize(
    "text", ["", " ", "a&b=c", "100%", "line\nbreak\r", "\x00\x7f", "ünï 漢字 🙂", "%41", "a.b", "\ud800"]
)
def test_any_text(text: str) -> None:
    encoded = encode({"meta": {"model": text}})
    assert set(encoded) <= SAFE
    assert decode(encoded) == {"meta": {"model": text.replace("\ud800", "?")}}


@pytest.mark.parametrize("number", [0, -1, 10**18, 1.5, 1e-07, 1.25e-05, 3e300])
def test_any_number(number: float) -> None:
    assert decode(encode({"usage": {"cost": number}})) == {"usage": {"cost": number}}


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_what_is_no_number(number: float) -> None:
    assert decode(encode({"usage": {"cost": number}})) == {"usage": {"cost": 0}}


def test_names_with_dots_do_not_nest() -> None:
    assert encode({"meta": {"a.b": 1}}) == "meta.a%2Eb=n1"


texts = st.text(max_size=40)
scalars = st.one_of(
    texts, st.integers(-(2**53), 2**53), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)
)
names = st.text(string.ascii_lowercase + "_", min_size=1, max_size=12)
trees = st.recursive(scalars, lambda inner: st.dictionaries(names, inner, max_size=4), max_leaves=12)


@given(st.dictionaries(names, trees, min_size=1, max_size=5))
@examples(80)
def test_any_record_comes_out_the_same(record: dict[str, Any]) -> None:
    encoded = encode(record, limit=1_000_000)
    assert set(encoded) <= SAFE
    expected = {name: value for name, value in record.items() if value is not None}
    assert decode(encoded) == _readable(expected)


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _readable(member) for name, member in value.items()}
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return value


@given(
    st.integers(0, 20), st.integers(0, 5000), st.integers(200, 6000), st.sampled_from(["a", "é", "{", "\n"])
)
@examples(60)
def test_never_longer_than_allowed(targets: int, payload: int, limit: int, letter: str) -> None:
    record = {
        "payload": {"request": letter * payload, "response": letter * (payload // 3)},
        "meta": {"request_model": letter * 400, "llm_latency": 12},
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "cost": 0.5},
        "tried_targets": [{"host": f"h{number}.example", "port": 443} for number in range(targets)],
    }
    encoded = encode(record, limit)
    assert len(encoded) <= limit
    found = decode(encoded)
    assert found["usage"] == record["usage"], "numbers always go along"


def test_payloads_are_cut_and_say_so() -> None:
    record = {**RECORD, "payload": {"request": "short", "response": "{" * 5000}}
    found = decode(encode(record))
    assert found["payload"]["request"] == "short"
    assert found["payload"]["response"].endswith(CUT)
    assert len(found["payload"]["response"]) > 300
    assert {name: found[name] for name in RECORD} == RECORD
    assert len(encode(record)) > HEADER_LIMIT - 20, "as much as fits"


def test_oldest_targets_go_first() -> None:
    record = {"usage": {"prompt_tokens": 1}, "tried_targets": [{"host": f"h{n}" * 20} for n in range(9)]}
    found = decode(encode(record, 300))
    assert found["tried_targets"][-1] == {"host": "h8" * 20}
    assert 0 < len(found["tried_targets"]) < 9


def test_no_room_at_all() -> None:
    assert encode(RECORD, 10) == ""
