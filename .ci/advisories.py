"""Known weaknesses of pinned packages, by a folder of advisories: `advisories.py FOLDER REQUIREMENTS...`.

The folder holds records of the OSV format (https://ossf.github.io/osv-schema/), YAML or JSON, at any depth: a
checkout of github.com/pypa/advisory-database, for one. Exit status 1: a pin has a weakness; 2: nothing could
be compared.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

Json = dict[str, Any]
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def pins(text: str) -> dict[str, Version]:
    """Package → version, of a requirements file."""
    return {canonicalize_name(name): Version(version) for name, version in _PIN.findall(text)}


def records(folder: Path) -> Iterator[Json]:
    """All advisories that were not withdrawn."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".yaml", ".yml", ".json") and path.is_file():
            text = path.read_text(encoding="utf-8")
            record = json.loads(text) if path.suffix == ".json" else yaml.load(text, _LOADER)
            if isinstance(record, dict) and "affected" in record and not record.get("withdrawn"):
                yield record


def findings(record: Json, pinned: dict[str, Version]) -> Iterator[tuple[str, Version, list[str]]]:
    """Package, version and what it is mended in, for each pin that the advisory means."""
    for affected in record["affected"]:
        package = affected.get("package") or {}
        name = canonicalize_name(str(package.get("name", "")))
        version = pinned.get(name)
        if version is None or package.get("ecosystem") != "PyPI":
            continue
        ranges = [each for each in affected.get("ranges") or () if each.get("type") == "ECOSYSTEM"]
        listed = version in set(filter(None, map(_version, affected.get("versions") or ())))
        if listed or any(_within(version, each.get("events") or ()) for each in ranges):
            fixed = [event["fixed"] for each in ranges for event in each["events"] if "fixed" in event]
            yield name, version, [str(each) for each in fixed]


def _within(version: Version, events: Any) -> bool:
    """By the algorithm of the OSV schema: the last event at or below the version tells."""
    inside = False
    changes = [(_version(value) or Version("0"), kind) for event in events for kind, value in event.items()]
    for at, kind in sorted(changes, key=lambda change: (change[0], change[1] != "introduced")):
        if kind == "introduced" and version >= at:
            inside = True
        elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            inside = False
    return inside


def _version(text: Any) -> Version | None:
    try:
        return Version(str(text))
    except InvalidVersion:
        return None


def main(arguments: list[str]) -> int:
    """The exit status; findings go to standard output."""
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    pinned: dict[str, Version] = {}
    for path in arguments[1:]:
        pinned |= pins(Path(path).read_text(encoding="utf-8"))
    read, newest, found = 0, "", 0
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    for record in records(Path(arguments[0])):
        read += 1
        changed = str(record.get("modified", ""))
        newest = max(newest, changed) if changed < tomorrow else newest  # a year mistyped says nothing
        for name, version, fixed in findings(record, pinned):
            found += 1
            known_as = ", ".join([str(record.get("id")), *(record.get("aliases") or ())])
            print(f"{name} {version}: {known_as}; mended in {', '.join(fixed) or 'no version yet'}")
    if not read or not pinned:
        print(f"nothing to compare: {read} advisories, {len(pinned)} pins", file=sys.stderr)
        return 2
    print(f"{len(pinned)} packages, {read} advisories (the newest of {newest[:10]}): {found} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
