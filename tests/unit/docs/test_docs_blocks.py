"""Each block of code in the documentation is valid: configurations pass `check`, commands parse."""

from __future__ import annotations

import ast
import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from kong_ai_proxy import cli
from kong_ai_proxy.accounting import record
from kong_ai_proxy.config.check import check
from kong_ai_proxy.config.entries import read
from kong_ai_proxy.config.parse import PLUGINS

ROOT = Path(__file__).resolve().parents[3]
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("benchmarks/*.md"),
    *ROOT.glob("examples/**/*.md"),
]
BLOCKS = [
    pytest.param(language, text, id=f"{page.name}:{page.read_text()[: found.start()].count(chr(10)) + 1}")
    for page in PAGES
    for found in re.finditer(r"^```(\w*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    for language, text in [found.groups()]
]
_MODULES = frozenset({"venv", "pip", "pytest", "kong_ai_proxy.config.generate"})
_ELSEWHERE = frozenset({
    "curl", "tail", "export", "until", "kubectl", "helm", "docker", "deck", "FUZZ=100", "cp", "pytest", "wrk",
    "git", "pip", "kong", "pip-audit", "sed", "podman",
})  # fmt: skip
"""What our users have; not for us to check."""


def is_valid_yaml(text: str) -> None:
    document: Any = yaml.safe_load(text)
    if "config" in document:
        # A part of a plugin's configuration: its fields must be known.
        known: Any = [model.model_fields for model in PLUGINS.values()]
        assert any(set(document["config"]) <= set(fields) for fields in known), document
        return
    if "plugins" in document or "services" in document or "routes" in document:
        findings = check(read(text))
        assert [found.text() for found in findings if found.severity == "error"] == []


def is_valid_command(line: str) -> None:
    for part in re.split(r"\s(?:\||&&)\s", line):
        words = shlex.split(re.sub(r"\s[<>]+\s?\S+(\s2>&1)?|\s&$", "", part), comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]) and words[0] not in _ELSEWHERE:
            del words[0]
        if not words:
            continue
        name = words[0].rpartition("/")[2]
        if name == "kong-ai-proxy":
            if "--help" not in words:
                cli._parser(words[1]).parse_args(words[1:])
        elif name.startswith("python"):
            script = next(word for word in words[1:] if not word.startswith("-"))
            assert (
                script in ("venv", "pip", "pytest", "kong_ai_proxy.config.generate")
                or (ROOT / script).exists()
            )
        elif words[0] == ".ci/run":
            assert (ROOT / words[0]).exists()
        else:
            assert name in _ELSEWHERE, f"is there a {name}?"
        for flag, value in pairwise(words):
            if name == "curl" and flag == "-d":
                json.loads(value)


@pytest.mark.parametrize(("language", "text"), BLOCKS)
def test_block(language: str, text: str) -> None:
    if language == "yaml":
        is_valid_yaml(text)
    elif language == "json":
        json.loads(text)
    elif language == "python":
        ast.parse(text)
    elif language == "sh":
        for line in re.sub(r"\\\n\s*", "", text).splitlines():
            whole = text if "-d '{\n" in text else line
            is_valid_command(whole)
    else:
        assert language in ("", "ini", "text", "lua"), f"nothing checks a block of {language}"


def test_the_logging_reference_names_what_is_logged() -> None:
    page = (ROOT / "docs" / "logging.md").read_text()
    told = set(re.findall(r"`(?:ai\.proxy\.)?([a-z_]+)`", page))
    source = Path(record.__file__).read_text()
    logged = set(re.findall(r'(?:meta|record|entry|payload)\["([a-z_]+)"\]', source))
    logged |= set(re.findall(r'^\s+"([a-z_]+)": ', source, re.MULTILINE))
    logged |= set(record._BILLED_OTHERWISE)
    assert len(logged) > 25
    assert logged - told - {"text_tokens"} == set()
    for section, names in {"usage": "cost", "meta": "provider_name"}.items():
        assert f"## `ai.proxy.{section}`" in page
        assert f"`{names}`" in page
