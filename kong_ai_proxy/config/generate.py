"""`python -m kong_ai_proxy.config.generate` writes what comes from code: schemas, examples, docs, the
dashboard."""

from __future__ import annotations

import json
import sys
from importlib import resources
from pathlib import Path
from typing import Any, Final

from ..metrics import dashboard
from ..server import usage_filter
from .json_schema import json_schema
from .kong_schema import plugin_info
from .lua_schema import lua_schema
from .parse import PLUGINS
from .reference import reference

_FILTER_MARK: Final = "# @usage-filter@"
"""Stands where the filter goes."""
_DEPOSIT_MARK: Final = "# @deposit@\n"
"""Stands where the route goes that takes the records of realtime sessions."""
_COMPOSE_ADDRESS: Final = "172.29.125.2"
"""The plugin server's in docker-compose.yml."""


def generated_files() -> dict[str, str]:
    """Path below the project's root → what must be in it."""
    files: dict[str, str] = {}
    for plugin in PLUGINS:
        files[f"schema/{plugin}.json"] = dump(plugin)
        files[f"schema/{plugin}.schema.json"] = _json(json_schema(plugin))
        files[f"schema/lua/{plugin}/schema.lua"] = lua_schema(plugin)
    files["kong.yml.example"] = _with_filter("example.yml")
    compose = _with_filter("compose.yml")
    files["docker/kong.yml"] = compose.replace(
        _DEPOSIT_MARK, usage_filter.deposit_entry([_COMPOSE_ADDRESS])
    )
    files["docker/grafana/dashboards/kong-ai-proxy.json"] = dashboard.text()
    files["docs/configuration.md"] = reference()
    return files


def _with_filter(name: str) -> str:
    """One of the configurations beside this file, with the usage filter as it is now."""
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    before, after = text.split(_FILTER_MARK)
    indent = len(before) - len(before.rstrip(" "))
    entry = usage_filter.plugin_entry(indent).removeprefix(" " * indent).rstrip("\n")
    return before + entry + after


def dump(plugin: str) -> str:
    """What Kong's `query_cmd` is to print for a plugin: a list of it alone; Kong reads only the first."""
    return _json([plugin_info(plugin)])


def stale(root: Path) -> list[str]:
    """Paths of generated files that are not as they must be."""
    return [
        path
        for path, text in generated_files().items()
        if not (root / path).exists() or (root / path).read_text(encoding="utf-8") != text
    ]


def main(root: Path) -> None:
    for path, text in generated_files().items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2])
