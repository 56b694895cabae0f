"""Kong's ai-llm-as-judge, a plugin beside ai-proxy-advanced, becomes a block in its configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import yaml

from ..config.entries import Document, Entry, Path, parse_path, value_at
from ..config.errors import ConfigError, format_path
from ..config.parse import parse
from ..exchange.instance import ADVANCED
from .edits import Source
from .report import Report

JUDGE: Final = "ai-llm-as-judge"
_FROM: Final = "ai-proxy-advanced"
_BLOCK: Final = ("kong_ai_proxy", "judge")
_PROXY: Final = frozenset({"http_proxy_host", "http_proxy_port", "https_proxy_host", "https_proxy_port"})

Hide: TypeAlias = Callable[[Source, Any, Entry], None]
"""Replaces secrets in a text that holds a judge's configuration, which is given as data as well."""


@dataclass(slots=True)
class Judges:
    """The judges of one file."""

    document: Document
    source: Source
    report: Report
    hide: Hide

    def carry(self, entries: list[Entry]) -> list[Entry]:
        """Copies each judge to where it belongs. Gives those that are no longer needed where they stand."""
        advanced = [entry for entry in entries if entry.name == _FROM and entry.enabled]
        judges = [entry for entry in entries if entry.name == JUDGE and entry.enabled]
        served: dict[int, list[Entry]] = {}
        by_place: dict[tuple[str, Path | None], Entry] = {}
        for judge in judges:
            place = _place_of(judge)
            if place is not None:
                by_place.setdefault(place, judge)
        for entry in advanced:
            nearest = _nearest(by_place, entry)
            if nearest is not None:
                served.setdefault(id(nearest), []).append(entry)
        carried = []
        for judge in judges:
            for_whom = served.get(id(judge), [])
            if not for_whom:
                self._lost(judge)
                continue
            copied = [self._copy(judge, entry) for entry in for_whom]
            if all(copied):
                carried.append(judge)
        return carried

    def _lost(self, judge: Entry) -> None:
        self.report.lost(
            f"{JUDGE} can be carried into the configuration of an {_FROM} alone that it covers wholly: "
            "without one, answers are not judged",
            line=self.document.line(judge.path),
            path=judge.scope,
        )

    def _copy(self, judge: Entry, entry: Entry) -> bool:
        text = self._text(judge)
        place: Path = (*entry.path, "config")
        if text is None or not self.source.add_block(place, _BLOCK, text):
            self.report.todo(
                f"move the configuration of {JUDGE} to {'.'.join(_BLOCK)} of this plugin by hand, and take "
                "the other plugin out",
                line=self.document.line(entry.path),
                path=entry.scope,
            )
            return False
        own = value_at(judge.data, ("config", "prompt"))
        self.report.changed(
            f"{JUDGE} is now {'.'.join(_BLOCK)} of {ADVANCED} ({entry.scope})"
            + ("" if own else "; its default prompt has other words than Kong's"),
            line=self.document.line(judge.path),
            path=judge.scope,
        )
        return True

    def _text(self, judge: Entry) -> str | None:
        """The configuration as it was written, without what is not known here, and without secrets."""
        config = judge.data.get("config")
        node = self.source.node((*judge.path, "config"))
        if not isinstance(config, dict) or not isinstance(node, yaml.MappingNode) or "_config" in judge.data:
            return None
        text = self.source.dedented(node)
        try:
            own = Source(text)
        except yaml.YAMLError:
            text = ""
        if not text:
            return None  # it has an alias of something that stands elsewhere
        for path in _unknown(config):
            if own.remove(path):
                reason = "there is no proxy towards the judge" if path[-1] in _PROXY else "unknown field"
                place = (*judge.path, "config", *path)
                self.report.lost(reason, line=self.document.line(place), path=format_path(path))
        self.hide(own, config, judge)
        return own.result()


def _nearest(judges: dict[tuple[str, Path | None], Entry], entry: Entry) -> Entry | None:
    """The judge that Kong runs for all requests of a plugin: of its route, else of its service, else the one
    for everything."""
    if entry.scope.startswith(("consumer", "consumer group")):
        return None
    route, service = (held[0] if held else None for held in (entry.route, entry.service))
    wanted = [("route", route), ("service", service), ("global", None)]
    places = wanted if route else wanted[1:] if service else wanted[2:]
    return next((judges[place] for place in places if place in judges), None)


def _place_of(judge: Entry) -> tuple[str, Path | None] | None:
    if judge.scope == "global":
        return "global", None
    if judge.scope.startswith("consumer"):
        return None
    if judge.route is not None:
        return "route", judge.route[0]
    return ("service", judge.service[0]) if judge.service is not None else None


def _unknown(config: dict[str, Any]) -> Iterator[Path]:
    """Fields of Kong's that there is no place for."""
    around = {"targets": [{}], _BLOCK[0]: {_BLOCK[1]: config}}
    try:
        parse(ADVANCED, around)
    except ConfigError as error:
        for path, message in error.problems:
            place = parse_path(path)
            if place[: len(_BLOCK)] == _BLOCK and message.startswith("unknown field"):
                yield place[len(_BLOCK) :]
