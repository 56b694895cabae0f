"""Whether what holds plugin entries has the form that Kong reads: lists of maps.

What passes and what does not is as with `kong config parse` (3.9.3), which stops at some
of it with an error of its own code.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

from .entries import Path, is_placeholder
from .errors import format_path

_HOLDERS = ("services", "routes", "consumers", "consumer_groups")

Fault = tuple[Path, str, str]
"""Where, the same for people, and what is wanted."""


def faults(data: dict[str, Any]) -> Iterator[Fault]:
    """All places of a file where plugin entries cannot be read."""
    yield from _plugins(data, ())
    for key in _HOLDERS:
        for path, entity in (yield from _maps(data, (), key)):
            yield from _plugins(entity, path)
            if key == "services":
                for inner, route in (yield from _maps(entity, path, "routes")):
                    yield from _plugins(route, inner)


def _plugins(holder: dict[str, Any], path: Path) -> Iterator[Fault]:
    for place, entry in (yield from _maps(holder, path, "plugins")):
        name, enabled = entry.get("name"), entry.get("enabled")
        if name is None:
            yield _fault((*place, "name"), "required field missing: the plugin's name")
        elif not isinstance(name, str):
            yield _fault((*place, "name"), "expected a string: the plugin's name")
        if not (enabled is None or isinstance(enabled, bool) or is_placeholder(enabled)):
            yield _fault((*place, "enabled"), "expected a boolean")


def _maps(
    holder: dict[str, Any], path: Path, key: str
) -> Generator[Fault, None, list[tuple[Path, dict[str, Any]]]]:
    """Yields the faults of a list of maps, and gives those maps. Nothing, or `{}`, is an empty list."""
    place: Path = (*path, key)
    value = holder.get(key)
    if value is None or value == {} or is_placeholder(value):
        return []
    if not isinstance(value, list):
        yield _fault(place, "expected an array")
        return []
    found: list[tuple[Path, dict[str, Any]]] = []
    for index, item in enumerate(value):
        if isinstance(item, dict):
            found.append(((*place, index), item))
        elif not is_placeholder(item):
            yield _fault((*place, index), f"expected a record: {_WANTED[key]}")
    return found


_WANTED = {
    "plugins": "a plugin's name and config",
    "services": "a service",
    "routes": "a route",
    "consumers": "a consumer",
    "consumer_groups": "a consumer group",
}


def _fault(path: Path, message: str) -> Fault:
    return path, format_path(path), message
