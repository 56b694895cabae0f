"""HTTP messages without I/O. Header names are lower-case everywhere inside this package."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Protocol
from urllib.parse import urlsplit

Headers = dict[str, str]
"""Lower-case names; several values of one name are joined with ", "."""


class Upload(Protocol):
    """A body that is read while it arrives, once, instead of being held in memory."""

    length: int | None
    """Bytes, where the client said so."""
    @property
    def started(self) -> bool:
        """Something was read: the request cannot be sent a second time."""
        ...

    def __iter__(self) -> Iterator[bytes]: ...


_PARTS: Final = re.compile(r"[/\\]")


def leads_elsewhere(value: str) -> bool:
    """Whether a name is none for a path. Also where it would be encoded there: some servers, and proxies
    before them, decode a slash before they go by the path."""
    return not value.isprintable() or any(part in ("", ".", "..") for part in _PARTS.split(value))


@dataclass(slots=True)
class ClientRequest:
    """The client's request as Kong proxied it to the relay, after all other plugins' changes."""

    method: str
    path: str
    """Percent-encoded; the part behind the Kong route's prefix where the route strips it."""
    query: str
    """Raw query string, without "?"."""
    headers: Headers
    body: bytes = b""
    captures: Mapping[str, str] = field(default_factory=dict)
    """The route's named URI captures."""
    upload: Upload | None = None
    """Instead of `body`: a body that is not JSON and large, or of unknown length."""


@dataclass(slots=True)
class Url:
    """Where a provider is called."""

    scheme: str
    host: str
    port: int
    path: str
    """Percent-encoded, begins with "/"."""
    query: str = ""

    @classmethod
    def parse(cls, url: str) -> Url:
        """From an absolute http(s) or ws(s) URL. Raises ValueError for anything else."""
        return cls(*_parts(url))

    @property
    def target(self) -> str:
        """Path and query, as they stand in the request line."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def authority(self) -> str:
        """The Host header: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme in ("https", "wss") else 80
        return host if self.port == default else f"{host}:{self.port}"

    @property
    def tls(self) -> bool:
        return self.scheme in ("https", "wss")

    def with_query(self, name: str, value: str) -> Url:
        """A copy with one (already encoded) query parameter appended."""
        pair = f"{name}={value}"
        query = f"{self.query}&{pair}" if self.query else pair
        return Url(self.scheme, self.host, self.port, self.path, query)


@dataclass(slots=True)
class UpstreamRequest:
    """What goes to a provider. Built anew for every attempt; `auth` adds the credentials to it."""

    method: str
    url: Url
    headers: Headers
    body: bytes = b""
    upload: Upload | None = None
    """Instead of `body`: sent while it is read, with its length or chunked."""
    service: str = ""
    """Which of the provider's services it is for, as `formats.steps.Step.service` says: AWS signs it."""
    anonymous: bool = False
    """Sent without any credential: what is asked is open to everybody who knows its address."""
    public_only: bool = False
    """An answer named the host, no configuration: it must be on the public internet."""


@lru_cache(maxsize=512)
def _parts(url: str) -> tuple[str, str, int, str, str]:
    """What `Url` is made of. Most URLs are configured, and parsed for each request."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
        raise ValueError(f"not an absolute http(s) URL: {url!r}")
    port = parts.port or (443 if parts.scheme in ("https", "wss") else 80)
    return parts.scheme, parts.hostname, port, parts.path or "/", parts.query


@dataclass(slots=True)
class ClientResponse:
    """A whole (not streamed) answer to the client."""

    status: int
    headers: Headers
    body: bytes
