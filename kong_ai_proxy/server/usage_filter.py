"""The usage filter as text for Kong's pre-function plugin. What it does is told in `usage_filter.lua`."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from importlib import resources
from typing import Final

PHASES = ("access", "header_filter", "body_filter", "log")
_NEEDS_SHARED = frozenset({"header_filter", "body_filter", "log"})
DEPOSIT_NAME: Final = "kong-ai-usage"
"""Of the service and route where the relay leaves records of realtime sessions and judges."""
DEPOSIT_PATH: Final = "/kong-ai-usage"
_SECTION = re.compile(r"^-- section: (\w+)\n", re.MULTILINE)


def lua() -> str:
    """The whole Lua file with its section marks."""
    return resources.files(__package__).joinpath("usage_filter.lua").read_text(encoding="utf-8")


@functools.cache
def sections() -> dict[str, str]:
    """The Lua text of each section, by name."""
    parts = _SECTION.split(lua())[1:]
    return {name: text.strip() + "\n" for name, text in zip(parts[::2], parts[1::2], strict=True)}


def config() -> dict[str, list[str]]:
    """The `config` of a pre-function plugin that is the usage filter."""
    parts = sections()
    return {
        phase: [f"{parts['shared']}\n{parts[phase]}" if phase in _NEEDS_SHARED else parts[phase]]
        for phase in PHASES
    }


def deposit() -> dict[str, list[str]]:
    """The `config` of a post-function plugin on the internal route where the relay leaves a WebSocket's
    record, or a judge's."""
    parts = sections()
    return {"access": [f"{parts['shared']}\n{parts['deposit']}"]}


def deposit_snippet() -> str:
    """A declarative configuration of that route, for callers on Kong's own host only."""
    lines = [
        "# Where the relay leaves records of realtime sessions and judges for Kong's log. Start the",
        "# plugin server with --deposit-url http://127.0.0.1:8000/kong-ai-usage (Kong, as the plugin server",
        "# sees it), and put its address in `allow`. Printed by `kong-ai-proxy usage-filter --deposit`.",
        '_format_version: "3.0"',
        "services:",
    ]
    return "".join(f"{line}\n" for line in lines) + deposit_entry()


def deposit_entry(allow: Sequence[str] = ("127.0.0.1", "::1")) -> str:
    """That route's service as an item of a declarative configuration's `services` list, YAML. `allow`: the
    plugin server's addresses."""
    allowed = ", ".join(f"'{each}'" if ":" in each else each for each in allow)
    lines = [
        f"- name: {DEPOSIT_NAME}",
        "  url: http://127.0.0.1:9  # never called",
        "  routes:",
        f"  - name: {DEPOSIT_NAME}",
        f"    paths: [{DEPOSIT_PATH}]",
        "    methods: [POST]",
        "  plugins:",
        "  - name: ip-restriction",
        "    config:",
        f"      allow: [{allowed}]",
        "  - name: post-function  # after ip-restriction; a pre-function would come before it",
        "    config:",
        "      access:",
        "      - |",
    ]
    lines += [f"        {line}" if line else "" for line in deposit()["access"][0].rstrip("\n").split("\n")]
    return "".join(f"{line}\n" for line in lines)


def plugin_entry(indent: int = 0) -> str:
    """The filter as an item of a declarative configuration's `plugins` list, YAML."""
    lines = ["- name: pre-function", "  config:"]
    for phase, texts in config().items():
        lines.append(f"    {phase}:")
        for text in texts:
            lines.append("    - |")
            lines += [f"      {line}" if line else "" for line in text.rstrip("\n").split("\n")]
    pad = " " * indent
    return "".join(f"{pad}{line}\n" if line else "\n" for line in lines)


def snippet() -> str:
    """A declarative configuration (kong.yml, decK) that holds nothing but the filter, for all routes."""
    return (
        "# The usage filter of kong-ai-proxy, for all routes. Merge it into your configuration, or move the\n"
        "# entry to the services or routes that have the plugin. Printed by `kong-ai-proxy usage-filter`.\n"
        '_format_version: "3.0"\n'
        "plugins:\n" + plugin_entry()
    )
