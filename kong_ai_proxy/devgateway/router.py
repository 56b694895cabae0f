"""Which route a request takes, and where its service is called.

After Kong's `kong/router/traditional.lua` and `utils.lua`: routes with more kinds of rules win, then regex
paths by priority, then longer paths.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from ..core.json import Json
from .declared import Declared, compile_regex
from .headers import Headers


@dataclass(slots=True)
class Match:
    """A matched route."""

    route: Json
    service: Json | None
    upstream_uri: str
    """Path towards the service, percent-encoded, without the query."""
    prefix: str | None
    """The part of the path that `strip_path` took away."""
    named: dict[str, str]
    unnamed: list[str]
    """Captures of a regex path, the whole match first as Kong has it under index 0."""


@dataclass(slots=True)
class _Path:
    prefix: str | None
    regex: re.Pattern[str] | None


@dataclass(slots=True)
class _Candidate:
    route: Json
    service: Json | None
    path: _Path | None
    order: tuple[int, ...]


class Router:
    """All routes, in the order they are tried."""

    def __init__(self, declared: Declared) -> None:
        candidates = []
        for number, route in enumerate(declared.routes):
            service = declared.service_of(route)
            for path in route.get("paths") or [None]:
                candidates.append(_candidate(route, service, path, number))
        self._candidates = sorted(candidates, key=lambda candidate: candidate.order)

    def match(self, method: str, uri: str, host: str, headers: Headers) -> Match | None:
        """`uri` is the raw request path without the query."""
        path = normalize(uri)
        for candidate in self._candidates:
            if _rules_fit(candidate.route, method, host, headers):
                found = _match_path(candidate, path)
                if found is not None:
                    return found
        return None


def normalize(path: str) -> str:
    """A path decoded where that changes no meaning, dot segments and doubled slashes resolved."""
    decoded = re.sub(r"%([0-9A-Fa-f]{2})", _decode, path)
    decoded = re.sub(r"/{2,}", "/", decoded)
    if re.search(r"/\.{1,2}(/|$)", decoded):
        slash = decoded.endswith(("/", "/.", "/.."))
        decoded = posixpath.normpath(decoded)
        if slash and decoded != "/":
            decoded += "/"
    return decoded


_RESERVED = set("!*'();:@&=+$,/?%#[]")


def _decode(found: re.Match[str]) -> str:
    character = unquote(found.group(0), encoding="latin-1")
    return found.group(0).upper() if character in _RESERVED else character


def escape(path: str) -> str:
    """Percent-encode what may not stand in a request line."""
    return quote(path.encode("latin-1", "surrogateescape"), safe="!*'();:@&=+$,/?%#[]-._~")


def _candidate(route: Json, service: Json | None, path: str | None, number: int) -> _Candidate:
    kinds = sum(bool(route.get(kind)) for kind in ("hosts", "headers", "methods", "paths"))
    weight = (2 if route.get("hosts") else 0) + (1 if route.get("headers") else 0)
    regex = path is not None and path.startswith("~")
    compiled = None
    if path is not None:
        compiled = _Path(None, compile_regex(path[1:])) if regex else _Path(path, None)
    order = (
        -kinds,
        -weight,
        -len(route.get("headers") or {}),
        -int(regex),
        -int(route.get("regex_priority") or 0) if regex else 0,
        -len(path or ""),
        number,
    )
    return _Candidate(route, service, compiled, order)


def _rules_fit(route: Json, method: str, host: str, headers: Headers) -> bool:
    if route.get("methods") and method not in route["methods"]:
        return False
    if route.get("hosts") and not any(_host_fits(wanted, host) for wanted in route["hosts"]):
        return False
    for name, wanted in (route.get("headers") or {}).items():
        given = [value.lower() for value in headers.all(name)]
        if not any(_header_fits(str(value), given) for value in wanted):
            return False
    return True


def _host_fits(wanted: str, host: str) -> bool:
    host, wanted = host.lower(), wanted.lower()
    bare = host.rsplit(":", 1)[0] if ":" in host and not host.endswith("]") else host
    if wanted.startswith("*."):
        return bare.endswith(wanted[1:])
    if wanted.endswith(".*"):
        return bare.startswith(wanted[:-1])
    return wanted in (host, bare)


def _header_fits(wanted: str, given: list[str]) -> bool:
    if wanted.startswith("~*"):
        return any(re.search(wanted[2:], value, re.IGNORECASE) for value in given)
    return wanted.lower() in given


def _match_path(candidate: _Candidate, path: str) -> Match | None:
    prefix: str | None = None
    postfix = path[1:]
    named: dict[str, str] = {}
    unnamed: list[str] = []
    if candidate.path is not None and candidate.path.regex is not None:
        found = candidate.path.regex.match(path)
        if found is None:
            return None
        prefix, postfix = found.group(0), path[found.end() :]
        named = {name: value for name, value in found.groupdict().items() if value is not None}
        unnamed = [value for value in found.groups() if value is not None]
    elif candidate.path is not None and candidate.path.prefix is not None:
        if not path.startswith(candidate.path.prefix):
            return None
        prefix, postfix = candidate.path.prefix, path[len(candidate.path.prefix) :]
    strip = bool(candidate.route["strip_path"])
    base = (candidate.service or {}).get("path") or "/"
    uri = escape(upstream_uri(base, postfix, path, strip, candidate.route["path_handling"]))
    return Match(candidate.route, candidate.service, uri, prefix if strip else None, named, unnamed)


def upstream_uri(base: str, postfix: str, path: str, strip: bool, handling: str) -> str:
    """The service's path plus the request's, by the route's `path_handling` and `strip_path`."""
    postfix = _sanitize(postfix)
    if handling == "v1":
        if not strip:
            return base + path[1:]
        return base[:-1] + postfix if base.endswith("/") and postfix.startswith("/") else base + postfix
    if base.endswith("/"):
        if not strip:
            return base + path[1:]
        if not postfix:
            return base if base == "/" or path.endswith("/") else base[:-1]
        return base[:-1] + postfix if postfix.startswith("/") else base + postfix
    if not strip:
        return base if path == "/" else base + path
    if not postfix:
        return base + "/" if len(path) > 1 and path.endswith("/") else base
    return base + postfix if postfix.startswith("/") else f"{base}/{postfix}"


def _sanitize(postfix: str) -> str:
    if postfix in (".", ".."):
        return ""
    for dots in ("./", "../"):
        if postfix.startswith(dots):
            return postfix[len(dots) :]
    return postfix
