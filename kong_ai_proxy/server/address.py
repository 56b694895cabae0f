"""Where the relay is, as Kong sees it, and whether a Kong service leads there already."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from typing import Any

from gevent import Timeout, socket

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})
_ANY = frozenset({"", "0.0.0.0", "::", "[::]", "*"})
_RESOLVE_TIMEOUT = 2.0
_REMEMBER = 60.0
"""Seconds a resolved service host is remembered."""


def parse_address(text: str, *, default_port: int | None = None) -> tuple[str, int]:
    """ "host:port", "[v6]:port" or, with a default port, "host". Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        if default_port is None:
            raise ValueError(f"not HOST:PORT: {text!r}")
        host, port = text, str(default_port)
    number = int(port) if port.isascii() and port.isdigit() else -1
    if not 0 <= number <= 65535:
        raise ValueError(f"not a port: {port!r}")
    return host.strip("[]"), number


class RelayAddress:
    """The relay's address for Kong.

    `listen` is what the relay is bound to, `advertise` what Kong must use where that differs (a relay on
    all addresses of a container).
    """

    def __init__(
        self,
        listen: tuple[str, int],
        advertise: tuple[str, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._listen = listen
        self._advertised = advertise is not None
        if advertise is not None:
            self.host, self.port = advertise
        elif listen[0] in _ANY:
            self.host, self.port = own_address(), listen[1]
        else:
            self.host, self.port = listen
        self._known: dict[tuple[str, int], tuple[float, bool]] = {}

    def target(self, service_host: object) -> str:
        """The host for `kong.service.set_target`. Kong resolves names only where the service's own host is
        a name, so beside a service with an IP address ours is given as one."""
        if _is_ip(self.host) or not (isinstance(service_host, str) and _is_ip(service_host)):
            return self.host
        return next(iter(_resolve(self.host)), self.host)

    def leads_here(self, service: Any) -> bool:
        """True if a Kong service (`{protocol, host, port}`) is the relay itself. May look a name up."""
        if not isinstance(service, dict) or service.get("protocol") not in ("http", "ws"):
            return False
        host, port = service.get("host"), service.get("port")
        if not isinstance(host, str) or not isinstance(port, int):
            return False
        if (host, port) == (self.host, self.port) or (host, port) == self._listen:
            return True
        if port not in (self.port, self._listen[1]):
            return False
        if host in _LOOPBACK and self._listen[0] in _LOOPBACK and not self._advertised:
            return True
        known = self._known.get((host, port))
        now = self._clock()
        if known is None or now - known[0] > _REMEMBER:
            if len(self._known) > 1000:
                self._known.clear()
            known = self._known[(host, port)] = (now, self._resolves_here(host))
        return known[1]

    def _resolves_here(self, host: str) -> bool:
        """A name or address that is one of this machine's, where the relay listens on it."""
        wanted = _resolve(self._listen[0]) if self._listen[0] not in _ANY else None
        return any(
            _is_own(address) and not _is_loopback(address) if wanted is None else address in wanted
            for address in _resolve(host)
        )


def own_address() -> str:
    """The address other machines reach this one at; 127.0.0.1 if there is none."""
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect(("192.0.2.1", 9))  # a documentation address (RFC 5737); nothing is sent
        return str(probe.getsockname()[0])
    except OSError:
        return "127.0.0.1"
    finally:
        probe.close()


def _resolve(host: str) -> list[str]:
    if _is_ip(host):
        return [host]
    try:
        with Timeout(_RESOLVE_TIMEOUT, OSError("too slow")):
            return [str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _is_own(address: str) -> bool:
    """Only an address of this machine can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    probe = socket.socket(family, socket.SOCK_DGRAM)
    try:
        probe.bind((address, 0))
    except OSError:
        return False
    finally:
        probe.close()
    return True
