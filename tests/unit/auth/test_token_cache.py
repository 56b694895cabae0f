"""Tokens: fetched once, kept until shortly before they expire, replaced without anybody waiting."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

import pytest

from kong_ai_proxy.auth.tokens import Token, TokenCache, Unavailable, refused


class Clock:
    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


class Fetches:
    """Counts; fails where told to."""

    def __init__(self, lifetime: float = 3600) -> None:
        self.count = 0
        self.lifetime = lifetime
        self.failure: Exception | None = None

    def __call__(self) -> Token:
        self.count += 1
        if self.failure is not None:
            raise self.failure
        return Token(f"t{self.count}", self.lifetime)


class Later:
    """Background work that waits until the test runs it."""

    def __init__(self) -> None:
        self.work: list[Callable[[], Any]] = []

    def __call__(self, work: Callable[[], Any]) -> None:
        self.work.append(work)

    def run(self) -> None:
        while self.work:
            self.work.pop(0)()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def later() -> Later:
    return Later()


@pytest.fixture
def cache(clock: Clock, later: Later) -> TokenCache:
    return TokenCache(clock, later)


def test_fetched_once(cache: TokenCache) -> None:
    fetch = Fetches()
    assert [cache.get("k", fetch) for _ in range(3)] == ["t1"] * 3
    assert fetch.count == 1


def test_one_for_each_credential(cache: TokenCache) -> None:
    fetch = Fetches()
    assert (cache.get("a", fetch), cache.get("b", fetch), cache.get("a", fetch)) == ("t1", "t2", "t1")


def test_refreshed_before_it_expires_while_the_old_one_serves(
    cache: TokenCache, clock: Clock, later: Later
) -> None:
    fetch = Fetches(3600)
    cache.get("k", fetch)
    clock.now += 3600 - 301
    assert cache.get("k", fetch) == "t1"
    assert not later.work
    clock.now += 2
    assert cache.get("k", fetch) == "t1", "nobody waits for the new one"
    assert cache.get("k", fetch) == "t1"
    assert (len(later.work), fetch.count) == (1, 1), "one refresh at a time"
    later.run()
    assert cache.get("k", fetch) == "t2"
    assert fetch.count == 2


def test_an_expired_token_is_never_given_out(cache: TokenCache, clock: Clock) -> None:
    """Kong once cached Azure's token for ever: 401 after an hour."""
    fetch = Fetches(3600)
    cache.get("k", fetch)
    clock.now += 3600
    assert cache.get("k", fetch) == "t2"


def test_an_expired_token_is_not_given_out_while_its_refresh_hangs(
    cache: TokenCache, clock: Clock, later: Later
) -> None:
    fetch = Fetches(3600)
    cache.get("k", fetch)
    clock.now += 3500
    cache.get("k", fetch)
    clock.now += 200
    threading.Timer(0.05, later.run).start()
    assert cache.get("k", fetch) == "t2"
    assert fetch.count == 2


def test_short_lived_tokens_are_used_half_their_life(cache: TokenCache, clock: Clock, later: Later) -> None:
    fetch = Fetches(60)
    cache.get("k", fetch)
    clock.now += 29
    cache.get("k", fetch)
    assert not later.work
    clock.now += 2
    cache.get("k", fetch)
    assert later.work


def test_failed_refresh_keeps_the_old_one_and_tries_again_soon(
    cache: TokenCache, clock: Clock, later: Later, log_lines: io.StringIO
) -> None:
    fetch = Fetches(3600)
    cache.get("k", fetch)
    clock.now += 3400
    fetch.failure = Unavailable("endpoint down")
    assert cache.get("k", fetch) == "t1"
    later.run()
    assert "endpoint down" in log_lines.getvalue()
    assert cache.get("k", fetch) == "t1"
    assert not later.work, "not with every request"
    clock.now += 16
    fetch.failure = None
    cache.get("k", fetch)
    later.run()
    assert cache.get("k", fetch) == "t3"


def test_failed_first_fetch_raises_and_is_tried_again(cache: TokenCache) -> None:
    fetch = Fetches()
    fetch.failure = Unavailable("no")
    for _ in range(2):
        with pytest.raises(Unavailable):
            cache.get("k", fetch)
    fetch.failure = None
    assert cache.get("k", fetch) == "t3"


def test_whatever_a_library_raises_is_told_without_its_text(cache: TokenCache) -> None:
    fetch = Fetches()
    fetch.failure = RuntimeError("planted-secret")
    with pytest.raises(Unavailable) as caught:
        cache.get("k", fetch)
    assert str(caught.value) == "RuntimeError"


def test_many_at_once_fetch_once(clock: Clock) -> None:
    cache = TokenCache(clock)
    going = threading.Event()
    count = 0

    def fetch() -> Token:
        nonlocal count
        count += 1
        going.wait(5)
        return Token("t", 3600)

    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(cache.get("k", fetch))) for _ in range(20)]
    for thread in threads:
        thread.start()
    going.set()
    for thread in threads:
        thread.join(5)
    assert got == ["t"] * 20
    assert count == 1


def test_many_at_once_share_a_failure(clock: Clock) -> None:
    cache = TokenCache(clock)
    started, going = threading.Event(), threading.Event()

    def fetch() -> Token:
        started.set()
        going.wait(5)
        raise Unavailable("no")

    failed: list[str] = []

    def ask() -> None:
        try:
            cache.get("k", fetch)
        except Unavailable as error:
            failed.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    threads[0].start()
    started.wait(5)
    for thread in threads[1:]:
        thread.start()
    going.set()
    for thread in threads:
        thread.join(5)
    assert failed == ["no"] * 8


def test_another_credentials_fetch_blocks_nobody(clock: Clock) -> None:
    cache = TokenCache(clock)
    started, going = threading.Event(), threading.Event()

    def slow() -> Token:
        started.set()
        going.wait(5)
        return Token("slow", 3600)

    thread = threading.Thread(target=lambda: cache.get("slow", slow))
    thread.start()
    started.wait(5)
    assert cache.get("other", Fetches()) == "t1"
    going.set()
    thread.join(5)


def test_refresh_runs_in_the_background_by_default(clock: Clock) -> None:
    cache = TokenCache(clock)
    fetch = Fetches(3600)
    cache.get("k", fetch)
    clock.now += 3500
    refreshed = threading.Event()

    def second() -> Token:
        refreshed.set()
        return Token("new", 3600)

    assert cache.get("k", second) == "t1"
    assert refreshed.wait(5)


def test_another_request_goes_on_where_the_fetching_one_is_given_up(clock: Clock) -> None:
    """A client that leaves ends its own wait only: the relay unwinds it with a BaseException."""

    class Gone(BaseException):
        pass

    cache = TokenCache(clock)
    started, going = threading.Event(), threading.Event()

    def given_up() -> Token:
        started.set()
        going.wait(5)
        raise Gone

    def leave() -> None:
        with pytest.raises(Gone):
            cache.get("k", given_up)

    got: list[str] = []
    second = Fetches()
    threads = [threading.Thread(target=leave)]
    threads += [threading.Thread(target=lambda: got.append(cache.get("k", second))) for _ in range(5)]
    threads[0].start()
    started.wait(5)
    for thread in threads[1:]:
        thread.start()
    going.set()
    for thread in threads:
        thread.join(5)
    assert got == ["t1"] * 5


def test_bounded(cache: TokenCache) -> None:
    fetch = Fetches()
    for number in range(3000):
        cache.get(number, fetch)
    assert len(cache._entries) <= 1024
    assert cache.get(2999, fetch) == "t3000"


def test_the_client_is_not_told_why(log_lines: io.StringIO) -> None:
    error = refused("Azure token", Unavailable("login.example answered with status 401"))
    assert (error.status, error.code) == (500, "credential_unavailable")
    assert "login.example" not in error.message
    assert "login.example" in log_lines.getvalue()
