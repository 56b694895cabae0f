"""Frames read along and made; wsproto, which is not ours, agrees about them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from kong_ai_proxy.wire.websocket import (
    BINARY,
    PING,
    TEXT,
    Frames,
    ProtocolError,
    accept_key,
    close_code,
    close_frame,
    frame,
    new_key,
    valid_key,
)

LIMIT = 1 << 20

messages = st.lists(st.one_of(st.text(max_size=300), st.binary(max_size=300)), max_size=6)
cuts = st.lists(st.integers(1, 400), max_size=30)


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    cut, at = [], 0
    for size in sizes:
        cut.append(data[at : at + size])
        at += size
    return [piece for piece in [*cut, data[at:]] if piece]


@given(messages, cuts, st.booleans(), st.integers(1, 3))
def test_any_cut_reads_the_same(said: list[str | bytes], sizes: list[int], client: bool, parts: int) -> None:
    sender = Connection(ConnectionType.CLIENT if client else ConnectionType.SERVER)
    data = b""
    for message in said:
        kind = TextMessage if isinstance(message, str) else BytesMessage
        step = len(message) // parts + 1
        fragments = [message[at : at + step] for at in range(0, len(message), step)] or [message]
        for fragment in fragments[:-1]:
            data += sender.send(kind(data=fragment, message_finished=False))  # type: ignore[arg-type]
            data += sender.send(Ping(payload=b"p"))
        data += sender.send(kind(data=fragments[-1]))  # type: ignore[arg-type]
    frames = Frames(masked=client, limit=LIMIT, collect=True)
    out = b"".join(frames.feed(piece) for piece in pieces(data, sizes))
    assert out == data
    assert frames.messages == [each.encode() if isinstance(each, str) else each for each in said]
    assert frames.boundary


@given(st.binary(max_size=70_000), st.booleans())
def test_made_frames_are_read_by_others(payload: bytes, mask: bool) -> None:
    reader = Connection(ConnectionType.SERVER if mask else ConnectionType.CLIENT)
    reader.receive_data(frame(BINARY, payload, mask=mask))
    events = list(reader.events())
    assert b"".join(event.data for event in events if isinstance(event, BytesMessage)) == payload


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_frames_or_an_error(data: bytes, masked: bool) -> None:
    frames = Frames(masked=masked, limit=1000, collect=True)
    try:
        out = frames.feed(data)
    except ProtocolError as error:
        assert error.code in (1002, 1009)
    else:
        assert data.startswith(out)


@pytest.mark.parametrize("mask", [False, True])
def test_close_is_held_back_with_what_follows(mask: bool) -> None:
    before, close = frame(TEXT, b"last", mask=mask), close_frame(4000, "why", mask=mask)
    frames = Frames(masked=mask, limit=LIMIT, collect=False)
    data = before + close + b"anything"
    assert b"".join(frames.feed(data[at : at + 1]) for at in range(len(data))) == before
    assert frames.close == close
    assert close_code(close) == 4000
    reader = Connection(ConnectionType.SERVER if mask else ConnectionType.CLIENT)
    reader.receive_data(close)
    event = next(iter(reader.events()))
    assert isinstance(event, CloseConnection)
    assert (event.code, event.reason) == (4000, "why")


def test_close_without_a_code() -> None:
    assert close_code(b"\x88\x00") == 1005


def test_long_reason_is_cut_at_a_character() -> None:
    raw = close_frame(1008, "é" * 100, mask=False)
    assert len(raw) <= 127
    assert raw[4:].decode() == "é" * 61


@pytest.mark.parametrize(
    ("data", "masked", "code"),
    [
        (b"\xc1\x01a", False, 1002),  # RSV1: compressed
        (b"\x81\x81aaaab", False, 1002),  # masked, from a server
        (b"\x81\x01a", True, 1002),  # unmasked, from a client
        (b"\x83\x01a", False, 1002),  # unknown data frame
        (b"\x8b\x01a", False, 1002),  # unknown control frame
        (b"\x80\x01a", False, 1002),  # continuation of nothing
        (b"\x01\x01a\x81\x01b", False, 1002),  # a message within a message
        (b"\x09\x01a", False, 1002),  # a fragmented ping
        (b"\x89\x7e\x00\x80", False, 1002),  # a long ping
        (b"\x88\x01a", False, 1002),  # half a close code
        (b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", False, 1009),
        (b"\x82\x7e\x03\xe9", False, 1009),
    ],
)
def test_what_is_refused(data: bytes, masked: bool, code: int) -> None:
    frames = Frames(masked=masked, limit=1000, collect=False)
    with pytest.raises(ProtocolError) as error:
        frames.feed(data)
    assert error.value.code == code


def test_fragments_count_together() -> None:
    frames = Frames(masked=False, limit=1000, collect=True)
    frames.feed(b"\x01\x7e\x02\x58" + b"x" * 600)
    with pytest.raises(ProtocolError) as error:
        frames.feed(b"\x00\x7e\x02\x58")
    assert error.value.code == 1009


def test_after_an_error_within_a_frame_none_may_follow() -> None:
    frames = Frames(masked=False, limit=1000, collect=False)
    assert frames.feed(b"\x81\x04ab") == b"\x81\x04ab"
    with pytest.raises(ProtocolError):
        frames.feed(b"cd\xff\x00")
    assert not frames.boundary


def test_one_message_alone() -> None:
    frames = Frames(masked=True, limit=1000, collect=True)
    frames.one = True
    first, rest = frame(TEXT, b"first", mask=True), frame(TEXT, b"second", mask=True)
    assert frames.feed(frame(PING, b"", mask=True) + first + rest).endswith(first)
    assert frames.messages == [b"first"]
    frames.one = False
    assert frames.feed(b"") == rest


def test_keys() -> None:
    # RFC 6455, 1.3
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert valid_key(new_key())
    assert not valid_key("short")
    assert not valid_key("AAAA")
