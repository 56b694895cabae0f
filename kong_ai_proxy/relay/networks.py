"""Which addresses a file may be fetched from whose place somebody outside has named.

A provider's answer may say where a finished image or video lies. Whoever makes such an answer, or has a
name of that kind resolve to what he likes, shall not lead a request into the network that the gateway stands
in: to its own ports, its neighbours, or a cloud's metadata service, which gives credentials to whoever asks.

Sources: IANA's registries of special-purpose addresses
(https://www.iana.org/assignments/iana-ipv4-special-registry,
https://www.iana.org/assignments/iana-ipv6-special-registry), and for Azure's
https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

VARIABLE: Final = "KONG_AI_PROXY_FILE_NETWORKS"
"""The environment's variable with networks that files may be fetched from besides the public ones."""

_NOT_PUBLIC_4: Final = tuple(map(IPv4Network, (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16",
    "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
    "168.63.129.16/32",  # no network's of its own, but of every virtual machine in Azure
)))  # fmt: skip
_GLOBAL_6: Final = IPv6Network("2000::/3")
"""All that is given out to anybody so far."""
_NOT_PUBLIC_6: Final = tuple(map(IPv6Network, (
    "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
)))  # fmt: skip
"""Of these. Those that carry an IPv4 address (Teredo, 6to4) are nobody's any more."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
"""RFC 6052: an IPv4 address in its last 32 bits. A network without IPv4 has all of that reached so."""


def is_public(address: str, allowed: Sequence[Network] = ()) -> bool:
    """Whether this is an address of the public internet, or in one of the networks that are allowed besides.
    False for what is no address in its plain form."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    plain = _plain(found)
    for network in allowed:
        if plain in network or found in network:
            return True
    if isinstance(plain, IPv4Address):
        return not any(plain in network for network in _NOT_PUBLIC_4)
    return plain in _GLOBAL_6 and not any(plain in network for network in _NOT_PUBLIC_6)


def allowed_networks(environ: Mapping[str, str] = os.environ) -> tuple[Network, ...]:
    """The networks of `KONG_AI_PROXY_FILE_NETWORKS` ("10.1.0.0/16, fd00::/8"). Raises ValueError."""
    found = []
    for text in environ.get(VARIABLE, "").split(","):
        if text := text.strip():
            try:
                found.append(ip_network(text))
            except ValueError as error:
                raise ValueError(f"{VARIABLE}: {error}") from None
    return tuple(found)


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address stands for, where the system or the network takes it so."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
