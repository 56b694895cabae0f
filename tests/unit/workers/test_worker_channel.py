"""Two processes of ours talk: here both ends are in one."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator
from typing import Any

import gevent
import msgpack
import pytest
from gevent.event import Event
from relay_support import eventually

from kong_ai_proxy import log
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.workers import channel as channels
from kong_ai_proxy.workers.channel import Channel, ChannelClosed, RemoteError


class Side:
    """One end, and what it heard."""

    def __init__(self, sock: Any, **limits: int) -> None:
        self.heard: list[Any] = []
        self.ended: list[str] = []
        self.go = Event()
        handlers = {
            "add": lambda one, other: one + other,
            "hear": self.heard.append,
            "refuse": self.refuse,
            "fail": self.fail,
            "wait": self.wait,
            "later": self.later,
            "strange": lambda: object(),
        }
        self.channel = Channel(
            sock, handlers, slow=("wait", "later"), on_closed=self.ended.append, **limits
        )

    def refuse(self) -> None:
        raise ApiError(429, "not now", code="c", param="p", headers={"retry-after": "3"})

    def fail(self) -> None:
        raise KeyError("secret detail")

    def wait(self, value: Any) -> Any:
        self.go.wait()
        return value

    def later(self, value: Any) -> None:
        self.go.wait()
        self.heard.append(value)


class Both:
    def __init__(self, **limits: int) -> None:
        one, other = channels.pair()
        self.one, self.other = Side(one), Side(other, **limits)

    def close(self) -> None:
        self.one.channel.close()
        self.other.channel.close()
        gevent.sleep(0)


@pytest.fixture
def both() -> Iterator[Both]:
    made = Both()
    with gevent.Timeout(10, AssertionError("the test hangs")):
        yield made
    made.close()


@pytest.fixture
def lines() -> Iterator[Any]:
    stream = io.StringIO()
    log.configure("debug", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    log.configure("info", None)


def test_questions_are_answered_in_both_directions(both: Both) -> None:
    assert both.one.channel.ask("add", 1, 2) == 3
    assert both.other.channel.ask("add", "a", "b") == "ab"
    assert both.one.channel.ask("add", "\udcff", "\ud800") == "\udcff\ud800"


def test_what_is_told_comes_in_order_and_before_a_later_question(both: Both) -> None:
    for number in range(100):
        both.one.channel.tell("hear", number)
    assert both.one.channel.ask("add", 0, 0) == 0
    assert both.other.heard == list(range(100))


def test_one_that_waits_holds_nobody_up(both: Both) -> None:
    waiting = gevent.spawn(both.one.channel.ask, "wait", "x")
    both.one.channel.tell("later", "y")
    gevent.sleep(0)
    assert both.one.channel.ask("add", 1, 1) == 2
    both.other.go.set()
    assert waiting.get(timeout=5) == "x"
    eventually(lambda: both.other.heard == ["y"])


def test_errors_for_clients_are_the_same_on_the_other_side(both: Both) -> None:
    with pytest.raises(ApiError) as raised:
        both.one.channel.ask("refuse")
    error = raised.value
    assert (error.status, error.message, error.code, error.param) == (429, "not now", "c", "p")
    assert error.headers == {"retry-after": "3"} and error.type == "rate_limit_error"


def test_other_errors_are_told_without_their_text(both: Both, lines: Any) -> None:
    for method, kind in (("fail", "KeyError"), ("add", "TypeError"), ("strange", "TypeError")):
        with pytest.raises(RemoteError, match=f"{method}: {kind}") as raised:
            both.one.channel.ask(method)
        assert "secret" not in str(raised.value)
    both.one.channel.tell("fail")
    assert both.one.channel.ask("add", 1, 1) == 2
    events = [line["event"] for line in lines()]
    assert events == ["not_answered"] * 3 + ["not_heard"]


def test_an_answer_that_nobody_waits_for_any_longer(both: Both, lines: Any) -> None:
    late: list[Any] = []
    for wanted in (late.append, None, lambda value: 1 / 0):
        asking = gevent.spawn(both.one.channel.ask, "wait", "x", late=wanted)
        gevent.sleep(0.01)
        asking.kill()
    refused = gevent.spawn(both.one.channel.ask, "refuse", late=late.append)
    gevent.sleep(0)
    refused.kill()
    both.other.go.set()
    assert both.one.channel.ask("wait", 1) == 1
    eventually(lambda: late == ["x"])
    assert [line["event"] for line in lines()] == ["late_answer_lost"]


def test_large_messages_do_not_block(both: Both) -> None:
    value = "x" * 3_000_000
    asked = [gevent.spawn(both.one.channel.ask, "add", value, value) for _ in range(3)]
    both.one.channel.tell("hear", "last")
    for each in asked:
        assert len(each.get(timeout=10)) == 6_000_000
    assert both.other.heard == ["last"]
    assert both.one.channel.flush(1.0)
    assert both.one.channel.ask("add", 1, 2) == 3


def test_the_end_of_one_is_heard_by_the_other(both: Both) -> None:
    waiting = gevent.spawn(both.one.channel.ask, "wait", "x")
    gevent.sleep(0.01)
    both.other.channel.close("enough")
    both.other.channel.close("again")
    with pytest.raises(ChannelClosed):
        waiting.get(timeout=5)
    eventually(lambda: both.one.ended == ["the other side is gone"])
    assert both.other.ended == ["enough"]
    both.one.channel.tell("hear", 1)  # nobody is there, and nothing happens
    with pytest.raises(ChannelClosed):
        both.one.channel.ask("add", 1, 1)


def test_what_cannot_be_packed_is_not_sent(both: Both) -> None:
    with pytest.raises(OverflowError):
        both.one.channel.ask("add", 2**70, 1)
    with pytest.raises(TypeError):
        both.one.channel.tell("hear", [1, object()])
    assert both.one.channel.ask("add", 1, 1) == 2
    assert both.other.heard == []


@pytest.mark.parametrize(
    "sent",
    [
        msgpack.packb("hello"),
        msgpack.packb([0, 1, "no such method", []]),
        msgpack.packb([0, "one", "add", [1, 2]]),
        msgpack.packb([2, "hear", "no list"]),
        msgpack.packb([3, 1, None, None]),
        msgpack.packb([1, 7]),
        b"\xc1 no MessagePack",
        b"\xdf\xff\xff\xff\xff",
        msgpack.packb([2, "hear", ["x" * 25_000]]),
    ],
)
def test_who_sends_something_else_is_not_listened_to(sent: bytes, lines: Any) -> None:
    raw, theirs = socket.socketpair()
    side = Side(theirs, max_message=20_000)
    with raw:
        raw.sendall(sent)
        if sent.startswith(b"\xdf"):
            raw.sendall(b"x" * 4000)
        eventually(lambda: side.ended == ["speaks another language"])
        raw.settimeout(1)
        assert raw.recv(1) == b""
    assert not side.heard
    assert [line["event"] for line in lines()] == ["protocol_error"]


def test_an_answer_to_no_question_is_passed_over() -> None:
    raw, theirs = socket.socketpair()
    side = Side(theirs)
    with raw:
        raw.sendall(msgpack.packb([1, 99, None, "?"]) + msgpack.packb([2, "hear", ["next"]]))
        eventually(lambda: side.heard == ["next"])
        side.channel.close()
        gevent.sleep(0)


def test_a_peer_that_takes_nothing_is_given_up() -> None:
    raw, theirs = socket.socketpair()
    side = Side(theirs, max_unsent=100_000)
    with raw:
        for _ in range(8):
            side.channel.tell("hear", "x" * 100_000)
        eventually(lambda: side.ended == ["takes nothing"])
        assert not side.channel.flush(0.0) or side.channel.closed


def test_a_peer_that_is_gone_is_noticed_when_writing() -> None:
    raw, theirs = socket.socketpair()
    side = Side(theirs)
    raw.close()
    asking = gevent.spawn(side.channel.ask, "add", 1, 1)
    with pytest.raises(ChannelClosed):
        asking.get(timeout=5)
    eventually(lambda: len(side.ended) == 1)


class Broken:
    """A socket whose calls fail in turn."""

    def __init__(self, sock: Any, **errors: list[BaseException]) -> None:
        self._sock, self._errors = sock, errors

    def __getattr__(self, name: str) -> Any:
        errors = self._errors.get(name)
        if errors:
            error = errors.pop(0)

            def fail(*_: Any) -> Any:
                raise error

            return fail
        return getattr(self._sock, name)


def test_system_calls_that_fail() -> None:
    for name, told in (("recv", "cannot be read from: gone"), ("send", "cannot be written to: gone")):
        raw, theirs = socket.socketpair()
        side = Side(theirs)
        errors: list[BaseException] = [InterruptedError(), OSError(104, "gone")]
        side.channel._socket = Broken(theirs, **{name: errors})  # type: ignore[assignment]
        with raw:
            if name == "recv":
                raw.sendall(msgpack.packb([2, "hear", [1]]))
            else:
                side.channel.tell("hear", 1)
            eventually(lambda: side.ended == [told])  # noqa: B023
            assert not errors


def test_what_was_not_taken_at_once_is_sent_later() -> None:
    raw, theirs = socket.socketpair()
    side = Side(theirs)
    errors: list[BaseException] = [BlockingIOError(), BlockingIOError()]
    side.channel._socket = Broken(theirs, send=errors)  # type: ignore[assignment]
    with raw:
        side.channel.tell("hear", 1)
        side.channel.tell("hear", 2)
        assert side.channel.flush(1.0)
        raw.settimeout(1)
        assert list(msgpack_all(raw.recv(100))) == [[2, "hear", [1]], [2, "hear", [2]]]
        assert not errors
        side.channel.close()
        gevent.sleep(0)


def msgpack_all(data: bytes) -> Iterator[Any]:
    unpacker = msgpack.Unpacker()
    unpacker.feed(data)
    yield from unpacker
