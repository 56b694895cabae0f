"""Kong's documented example configurations, read in place from ../shared; tests skip without them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml
from recordings_support import SHARED

_ENTRY = re.compile(
    r"^### (?P<plugin>ai-proxy(?:-advanced)?) / `(?P<slug>[^`]+)`.*?$"
    r"(?P<notes>.*?)^```yaml\n(?P<yaml>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
_PROVIDER_PAGE = re.compile(
    r"^### (?P<slug>[a-z0-9]+) \(`app/ai-gateway/.*?$.*?^```yaml\n(?P<yaml>.*?)^```", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Example:
    """One documented example: usually one plugin instance, sometimes two."""

    plugin: str
    slug: str
    configs: tuple[Any, ...]
    invalid: bool

    @property
    def id(self) -> str:
        return f"{self.plugin}/{self.slug}"


@lru_cache(maxsize=1)
def examples() -> tuple[Example, ...]:
    path = SHARED / "kong" / "examples.md"
    if not path.exists():
        return ()
    text = path.read_text(encoding="utf-8")
    found = [
        _example(f"kong-{match['plugin']}", match["slug"], match["yaml"], "INVALID" in match["notes"])
        for match in _ENTRY.finditer(text)
    ]
    pages = text[text.index("## Provider reference pages") :]
    found += [
        _example("kong-ai-proxy", f"page-{match['slug']}", match["yaml"], False)
        for match in _PROVIDER_PAGE.finditer(pages)
    ]
    return tuple(found)


def _example(plugin: str, slug: str, text: str, invalid: bool) -> Example:
    # The documentation's variables stand for values; the one where an address is meant must look like one.
    loaded = yaml.safe_load(
        text.replace("${upstream_url}", "http://models.internal:8000/v1/chat/completions")
    )
    return Example(plugin, slug, tuple(loaded if isinstance(loaded, list) else [loaded]), invalid)
