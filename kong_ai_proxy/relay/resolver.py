"""Host names to addresses, through gevent's resolver, remembered for a few seconds."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import gevent
import gevent.socket

Address: TypeAlias = tuple[int, tuple[Any, ...]]
"""Address family and socket address."""


class ResolveError(Exception):
    """The name has no address, or nobody could say."""


class Resolver:
    """One look-up at a time for a name, however many ask; the answer serves for `ttl` seconds.

    An answer up to `stale` seconds old serves on while look-ups fail, so that a stumbling DNS server does not
    take every provider away.
    """

    def __init__(
        self,
        ttl: float = 5.0,
        stale: float = 60.0,
        lookup: Callable[..., list[Any]] = gevent.socket.getaddrinfo,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl = ttl
        self._stale = stale
        self._lookup = lookup
        self._clock = clock
        self._known: dict[tuple[str, int], tuple[float, list[Address]]] = {}
        self._running: dict[tuple[str, int], Any] = {}

    def resolve(self, host: str, port: int, timeout: float) -> list[Address]:
        """At least one address, in the resolver's order. Raises ResolveError, gevent.Timeout."""
        literal = _literal(host, port)
        if literal is not None:
            return [literal]
        key = (host, port)
        known = self._known.get(key)
        if known is not None and self._clock() - known[0] < self._ttl:
            return known[1]
        running = self._running.get(key)
        if running is None:
            # A greenlet of its own: who asked first may go away while others wait for the same answer.
            running = self._running[key] = gevent.spawn(self._look_up, key)
        with gevent.Timeout(timeout or None):
            found = running.get()
        if isinstance(found, ResolveError):
            if known is not None and self._clock() - known[0] < self._stale:
                return known[1]
            raise found
        return list(found)

    def _look_up(self, key: tuple[str, int]) -> list[Address] | ResolveError:
        try:
            answers = self._lookup(key[0], key[1], 0, socket.SOCK_STREAM)
            found = [(family, address) for family, _, _, _, address in answers]
            if not found:
                return ResolveError("no address")
            if len(self._known) > 1024:
                self._known.clear()
            self._known[key] = (self._clock(), found)
            return found
        except (OSError, UnicodeError) as error:
            return ResolveError(str(error))
        finally:
            del self._running[key]


def _literal(host: str, port: int) -> Address | None:
    if host[-1:].isdigit() or ":" in host:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return None
        if address.version == 6:
            return socket.AF_INET6, (host, port, 0, 0)
        return socket.AF_INET, (host, port)
    return None
