"""Kept-alive connections to providers."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any, Final

import gevent

from .answer import Channel, Key

_SWEEP_SECONDS: Final = 5.0
_TIMEOUT: Final = re.compile(r"\btimeout=(\d{1,6})")
_MARGIN: Final = 1.0
"""Seconds before the announced end after which a request might cross the close on its way."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Of what is kept."""

    idle_per_host: int = 128
    idle_seconds: float = 55.0
    """Below the 60 s after which most servers and load balancers close."""
    age_seconds: float = 300.0
    """After that a connection is not reused: a host's new address shall be found."""


class Pool:
    """All idle connections of this process, the one used last first."""

    def __init__(self, limits: PoolLimits) -> None:
        self._limits = limits
        self._idle: dict[Key, list[Channel]] = {}
        self._sweeper: Any = None

    def __len__(self) -> int:
        return sum(map(len, self._idle.values()))

    def take(self, key: Key) -> Channel | None:
        """A connection that was still open a moment ago."""
        channels = self._idle.get(key)
        while channels:
            channel = channels.pop()
            if self._fit(channel, time.monotonic()):
                channel.reading.reset()
                return channel
            channel.connection.close()
        return None

    def give(self, channel: Channel) -> None:
        """After a whole answer: keeps the connection, or closes it where it cannot be used again."""
        reading = channel.reading
        channels = self._idle.setdefault(channel.key, [])
        full = len(channels) >= self._limits.idle_per_host
        if full or not reading.keep_alive or reading.extra or channel.connection.closed:
            channel.connection.close()
            return
        channel.idle_since = time.monotonic()
        channel.idle_max = _told(reading.headers.get("keep-alive"), self._limits.idle_seconds)
        channels.append(channel)
        if self._sweeper is None:
            self._sweeper = gevent.spawn(self._sweep)

    def close(self) -> None:
        """Closes them all."""
        if self._sweeper is not None:
            self._sweeper.kill()
            self._sweeper = None
        for channels in self._idle.values():
            for channel in channels:
                channel.connection.close()
        self._idle.clear()

    def _fit(self, channel: Channel, now: float) -> bool:
        return (
            now - channel.idle_since < channel.idle_max
            and now - channel.born < self._limits.age_seconds
            and channel.connection.idle_and_open()
        )

    def _sweep(self) -> None:
        """Closes what nobody may use any more, until nothing is left."""
        while self._idle:
            gevent.sleep(_SWEEP_SECONDS)
            self.sweep()
        self._sweeper = None

    def sweep(self) -> None:
        """Closes what has been idle for too long, or was closed by the other side."""
        now = time.monotonic()
        for key, channels in list(self._idle.items()):
            keep = []
            for channel in channels:
                if self._fit(channel, now):
                    keep.append(channel)
                else:
                    channel.connection.close()
            if keep:
                self._idle[key] = keep
            else:
                del self._idle[key]


def _told(keep_alive: str | None, longest: float) -> float:
    """Seconds to keep a connection, by the header with which Node's servers say how long they do
    (https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Keep-Alive)."""
    found = _TIMEOUT.search(keep_alive) if keep_alive else None
    return min(longest, int(found[1]) - _MARGIN) if found else longest
