"""Access rules (`config.acls`): who may use which target.

A deny rule that applies refuses, whatever an allow rule says; where there are allow rules, one of them must
apply (https://developer.konghq.com/plugins/ai-proxy-advanced/reference/). What cannot be told of a request
(no consumer, no address) matches nothing.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import unquote

from ..config.models import AclMatch, AclRule, Acls
from ..core.http import Headers
from ..core.json import Json


@dataclass(slots=True)
class Subject:
    """What the rules see of a request."""

    consumer: Json | None = None
    """Kong's consumer entity."""
    consumer_groups: Sequence[str] = ()
    """Names and ids of the consumer's groups."""
    headers: Headers = field(default_factory=dict)
    ip: str = ""
    path: str = ""
    """As the client called it."""


def permits(acls: Acls, subject: Subject, provider: str, models: Iterable[str]) -> bool:
    """Whether this subject may use a target: its provider, and every name that its model goes by."""
    names = frozenset(name for name in models if name)

    def applies(rule: AclRule, known: frozenset[str], fold: bool) -> bool:
        return all(_matches(match, subject, provider, known, fold) for match in rule.match)

    if any(applies(rule, _spellings(names), True) for rule in acls.deny or ()):
        return False
    return not acls.allow or any(applies(rule, names, False) for rule in acls.allow)


def _spellings(names: frozenset[str]) -> frozenset[str]:
    """All that a model may be asked for by where clients name it freely, in small letters: some providers do
    not tell capitals from others (Azure's deployments, Ollama), or take a name with what it belongs to before
    it ("models/…", "publishers/google/models/…")."""
    folded = {name.casefold().strip() for name in names}
    return frozenset(folded | {name.rpartition("/")[2] for name in folded})


def _matches(match: AclMatch, subject: Subject, provider: str, models: frozenset[str], fold: bool) -> bool:
    """`fold`: `models` is in small letters."""
    values = match.values
    kind = match.type
    if kind == "provider":
        return provider in values
    if kind == "model":
        return not models.isdisjoint([value.casefold() for value in values] if fold else values)
    if kind == "consumer":
        return any(name in values for name in _consumer_names(subject.consumer, match.key))
    if kind == "consumer_group":
        return any(group in values for group in subject.consumer_groups)
    if kind == "header":
        value = subject.headers.get((match.key or "").lower())
        return value is not None and any(part in values for part in (value, *_parts(value)))
    if kind == "ip":
        return _in_networks(subject.ip, tuple(values))
    path = posixpath.normpath("/" + unquote(subject.path).lstrip("/"))
    return any(_path_is(path, value) for value in values)


def _consumer_names(consumer: Json | None, key: str | None) -> list[str]:
    if consumer is None:
        return []
    keys = (key,) if key else ("id", "username")
    return [value for name in keys if isinstance(value := consumer.get(name), str) and value]


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.split(",")]


def _path_is(path: str, value: str) -> bool:
    """The path itself, or everything below a value that ends in "*"."""
    if value.endswith("*"):
        return path.startswith(value[:-1]) or path == value[:-1].rstrip("/")
    return path == (value.rstrip("/") or "/")


def _in_networks(ip: str, values: tuple[str, ...]) -> bool:
    try:
        address = ip_address(ip)
    except ValueError:
        return False
    # nginx writes an IPv4 client on an IPv6 socket as ::ffff:192.0.2.1.
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in _networks(values))


@lru_cache(maxsize=1024)
def _networks(values: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    """Addresses and CIDR blocks; what is neither matches nothing."""
    found = []
    for value in values:
        try:
            found.append(ip_network(value.strip(), strict=False))
        except ValueError:
            continue
    return found
