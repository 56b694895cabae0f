"""docs/operations.md names error codes, metrics and commands that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from relay_support import relay_world

from kong_ai_proxy import cli
from kong_ai_proxy.metrics import process
from kong_ai_proxy.metrics.sources import CountedTickets, of_plugin_server
from kong_ai_proxy.server.rpc import RpcServer
from kong_ai_proxy.workers.pool import WorkerPool, of_workers

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "operations.md").read_text()
SOURCE = "\n".join(path.read_text() for path in (ROOT / "kong_ai_proxy").rglob("*.py"))


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_metric_is_told_and_no_other() -> None:
    with relay_world() as world:
        families = [
            *process.collect(),
            *(family for collector in world.relay.collectors for family in collector()),
            *of_plugin_server(RpcServer({}), CountedTickets()),
            *WorkerPool(("127.0.0.1", 0), CountedTickets(), workers=2)._metrics(),
            *of_workers([]),
        ]
    told = set(re.findall(r"`((?:kong_ai_proxy|process)_[a-z_]+)`", section("Metrics")))
    assert {family.name for family in families} == told


def test_error_codes_exist() -> None:
    rows = [
        row.split("|") for row in section("What breaks, and what the client sees").splitlines() if "|" in row
    ]
    codes = {code for row in rows for code in re.findall(r"`(\w+)`", row[3])} - {"code"}
    assert len(codes) > 10
    for code in codes:
        assert re.search(rf'(?:code=|: Final = )"{code}"', SOURCE), code


def test_events_exist() -> None:
    rows = [row.split("|")[1] for row in section("Logs").splitlines() if row.startswith("| `")]
    events = [event for row in rows for event in re.findall(r"`([^`]+)`", row)]
    assert len(events) > 7
    for event in events:
        assert re.search(rf'log\.\w+\([^()]*"{event}"', SOURCE), event


@pytest.mark.parametrize(
    "line", re.findall(r"(?:^|\| )(kong-ai-proxy (?:usage|doctor) [^`\n]*)$", PAGE, re.MULTILINE)
)
def test_commands_parse(line: str) -> None:
    words = shlex.split(line.partition(" > ")[0])[1:]
    args = cli._parser(words[0]).parse_args(words)
    assert args.run is not None
