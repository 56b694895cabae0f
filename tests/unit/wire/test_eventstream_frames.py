"""AWS event streams: frames out of any split, checksums, limits, and frames made here."""

from __future__ import annotations

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_proxy.wire.eventstream import BadFrame, EventStreamDecoder, Frame, encode_frame

EVENT = {":message-type": "event", ":event-type": "contentBlockDelta", ":content-type": "application/json"}
ONE = encode_frame(EVENT, b'{"p":"abcd"}')
TWO = encode_frame({":message-type": "exception", ":exception-type": "throttlingException"}, b"")


def decode(*parts: bytes) -> list[Frame]:
    decoder = EventStreamDecoder()
    frames = [frame for part in parts for frame in decoder.feed(part)]
    assert decoder.pending == 0
    return frames


def test_frames_that_botocore_reads() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(ONE + TWO)
    first, second = list(buffer)
    assert (first.headers, first.payload) == (EVENT, b'{"p":"abcd"}')
    assert second.headers[":exception-type"] == "throttlingException"


def test_every_split_gives_the_same_frames() -> None:
    data = ONE + TWO + ONE
    whole = decode(data)
    assert [(frame.kind, frame.name) for frame in whole] == [
        ("event", "contentBlockDelta"),
        ("exception", "throttlingException"),
        ("event", "contentBlockDelta"),
    ]
    assert decode(*(data[i : i + 1] for i in range(len(data)))) == whole
    for cut in range(len(data) + 1):
        assert decode(data[:cut], data[cut:]) == whole


@given(
    headers=st.dictionaries(st.text(min_size=1, max_size=40), st.text(max_size=200), max_size=5),
    payload=st.binary(max_size=500),
)
def test_what_is_encoded_comes_out_again(headers: dict[str, str], payload: bytes) -> None:
    frame = encode_frame(headers, payload)
    assert decode(frame[:7], frame[7:]) == [Frame(headers, payload)]


def test_a_corrupt_byte_is_found_and_what_came_before_it_is_kept() -> None:
    for position in range(len(ONE)):
        bad = bytearray(ONE)
        bad[position] ^= 0x01
        decoder = EventStreamDecoder(max_frame=1000)
        try:
            frames = decoder.feed(TWO + bytes(bad))
        except BadFrame as error:
            assert [frame.name for frame in error.frames] == ["throttlingException"]
        else:
            # A length that got larger: the frame is waited for, and never given out.
            assert [frame.name for frame in frames] == ["throttlingException"]
            assert decoder.pending


def test_a_frame_that_is_too_large_is_refused_by_its_length() -> None:
    decoder = EventStreamDecoder(max_frame=100)
    with pytest.raises(BadFrame, match="exceeds 100 bytes"):
        decoder.feed(encode_frame({}, b"x" * 200)[:12])


def test_an_unknown_header_type_is_a_bad_frame() -> None:
    from struct import pack
    from zlib import crc32

    head = b"\x01a\x63"
    prelude = pack(">II", len(head) + 16, len(head))
    frame = prelude + pack(">I", crc32(prelude)) + head
    with pytest.raises(BadFrame):
        EventStreamDecoder().feed(frame + pack(">I", crc32(frame)))


def test_what_is_left_shows() -> None:
    decoder = EventStreamDecoder()
    assert decoder.feed(ONE[:-1]) == []
    assert decoder.pending == len(ONE) - 1
