"""Which targets are unhealthy, and how good their answers are, shared by all nodes through Redis.

No request ever waits for Redis: what happens is counted here at once, sent a moment later, and what other
nodes saw is fetched in the same exchange, once a second. While Redis is away every node goes by what it sees
itself.

redis-py blocks its thread, so it runs in gevent's thread pool.
"""

from __future__ import annotations

import json
import math
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from ..auth.redis_login import RENEWED
from ..config.models import Redis
from ..log import get_logger
from ..redis_client import connect
from .guard import Guarded
from .measures import Accuracy
from .states import TargetState

log = get_logger("balancer")

INTERVAL: Final = 1.0
"""Seconds between two exchanges with Redis."""
_PATIENCE: Final = 15
"""Intervals between two attempts, at most, while Redis is away."""
_KEPT: Final = 25 * 3600
"""Seconds after which Redis forgets a target nothing happened to; longer than any target is left alone."""
_SCORES_MAX: Final = 10 * Accuracy.REMEMBERED
"""Scores that are kept while Redis is away: older ones make no difference any more."""
_PREFIX: Final = "kong-ai-proxy:target:"

# Times in milliseconds, by Redis's clock, for the nodes' clocks differ.
_SYNC: Final = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local key, changed = KEYS[1], false
local recovered, fails, age, cool, status, window, kept, scores, score, remembered = unpack(ARGV)
if recovered == '1' and now - tonumber(redis.call('HGET', key, 'failed_at') or 0) >= tonumber(window) then
  redis.call('HDEL', key, 'fails', 'failed_at')
end
if tonumber(fails) > 0 then
  redis.call('HINCRBY', key, 'fails', fails)
  local at = now - tonumber(age)
  if at > tonumber(redis.call('HGET', key, 'failed_at') or 0) then
    redis.call('HSET', key, 'failed_at', string.format('%.0f', at))
  end
  changed = true
end
if tonumber(cool) > 0 and now + cool > tonumber(redis.call('HGET', key, 'cooled_until') or 0) then
  redis.call('HSET', key, 'cooled_until', string.format('%.0f', now + cool), 'cooled_by', status)
  changed = true
end
if tonumber(scores) > 0 then
  local before = redis.call('HMGET', key, 'scores', 'accuracy')
  local n, mean = tonumber(before[1] or 0), tonumber(before[2] or 0)
  -- Further ones of the same value change nothing.
  for _ = 1, math.min(scores, 10 * remembered) do
    n = n + 1
    mean = mean + (score - mean) / math.min(n, remembered)
  end
  redis.call('HSET', key, 'scores', string.format('%.0f', n), 'accuracy', string.format('%.6f', mean))
  changed = true
end
if changed then redis.call('EXPIRE', key, kept) end
local is = redis.call('HMGET', key, 'fails', 'failed_at', 'cooled_until', 'cooled_by', 'scores', 'accuracy')
return {
  tonumber(is[1] or 0), now - tonumber(is[2] or now), tonumber(is[3] or now) - now, tonumber(is[4] or 0),
  tonumber(is[5] or 0), math.floor(tonumber(is[6] or 0) * 1e6)
}
"""
"""Takes what happened here, gives what is known: failures, age of the last, time to be left alone, why;
scores, and a million times their average."""


@dataclass(slots=True)
class _News:
    """What Redis was not told yet."""

    recovered: bool = False
    fails: int = 0
    cooled: bool = False
    scores: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Message:
    """One target's part of an exchange; seconds."""

    name: str
    recovered: bool
    fails: int
    age: float
    cool: float
    cooled_by: int
    fail_timeout: float
    scores: int = 0
    score: float = 0.0
    """Their average."""


Answer = tuple[int, float, float, int, int, int]
"""What `_SYNC` returns."""


class RedisSharing:
    """A `Sharing` (see there) over one Redis."""

    def __init__(
        self,
        connect: Callable[[], Any],
        *,
        interval: float = INTERVAL,
        renewed: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`connect`: gives a client of redis-py; called where blocking is allowed, again after `renewed`
        seconds."""
        self._connect = connect
        self._interval = interval
        self._renewed = renewed
        self._connected_at = -math.inf
        self._clock = clock
        self._guarded: weakref.WeakSet[Guarded] = weakref.WeakSet()
        self._news: dict[TargetState, _News] = {}
        self._client: Any = None
        self._loop: Any = None
        self._away = False

    def watch(self, guarded: Guarded) -> None:
        self._guarded.add(guarded)
        if self._loop is None:
            import gevent

            self._loop = gevent.spawn(self._run)

    def failed(self, state: TargetState) -> None:
        self._news.setdefault(state, _News()).fails += 1

    def recovered(self, state: TargetState) -> None:
        news = self._news.setdefault(state, _News())
        news.recovered, news.fails = True, 0

    def cooled(self, state: TargetState) -> None:
        self._news.setdefault(state, _News()).cooled = True

    def scored(self, state: TargetState, score: float) -> None:
        scores = self._news.setdefault(state, _News()).scores
        scores.append(score)
        del scores[:-_SCORES_MAX]

    def exchange(self) -> None:
        """One exchange with Redis, for all targets. Blocks this greenlet alone. Raises what redis-py does."""
        import gevent

        told, self._news = self._news, {}
        watched = self._watched()
        now = self._clock()
        messages = [
            self._message(state, fail_timeout, told.get(state, _News()), now)
            for state, (_, fail_timeout) in watched.items()
        ]
        try:
            answers = gevent.get_hub().threadpool.apply(self._send, (messages,))
            if isinstance(answers, Exception):
                raise answers
        except BaseException:
            self._keep(told)
            raise
        for (state, (max_fails, _)), answer in zip(watched.items(), answers, strict=True):
            self._learn(state, max_fails, answer)

    def _run(self) -> None:
        import gevent

        pause = self._interval
        while self._guarded:
            try:
                self.exchange()
            except ImportError:
                log.error("redis_library_missing", hint="pip install 'kong-ai-proxy[redis]'")
                return
            except Exception as error:
                pause = min(2 * pause, _PATIENCE * self._interval)
                if not self._away:
                    self._away = True
                    log.warning(
                        "redis_away",
                        reason=type(error).__name__,
                        effect="this node goes by what it sees itself until Redis is back",
                    )
            else:
                pause = self._interval
                if self._away:
                    self._away = False
                    log.info("redis_back")
            gevent.sleep(pause)
        self._loop = None

    def _watched(self) -> dict[TargetState, tuple[int, float]]:
        """All states, with `max_fails` and `fail_timeout`. Nothing that would keep an instance alive."""
        return {
            state: (guarded.max_fails, guarded.fail_timeout)
            for guarded in self._guarded
            for state in guarded.states
        }

    def _message(self, state: TargetState, fail_timeout: float, news: _News, now: float) -> _Message:
        return _Message(
            state.name,
            news.recovered,
            news.fails,
            max(0.0, now - state.failed_at) if news.fails else 0.0,
            max(0.0, state.cooled_until - now) if news.cooled else 0.0,
            state.cooled_by,
            fail_timeout,
            len(news.scores),
            sum(news.scores) / len(news.scores) if news.scores else 0.0,
        )

    def _send(self, messages: Iterable[_Message]) -> list[Answer] | Exception:
        """In a thread of the pool, which would print what is raised."""
        try:
            if self._client is not None and time.monotonic() - self._connected_at > self._renewed:
                client, self._client = self._client, None
                client.close()
            if self._client is None:
                self._client = self._connect()
                self._connected_at = time.monotonic()
            return [self._client.eval(_SYNC, 1, _PREFIX + each.name, *_arguments(each)) for each in messages]
        except Exception as error:
            self._client = None
            return error

    def _learn(self, state: TargetState, max_fails: int, answer: Answer) -> None:
        fails, age, cool, status, scores, accuracy = answer
        now = self._clock()
        # What happened here meanwhile is not in the answer.
        since = self._news.get(state, _News())
        if max_fails and not since.recovered:
            state.fails = fails + since.fails
            if fails and not since.fails:
                state.failed_at = now - age / 1000
        if cool > 0 and now + cool / 1000 > state.cooled_until:
            state.cooled_until = now + cool / 1000
            state.cooled_by = status
        if scores:
            state.accuracy.scores = scores
            state.accuracy.mean = accuracy / 1e6
            for score in since.scores:
                state.accuracy.add(score)

    def _keep(self, told: dict[TargetState, _News]) -> None:
        """They were not told after all."""
        for state, before in told.items():
            since = self._news.get(state)
            if since is None:
                self._news[state] = before
                continue
            since.cooled |= before.cooled
            since.scores = [*before.scores, *since.scores][-_SCORES_MAX:]
            if not since.recovered:
                since.fails += before.fails
                since.recovered = before.recovered


def _arguments(message: _Message) -> list[str]:
    return [
        "1" if message.recovered else "0",
        str(message.fails),
        f"{message.age * 1000:.0f}",
        f"{message.cool * 1000:.0f}",
        str(message.cooled_by),
        f"{message.fail_timeout * 1000:.0f}",
        str(_KEPT),
        str(message.scores),
        repr(message.score),
        str(Accuracy.REMEMBERED),
    ]


_SHARED: Final[dict[str, RedisSharing]] = {}
"""By their settings: instances with the same Redis share one connection."""


def sharing_by(settings: Redis) -> RedisSharing:
    """The sharing over this Redis, one for the whole process."""
    key = json.dumps(settings.model_dump(), sort_keys=True)
    if key not in _SHARED:
        renewed = RENEWED if settings.cloud_authentication else math.inf
        _SHARED[key] = RedisSharing(lambda: connect(settings), renewed=renewed)
    return _SHARED[key]
