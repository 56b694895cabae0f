"""New connections to providers."""

from __future__ import annotations

import re
import ssl
import time
from typing import Any, Final

import gevent

from ..core.http import Url
from ..log import get_logger
from .answer import UpstreamFailure
from .connection import Connection, ConnectionBroken, TimedOut, TlsConnection
from .networks import allowed_networks, is_public
from .resolver import ResolveError, Resolver

_QUOTED: Final = re.compile(r"'[^']*'")
NOT_PUBLIC: Final = "the provider's answer leads to no public address"

log = get_logger("relay")


class Dialer:
    """Resolves, connects, and verifies who is there."""

    def __init__(self, resolver: Resolver | None = None, tls: ssl.SSLContext | None = None) -> None:
        """`tls`: by default the system's certificates, or those of SSL_CERT_FILE and SSL_CERT_DIR.
        ValueError where the environment allows what is no network (see `networks`)."""
        self._resolver = resolver or Resolver()
        self._tls = tls
        self._allowed = allowed_networks()

    def public(self, address: str) -> bool:
        """Whether a host that an answer named may have this address."""
        return is_public(address, self._allowed)

    def dial(self, url: Url, timeout: float, *, public_only: bool = False) -> Connection:
        """A connection, within `timeout` seconds (0: no limit). Raises UpstreamFailure.

        `public_only`: to an address of the public internet. It is judged when the name has been resolved, and
        that very address is connected to: nothing is looked up in between.
        """
        deadline = time.monotonic() + timeout if timeout else None
        try:
            addresses = self._resolver.resolve(url.host, url.port, timeout)
        except ResolveError:
            raise UpstreamFailure("error", "the provider's host name could not be resolved") from None
        except gevent.Timeout:
            raise UpstreamFailure("timeout", "the provider's host name was not resolved in time") from None
        if public_only:
            addresses = [found for found in addresses if self.public(str(found[1][0]))]
            if not addresses:
                log.warning("host without a public address refused", host=url.host)
                raise UpstreamFailure("error", NOT_PUBLIC)
        failure: UpstreamFailure | None = None
        for index, (family, address) in enumerate(addresses):
            left = 0.0
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                # A dead address must leave time for the others.
                left /= min(len(addresses) - index, 3)
            try:
                return self._connect(url, family, address, left)
            except UpstreamFailure as error:
                failure = error
                if isinstance(error.__cause__, ssl.SSLError):
                    break  # another address of the same host will not have a better certificate
        raise failure or UpstreamFailure("timeout", "no connection to the provider in time")

    def _connect(self, url: Url, family: int, address: tuple[Any, ...], timeout: float) -> Connection:
        kind = TlsConnection if url.tls else Connection
        try:
            connection = kind.connect(family, address, timeout)
        except TimedOut:
            raise UpstreamFailure("timeout", "no connection to the provider in time") from None
        except (ConnectionBroken, OSError) as error:
            raise UpstreamFailure("error", f"no connection to the provider ({error})") from None
        if isinstance(connection, TlsConnection):
            try:
                self._handshake(connection, url.host, timeout)
            except BaseException:
                connection.close()
                raise
        return connection

    def _handshake(self, connection: TlsConnection, host: str, timeout: float) -> None:
        try:
            connection.handshake(self._context(), host, timeout)
        except TimedOut:
            raise UpstreamFailure("timeout", "no TLS connection to the provider in time") from None
        except ssl.SSLCertVerificationError as error:
            # Without the name it is asked by, which may be of a network that is no client's business.
            why = _QUOTED.sub("this host", error.verify_message)
            text = f"the provider's certificate is not valid: {why}"
            raise UpstreamFailure("error", text) from error
        except (ssl.SSLError, ConnectionBroken) as error:
            reason = getattr(error, "reason", None) or str(error)
            raise UpstreamFailure("error", f"TLS with the provider failed ({reason})") from error

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls
