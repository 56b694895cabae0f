"""Streams of native APIs that pass through and hold an event too large: what came before it counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from openai_support import make_call

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.formats.passing import (
    PassedArray,
    PassedEvents,
    PassedFrames,
    PassedLines,
    Reader,
)
from kong_ai_proxy.wire.eventstream import encode_frame


class Noting(Reader):
    """Keeps what it read."""

    def __init__(self, call: Any) -> None:
        super().__init__(call)
        self.read: list[Any] = []
        self.ended = 0

    def event(self, body: Any) -> None:
        self.read.append(body)

    def end(self) -> None:
        self.ended += 1


def reader(limit: int = 100) -> Noting:
    call = make_call(stream=True)
    call.max_frame = limit
    return Noting(call)


GOOD = {"n": 1}
HUGE = {"n": "x" * 200}


def line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def event(value: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(value).encode()


def frame(value: Any) -> bytes:
    return encode_frame({":event-type": "e", ":message-type": "event"}, json.dumps(value).encode())


@pytest.mark.parametrize(
    ("passed", "data"),
    [
        (PassedLines, line(GOOD) + line(HUGE)),
        (PassedArray, b"[" + line(GOOD) + b"," + line(HUGE) + b"]"),
        (PassedFrames, frame(GOOD) + frame(HUGE)),
    ],
)
def test_what_came_before_is_read(passed: Callable[[Reader], Any], data: bytes) -> None:
    noting = reader()
    observer = passed(noting)
    with pytest.raises(ApiError) as failed:
        observer.feed(data)
    assert failed.value.status == 502
    assert noting.read == [GOOD]
    assert noting.ended == 1


class TestEvents:
    def test_what_came_before_goes_on(self) -> None:
        noting = reader()
        observer = PassedEvents(noting)
        assert observer.feed(event(GOOD) + event(HUGE)[:-2]) == event(GOOD)
        assert noting.read == [GOOD]
        assert not noting.ended
        with pytest.raises(ApiError) as failed:
            observer.feed(event(GOOD))
        assert failed.value.code == "upstream_event_too_large"
        assert noting.read == [GOOD]
        assert noting.ended == 1

    def test_the_end_says_so_too(self) -> None:
        observer = PassedEvents(reader())
        observer.feed(event(GOOD) + event(HUGE)[:-2])
        with pytest.raises(ApiError):
            observer.finish()

    def test_at_once_where_nothing_came_before(self) -> None:
        observer = PassedEvents(reader())
        with pytest.raises(ApiError):
            observer.feed(b"data: " + b"x" * 200)
