"""The event-stream decoder: the standard's rules, and the same events for every split."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_proxy.wire.sse import AlignedBuffer, Event, FrameTooLarge, SSEDecoder, encode, frames


def whole(stream: bytes, max_frame: int = 1 << 20) -> list[Event]:
    return pieces([stream], max_frame)


def pieces(parts: list[bytes], max_frame: int = 1 << 20) -> list[Event]:
    decoder = SSEDecoder(max_frame)
    events: list[Event] = []
    try:
        for part in parts:
            events += decoder.feed(part)
        events += decoder.finish()
    except FrameTooLarge as error:
        events += [*error.events, Event("too large", b"")]
    return events


CASES = {
    "plain": (b'data: {"a":1}\n\ndata: [DONE]\n\n', [Event(None, b'{"a":1}'), Event(None, b"[DONE]")]),
    "no space": (b'data:{"a":1}\n\n', [Event(None, b'{"a":1}')]),
    "two spaces keep one": (b"data:  x\n\n", [Event(None, b" x")]),
    "crlf": (b"data: 1\r\n\r\ndata: 2\r\n\r\n", [Event(None, b"1"), Event(None, b"2")]),
    "cr": (b"data: 1\r\rdata: 2\r\r", [Event(None, b"1"), Event(None, b"2")]),
    "mixed ends": (
        b"data: 1\n\r\ndata: 2\r\n\ndata: 3\r\n\r",
        [Event(None, b"1"), Event(None, b"2"), Event(None, b"3")],
    ),
    "named": (b"event: ping\ndata: {}\n\n", [Event("ping", b"{}")]),
    "name after data": (b"data: {}\nevent:ping\n\n", [Event("ping", b"{}")]),
    "id": (b"id:7\nevent:result\n:HTTP_STATUS/200\ndata:{}\n\n", [Event("result", b"{}", "7")]),
    "multi-line": (b"data: a\ndata:\ndata: b\n\n", [Event(None, b"a\n\nb")]),
    "comment": (b": keep-alive\n\n:\n\ndata: 1\n\n", [Event(None, b"1")]),
    "event without data": (b"event: x\n\ndata: 1\n\n", [Event(None, b"1")]),
    "field without colon": (b"data\n\n", [Event(None, b"")]),
    "unknown fields": (b"retry: 5\nfoo: bar\ndata: 1\n\n", [Event(None, b"1")]),
    "bom": (b"\xef\xbb\xbfdata: 1\n\ndata: 2\n\n", [Event(None, b"1"), Event(None, b"2")]),
    "many empty lines": (b"\n\n\ndata: 1\n\n\n\n\ndata: 2\n\n\n", [Event(None, b"1"), Event(None, b"2")]),
    "end without empty line": (b"data: 1\n\ndata: 2\n", [Event(None, b"1"), Event(None, b"2")]),
    "end without line end": (b"data: 1\n\ndata: 2", [Event(None, b"1"), Event(None, b"2")]),
    "ends in cr": (b"data: 1\r\n\r\ndata: 2\r", [Event(None, b"1"), Event(None, b"2")]),
    "multibyte": ("data: żółć 🦍\n\n".encode(), [Event(None, "żółć 🦍".encode())]),
    "separators in text": (
        "data: a\u2028b\x85c\x0bd\n\n".encode(),
        [Event(None, "a\u2028b\x85c\x0bd".encode())],
    ),
    "nothing": (b"", []),
}


@pytest.mark.parametrize("case", CASES)
def test_reads_what_the_standard_says(case: str) -> None:
    stream, events = CASES[case]
    assert whole(stream) == events


@pytest.mark.parametrize("case", CASES)
def test_every_split_gives_the_same(case: str) -> None:
    stream, events = CASES[case]
    assert pieces([stream[i : i + 1] for i in range(len(stream))]) == events
    for i in range(len(stream) + 1):
        assert pieces([stream[:i], stream[i:]]) == events
        for j in range(i, len(stream) + 1):
            assert pieces([stream[:i], stream[i:j], stream[j:]]) == events


LINES = st.lists(
    st.sampled_from(
        [b"data: x", b"data:y", b"data", b"event: e", b": c", b"", b"", b"id: 1", b"\xef\xbb\xbfdata: z"]
    )
)
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])


@given(st.lists(st.tuples(LINES, ENDS)), st.lists(st.integers(1, 9), min_size=1))
def test_any_stream_any_split(blocks: list[tuple[list[bytes], bytes]], sizes: list[int]) -> None:
    stream = b"".join(line + end for lines, end in blocks for line in lines)
    parts, at, turn = [], 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        parts.append(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert pieces(parts) == whole(stream) == _by_the_book(stream)

    aligned = AlignedBuffer()
    out = [aligned.feed(part) for part in parts]
    rest = aligned.finish()
    assert b"".join(out) + rest == stream
    seen = [event for block in [*out, rest] for _, event in frames(block) if event is not None]
    if b"\xef\xbb\xbf" not in stream:
        assert seen == whole(stream)
    for block in out:
        assert b"".join(raw for raw, _ in frames(block)) == block


def _by_the_book(stream: bytes) -> list[Event]:
    """The standard's algorithm, line by line, without any haste."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events, data, name, identity = [], None, None, None
    for line in [*text.split(b"\n"), b""]:
        if not line:
            if data is not None:
                events.append(Event(name, b"\n".join(data), identity))
            data, name, identity = None, None, None
            continue
        key, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if key == b"data":
            data = [*(data or []), value]
        elif key == b"event":
            name = value.decode()
        elif key == b"id":
            identity = value.decode()
    return events


@pytest.mark.parametrize("size", [19, 20, 21, 22])
@pytest.mark.parametrize("after", [b"\n\n", b"\n\n\n\n", b"\r\n\r\n", b"\n", b"\r", b""])
def test_the_limit_falls_at_the_same_byte_however_split(size: int, after: bytes) -> None:
    stream = b"data: ok\n\n" + b"data: " + b"x" * (size - 6) + after
    expected = whole(stream, 20)
    assert expected == (
        [Event(None, b"ok"), Event(None, b"x" * 13 if size == 19 else b"x" * 14)]
        if size <= 20
        else [Event(None, b"ok"), Event("too large", b"")]
    )
    for i in range(len(stream) + 1):
        assert pieces([stream[:i], stream[i:]], 20) == expected
    assert pieces([stream[i : i + 1] for i in range(len(stream))], 20) == expected


def test_an_endless_frame_is_cut_off() -> None:
    decoder, aligned = SSEDecoder(max_frame=1000), AlignedBuffer(max_frame=1000)
    with pytest.raises(FrameTooLarge, match="1000 bytes"):
        for _ in range(200):
            decoder.feed(b"data: xxxxxxxxx")
    with pytest.raises(FrameTooLarge, match="1000 bytes"):
        for _ in range(200):
            aligned.feed(b"data: xxxxxxxxx")


def test_a_large_frame_in_small_pieces_costs_linear_time() -> None:
    def cost(pieces: int) -> float:
        best = 9.0
        for _ in range(3):
            decoder = SSEDecoder()
            begin = time.perf_counter()
            for _ in range(pieces):
                decoder.feed(b"x" * 64)
            decoder.feed(b"\n\n")
            best = min(best, time.perf_counter() - begin)
        return best

    # 8 times the pieces: about 8 times the time; copying the whole each time would be 64 times.
    assert cost(80_000) < 30 * cost(10_000)


def test_the_buffer_lets_bytes_through_untouched() -> None:
    aligned = AlignedBuffer()
    assert aligned.feed(b"data: 1\n\nda") == b"data: 1\n\n"
    assert aligned.feed(b"ta: 2\n") == b""
    assert aligned.feed(b"\n: c\n\ndata: 3") == b"data: 2\n\n: c\n\n"
    assert aligned.finish() == b"data: 3"
    assert aligned.finish() == b""


@pytest.mark.parametrize("name", [None, "error"])
@pytest.mark.parametrize("data", [b"{}", b"", b"a\nb\n", "źdźbło".encode()])
def test_what_is_encoded_decodes(name: str | None, data: bytes) -> None:
    assert whole(encode(data, name)) == [Event(name, data)]


def test_a_stream_of_nothing_but_line_ends_takes_no_longer_than_another() -> None:
    block = b"\r" * 100_000
    began = time.process_time()
    assert sum(len(raw) for raw, _ in frames(block)) == len(block)
    assert time.process_time() - began < 1, "some 0.1 s; looked for to the end each time it was 15"
