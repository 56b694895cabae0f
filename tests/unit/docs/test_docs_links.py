"""The documentation's links lead somewhere, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kong_ai_proxy import cli

ROOT = Path(__file__).resolve().parents[3]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]


def headings(text: str) -> set[str]:
    """The anchors that GitHub makes of headings."""
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in headings(target.read_text()), f"{page.name}: {link}"


def test_commands_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    named = set(re.findall(r"kong-ai-proxy ([a-z][a-z-]+)\b", (ROOT / "README.md").read_text()))
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    offered = capsys.readouterr().out
    commands = {"serve", "dump", "dev", "mock", "check", "demo", "usage-filter"}
    assert commands & named >= {"serve", "dump", "dev", "check", "demo", "usage-filter"}
    for command in commands:
        assert command in offered
