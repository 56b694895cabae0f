"""A declarative configuration file as its author wrote it: plugin entries with the lines they stand on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from .yaml_text import load, without_collector

Path = tuple[str | int, ...]
Held = tuple[Path, dict[str, Any]]
"""An entity and where it stands."""

PLACEHOLDER: Final = "__placeholder__"
"""What stands for decK's `${{ env "X" }}` while the file is read: until filled in it need not be YAML."""
_DECK: Final = re.compile(r"\$\{\{[^}\n]*\}\}")
_VARIABLE: Final = re.compile(r"\$\{[^}\n]*\}")
_MOST_LINES: Final = 1_000_000
"""Bounds what aliases of aliases can make of a small file."""
_PATH: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


class UnreadableFile(Exception):
    """Not YAML, or not a declarative configuration. `line` counts from 1; 0 where there is none."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


@dataclass(slots=True)
class Entry:
    """One entry of a `plugins` list and what it stands under."""

    path: Path
    data: dict[str, Any]
    service: Held | None = None
    route: Held | None = None
    scope: str = "global"
    """For people: "route chat of service ai"."""

    @property
    def name(self) -> str:
        return str(self.data.get("name", ""))

    @property
    def enabled(self) -> bool:
        return self.data.get("enabled", True) is not False


@dataclass(slots=True)
class Document:
    """A file's data, the line of everything in it, and its plugin entries."""

    data: dict[str, Any]
    lines: dict[Path, int]
    duplicates: list[tuple[Path, int]] = field(default_factory=list)
    """Keys that are there twice; the last one counts."""

    def line(self, path: Path) -> int:
        """Line of what is at a path, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def entries(self) -> Iterator[Entry]:
        """All plugin entries, wherever they stand, with service and route where the file tells them."""
        services = self._services_by_name()
        known = _Known(services, self._routes_by_name(services))
        yield from _plugins(self.data, (), None, None, "global", known)
        for key in ("consumers", "consumer_groups"):
            for index, entity in _records(self.data.get(key)):
                scope = f"{key[:-1].replace('_', ' ')} {_name(entity)}"
                yield from _plugins(entity, (key, index), None, None, scope)
        for index, route in _records(self.data.get("routes")):
            owner = services.get(_reference(route.get("service")))
            scope = f"route {_name(route)}"
            yield from _plugins(route, ("routes", index), owner, (("routes", index), route), scope)
        for index, service in _records(self.data.get("services")):
            path: Path = ("services", index)
            owner = (path, service)
            yield from _plugins(service, path, owner, None, f"service {_name(service)}")
            for number, route in _records(service.get("routes")):
                inner: Path = (*path, "routes", number)
                scope = f"route {_name(route)}"
                yield from _plugins(route, inner, owner, (inner, route), scope)

    def services(self) -> Iterator[Held]:
        for index, service in _records(self.data.get("services")):
            yield ("services", index), service

    def _services_by_name(self) -> dict[str, Held]:
        """By name and by id."""
        return dict(_named(self.data.get("services"), ("services",)))

    def _routes_by_name(self, services: dict[str, Held]) -> dict[str, tuple[Held, Held | None]]:
        """Each route and its service, by name and by id."""
        found: dict[str, tuple[Held, Held | None]] = {}
        for name, held in _named(self.data.get("routes"), ("routes",)):
            found.setdefault(name, (held, services.get(_reference(held[1].get("service")))))
        for owner in self.services():
            for name, held in _named(owner[1].get("routes"), (*owner[0], "routes")):
                found.setdefault(name, (held, owner))
        return found


@dataclass(frozen=True, slots=True)
class _Known:
    """What a plugin at the top level may name."""

    services: dict[str, Held]
    routes: dict[str, tuple[Held, Held | None]]


def read(text: str) -> Document:
    """Read a file's text. Raises UnreadableFile."""
    try:
        node, data = load(_DECK.sub(PLACEHOLDER, text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UnreadableFile(
            f"not YAML: {error.problem or error.context}", mark.line + 1 if mark else 0
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UnreadableFile(f"not YAML: {type(error).__name__}") from None
    if node is None or not isinstance(data, dict):
        raise UnreadableFile("not a declarative configuration: expected a map with services, plugins, …", 1)
    document = Document(data, {})
    with without_collector():
        _note_lines(node, (), document, set())
    return document


def is_placeholder(value: Any) -> bool:
    """A text that decK or another tool fills in before Kong sees it."""
    return isinstance(value, str) and (PLACEHOLDER in value or _VARIABLE.search(value) is not None)


def parse_path(text: str) -> Path:
    """`targets[1].weight` → ("targets", 0, "weight"): undoes `errors.format_path`."""
    return tuple(int(index) - 1 if index else name for name, index in _PATH.findall(text))


def value_at(data: Any, path: Path) -> Any:
    """What is at a path; None where there is nothing."""
    for part in path:
        if isinstance(part, int):
            data = data[part] if isinstance(data, list) and 0 <= part < len(data) else None
        else:
            data = data.get(part) if isinstance(data, dict) else None
    return data


def _note_lines(node: yaml.Node, path: Path, document: Document, above: set[int]) -> None:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if id(node) in above or len(document.lines) > _MOST_LINES:
        return
    above = above | {id(node)}
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                document.duplicates.append(((*path, name), key.start_mark.line + 1))
            seen.add(name)
            document.lines[(*path, name)] = key.start_mark.line + 1
            _note_lines(value, (*path, name), document, above)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note_lines(value, (*path, index), document, above)


def _plugins(
    holder: dict[str, Any],
    path: Path,
    service: Held | None,
    route: Held | None,
    scope: str,
    known: _Known | None = None,
) -> Iterator[Entry]:
    for index, plugin in _records(holder.get("plugins")):
        entry = Entry((*path, "plugins", index), plugin, service, route, scope)
        if known is not None:
            _place(entry, known)
        yield entry


def _place(entry: Entry, known: _Known) -> None:
    """A plugin at the top level may name what it belongs to."""
    named = [key for key in ("route", "service", "consumer", "consumer_group") if entry.data.get(key)]
    if not named:
        return
    entry.scope = ", ".join(f"{key.replace('_', ' ')} {_reference(entry.data[key])}" for key in named)
    if "route" in named and (found := known.routes.get(_reference(entry.data["route"]))):
        entry.route, entry.service = found
    if "service" in named and entry.service is None:
        entry.service = known.services.get(_reference(entry.data["service"]))


def _records(value: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict):
                yield index, item


def _named(entities: Any, path: Path) -> Iterator[tuple[str, Held]]:
    for index, entity in _records(entities):
        for key in ("id", "name"):
            if isinstance(entity.get(key), str):
                yield entity[key], ((*path, index), entity)


def _reference(value: Any) -> str:
    """What a foreign key names: `service: ai`, `service: {name: ai}` or `service: {id: …}`."""
    if isinstance(value, dict):
        value = value.get("name") or value.get("id")
    return str(value) if value is not None else ""


def _name(entity: dict[str, Any]) -> str:
    for key in ("name", "username", "custom_id", "id"):
        if isinstance(entity.get(key), str):
            return str(entity[key])
    return "(unnamed)"
