"""`kong-ai-proxy check kong.yml`: validate our plugins' entries of a declarative configuration, offline."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path as File
from typing import Any, Literal

from ..server import usage_filter
from .advice import config_advice, secret_advice
from .entries import Document, Entry, Path, UnreadableFile, is_placeholder, parse_path, read, value_at
from .errors import ConfigError
from .models import AdvancedConfig, ProxyConfig, Record
from .parse import PLUGINS, parse
from .spec import Spec, fields_of
from .structure import faults

KONGS = ("ai-proxy", "ai-proxy-advanced")
"""Kong's own plugins that these do the work of."""
KONG_RETRIES = 5
KONG_READ_TIMEOUT = 60000
"""Milliseconds. Kong's defaults for a service (kong/db/schema/entities/services.lua)."""
FILTER_MARK = "kong_ai"
"""What the usage filter's code is known by: the name it announces itself under in `kong.ctx.shared`."""
OUTDATED_FILTER = (
    "the usage filter is another version's, or changed: replace it by what `kong-ai-proxy usage-filter` "
    "prints"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to tell, at a line of a file."""

    severity: Literal["error", "warning"]
    file: str
    line: int
    path: str
    """Field below the plugin's `config` or the entity; "" is the whole."""
    message: str
    plugin: str = ""
    scope: str = ""

    def text(self) -> str:
        where = " on ".join(part for part in (self.plugin, self.scope) if part)
        field = f"{self.path}: " if self.path else ""
        text = f"{self.file}:{self.line}: {self.severity}: {field}{self.message}"
        return f"{text} [{where}]" if where else text


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """The command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "check",
        help="validate the plugin entries of a declarative configuration",
        description="Validate the kong-ai-proxy entries of declarative configurations (DB-less or decK) "
        "offline. Exit status: 0 all right, 1 errors, 2 a file cannot be read.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help='declarative configuration; "-" reads stdin')
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument("--strict", action="store_true", help="count warnings as errors")
    parser.set_defaults(run=main)
    return parser


def main(args: argparse.Namespace) -> int:
    """Check the files, print what was found, give the exit status."""
    findings: list[Finding] = []
    plugins, kongs, unreadable = 0, 0, False
    for name in args.files:
        try:
            document = read(_text(name))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "not UTF-8 text"
            findings.append(Finding("error", name, 1, "", f"cannot be read: {reason}"))
            unreadable = True
        except UnreadableFile as error:
            findings.append(Finding("error", name, error.line or 1, "", str(error)))
            unreadable = True
        else:
            plugins += sum(entry.name in PLUGINS for entry in document.entries())
            kongs += sum(entry.name in KONGS for entry in document.entries())
            findings += check(document, name)
    errors = sum(found.severity == "error" for found in findings)
    failed = errors > 0 or (args.strict and bool(findings))
    if args.format == "json":
        report = {"ok": not failed, "plugins": plugins, "findings": [asdict(found) for found in findings]}
        print(json.dumps(report, indent=2))
    else:
        for found in findings:
            print(found.text())
        print(_summary(plugins, errors, len(findings) - errors), file=sys.stderr)
        if kongs:
            print(
                f"note: {_count(kongs, 'entry', 'entries')} of Kong's own {' and '.join(KONGS)} left alone; "
                "`kong-ai-proxy migrate FILE` turns them into entries for these plugins",
                file=sys.stderr,
            )
    return 2 if unreadable else int(failed)


def check(document: Document, file: str = "kong.yml") -> list[Finding]:
    """Everything to say about a file, in the order of its lines."""
    entries = list(document.entries())
    findings = [
        Finding("warning", file, line, "", f"{path[-1]} is there twice; the last one counts")
        for path, line in document.duplicates
    ]
    findings += [
        Finding("error", file, document.line(path), shown, message)
        for path, shown, message in faults(document.data)
    ]
    filters = _Filters(entries)
    told: set[Path] = set()
    for entry in entries:
        if entry.name in PLUGINS:
            findings += _check_entry(document, entry, file)
            if entry.enabled:
                findings += _check_surroundings(document, entry, filters.over(entry), file, told)
    return sorted(findings, key=lambda found: (found.line, found.severity, found.path))


def _check_entry(document: Document, entry: Entry, file: str) -> Iterator[Finding]:
    config, places = _config(document, entry)
    model = PLUGINS[entry.name]

    def finding(severity: Literal["error", "warning"], field: str, message: str) -> Finding:
        path = parse_path(field)
        # A field may stand in the shared part (`_config`); one that is missing, nowhere.
        held = (place for place in places if value_at(document.data, (*place, *path)) is not None)
        place = next(held, places[0])
        return Finding(
            severity, file, document.line((*place, *path)), field, message, entry.name, entry.scope
        )

    for field, message in secret_advice(config, model):
        yield finding("warning", field, message)
    try:
        parsed = parse(entry.name, _filled_in(config, model))
    except ConfigError as error:
        for field, message in error.problems:
            if not is_placeholder(value_at(config, parse_path(field))):
                yield finding("error", field, message)
    else:
        for field, message in config_advice(parsed):
            yield finding("warning", field, message)


def _config(document: Document, entry: Entry) -> tuple[Any, list[Path]]:
    """An entry's configuration, with what decK's `_config` shares, and where both stand."""
    own = entry.data.get("config")
    places: list[Path] = [(*entry.path, "config")]
    name = entry.data.get("_config")
    shared = value_at(document.data, ("_plugin_configs", str(name))) if name is not None else None
    if isinstance(shared, dict):
        places.append(("_plugin_configs", str(name)))
        return {**shared, **own} if isinstance(own, dict) else shared, places
    return own if own is not None else {}, places


def _filled_in(value: Any, model: type[Record]) -> Any:
    """The configuration with plausible values for placeholders that stand for something other than text."""
    if not isinstance(value, dict):
        return value
    specs = {spec.name: spec for spec in fields_of(model)}
    return {key: _fill(item, specs[key]) if key in specs else item for key, item in value.items()}


def _fill(value: Any, spec: Spec) -> Any:
    if spec.record:
        return _filled_in(value, spec.record)
    if spec.element and isinstance(value, list):
        return [_fill(item, spec.element) for item in value]
    if not is_placeholder(value):
        return value
    if spec.choices:
        # No rule is about openai: nothing else is asked for because of a value nobody knows.
        return "openai" if "openai" in spec.choices else spec.choices[0]
    if spec.kind in ("integer", "number"):
        return spec.minimum or 1
    return False if spec.kind == "boolean" else value


def _check_surroundings(
    document: Document, entry: Entry, filters: Sequence[Entry], file: str, told: set[Path]
) -> Iterator[Finding]:
    """What Kong must be told around the plugin. Each service is spoken of once."""
    for outdated in filters:
        if outdated.path in told:
            continue
        told.add(outdated.path)
        if not _is_current(document, outdated):
            yield Finding(
                "warning", file, document.line(outdated.path), "config", OUTDATED_FILTER, outdated.name,
                outdated.scope,
            )  # fmt: skip
    if not filters:
        yield Finding(
            "warning",
            file,
            document.line(entry.path),
            "",
            "no usage filter (pre-function) covers this plugin: streams log no usage through Kong, and Kong "
            "does not notice clients that leave; `kong-ai-proxy usage-filter` prints it",
            entry.name,
            entry.scope,
        )
    services = [entry.service] if entry.service else []
    if entry.scope == "global" and () not in told:
        told.add(())  # all services
        services = list(document.services())
    for path, service in services:
        if path not in told:
            told.add(path)
            yield from _check_service(document, path, service, _read_timeout(document, entry), file)


def _check_service(
    document: Document, path: Path, service: dict[str, Any], limit: int, file: str
) -> Iterator[Finding]:
    scope = f"service {service.get('name') or service.get('id') or '(unnamed)'}"

    def finding(field: str, message: str) -> Finding:
        return Finding("warning", file, document.line((*path, field)), field, message, scope=scope)

    retries = service.get("retries", KONG_RETRIES)
    if isinstance(retries, int) and retries != 0:
        yield finding("retries", f"{retries}: set it to 0; the plugin retries itself, Kong's are refused")
    timeout = service.get("read_timeout", KONG_READ_TIMEOUT)
    if isinstance(timeout, int | float) and timeout <= limit:
        given = f"{timeout} ms" if "read_timeout" in service else f"{timeout} ms, Kong's default,"
        yield finding(
            "read_timeout",
            f"{given} is not more than the plugin waits for a provider ({limit} ms): Kong would end long "
            f"answers first; set {limit + 1000} or more",
        )


def _read_timeout(document: Document, entry: Entry) -> int:
    """How long the plugin itself may wait for a provider, in ms."""
    config, _ = _config(document, entry)
    try:
        parsed: ProxyConfig | AdvancedConfig = parse(entry.name, config)
    except ConfigError:
        return KONG_READ_TIMEOUT
    return parsed.balancer.read_timeout if isinstance(parsed, AdvancedConfig) else KONG_READ_TIMEOUT


def _is_filter(entry: Entry) -> bool:
    return (
        entry.name == "pre-function"
        and entry.enabled
        and FILTER_MARK in json.dumps(entry.data.get("config"), default=str)
    )


def _is_current(document: Document, entry: Entry) -> bool:
    """Whether each phase has what this version's filter does there, whatever else there may be."""
    config, _ = _config(document, entry)
    for phase, texts in usage_filter.config().items():
        there = config.get(phase) if isinstance(config, dict) else None
        given = {_essence(text) for text in there or () if isinstance(text, str)}
        if not all(_essence(text) in given for text in texts):
            return False
    return True


def _essence(code: str) -> str:
    """Lua without what changes on its way through editors and other tools: comments, indents, blank lines."""
    lines = (line.strip() for line in code.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("--"))


class _Filters:
    """The usage filters of a file, by what each runs for: a route, a service, or everything."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._by_place: dict[Path, list[Entry]] = {}
        for entry in filter(_is_filter, entries):
            held = entry.route or entry.service
            if held or entry.scope == "global":
                self._by_place.setdefault(held[0] if held else (), []).append(entry)

    def over(self, entry: Entry) -> list[Entry]:
        """Those that run wherever a plugin does."""
        places = [(), *(held[0] for held in (entry.service, entry.route) if held)]
        return [found for place in places for found in self._by_place.get(place, ())]


def _text(name: str) -> str:
    return sys.stdin.read() if name == "-" else File(name).read_text(encoding="utf-8")


def _summary(plugins: int, errors: int, warnings: int) -> str:
    entries = _count(plugins, "plugin entry", "plugin entries")
    found = f"{_count(errors, 'error', 'errors')}, {_count(warnings, 'warning', 'warnings')}"
    return f"{entries} checked: {found}"


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
