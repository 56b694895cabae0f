"""Tokens kept until shortly before they expire, each fetched by one request at a time."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, NamedTuple

from ..core.errors import ApiError
from ..log import get_logger

log = get_logger("auth")

_SKEW: Final = 300.0
"""Seconds before its end that a token is replaced; no more than half its life."""
_RETRY: Final = 15.0
"""Seconds until a failed refresh is tried again while the old token is still good."""
_WAIT: Final = 30.0
"""Seconds that a request waits for another's fetch; fetches have shorter limits of their own."""
_MOST: Final = 1024
"""Credentials kept. Templates may make one of each request's headers."""

FETCHES: Final[Counter[str]] = Counter()
"""Fetches in this process, by outcome: "ok" or "failed"."""


class Unavailable(Exception):
    """A token cannot be had. The message says why in a few words, without a secret: it goes into the log."""


class Token(NamedTuple):
    value: str
    lifetime: float
    """Seconds from now."""


class _Entry:
    __slots__ = ("expires", "failure", "fetched", "refresh_at", "value")

    def __init__(self) -> None:
        self.value: str | None = None
        self.expires = 0.0
        self.refresh_at = 0.0
        self.failure: Unavailable | None = None
        """Why the fetch that others wait for failed."""
        self.fetched: threading.Event | None = None
        """Set when the fetch under way has ended; None: none is."""


class TokenCache:
    """By credential. While a token is good, nobody waits."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        spawn: Callable[[Callable[[], object]], object] | None = None,
    ) -> None:
        """`spawn` runs a function in the background."""
        self._clock = clock
        self._spawn = spawn or _in_thread
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, fetch: Callable[[], Token]) -> str:
        """The token of this credential.

        A first or expired one is fetched here and now, by one caller while the others wait for the same. One
        that is about to expire is still given out while its successor is fetched in the background; a
        failure then is only logged. `fetch` raises Unavailable, and so does this where there is no good
        token.
        """
        while True:
            with self._lock:
                entry = self._entries.get(key)
                if entry is None:
                    entry = self._entries[key] = _Entry()
                    if len(self._entries) > _MOST:
                        self._entries.popitem(last=False)
                else:
                    self._entries.move_to_end(key)
                now = self._clock()
                value = entry.value if now < entry.expires else None
                under_way = entry.fetched
                if value is not None and (now < entry.refresh_at or under_way is not None):
                    return value
                if under_way is None:
                    mine = entry.fetched = threading.Event()
            if under_way is None:
                break
            found = self._await(entry, under_way)
            if found is not None:
                return found
        if value is None:
            return self._fetch(entry, mine, fetch, None)
        self._spawn(lambda: self._fetch(entry, mine, fetch, value))
        return value

    def _fetch(
        self, entry: _Entry, done: threading.Event, fetch: Callable[[], Token], old: str | None
    ) -> str:
        failure: Unavailable | None = None
        token: Token | None = None
        try:
            token = fetch()
        except Unavailable as error:
            failure = error
        except Exception as error:
            # Other people's libraries; their messages may quote what they were given.
            failure = Unavailable(type(error).__name__)
        finally:
            with self._lock:
                now = self._clock()
                FETCHES["ok" if token is not None else "failed"] += 1
                if token is not None:
                    entry.value = token.value
                    entry.expires = now + token.lifetime
                    entry.refresh_at = entry.expires - min(_SKEW, token.lifetime / 2)
                elif old is not None:
                    entry.refresh_at = now + _RETRY
                entry.failure = failure
                entry.fetched = None
            done.set()
        if token is not None:
            return token.value
        assert failure is not None
        if old is not None:
            log.warning("token not refreshed, the old one serves until it expires", reason=str(failure))
            return old
        raise failure

    def _await(self, entry: _Entry, done: threading.Event) -> str | None:
        """What another request's fetch brought; None where that request was given up in the middle of it."""
        if not done.wait(_WAIT):
            raise Unavailable("the token endpoint does not answer")
        if entry.value is not None and self._clock() < entry.expires:
            return entry.value
        if entry.failure is not None:
            raise entry.failure
        return None


def _in_thread(work: Callable[[], object]) -> None:
    # A greenlet where gevent has patched threads.
    threading.Thread(target=work, name="token-refresh", daemon=True).start()


def refused(what: str, error: Unavailable) -> ApiError:
    """What the client gets where a credential cannot be had; why goes into the log only."""
    log.error("credential unavailable", credential=what, reason=str(error))
    return ApiError(500, f"no {what} could be had for this provider", code="credential_unavailable")
