"""Shared fixtures. Recorded provider traffic is read in place from ../shared; tests that need it skip
without it."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("KONG_AI_PROXY_SHARED", ROOT.parent / "shared"))
RECORDINGS = SHARED / "recordings"


@lru_cache(maxsize=1)
def index() -> list[dict[str, Any]]:
    """All recordings' index lines; empty where there are none."""
    path = RECORDINGS / "index.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def recordings(*prefixes: str) -> list[str]:
    """Ids of the recordings whose id begins with one of `prefixes` ("anthropic/native-messages/")."""
    return [entry["id"] for entry in index() if entry["id"].startswith(prefixes)]


def load_recording(recording_id: str) -> dict[str, Any]:
    """One recording, whole."""
    return json.loads((RECORDINGS / f"{recording_id}.json").read_text())


def recorded(*prefixes: str) -> pytest.MarkDecorator:
    """Parametrize a test with `recording_id`; skips where the recordings are absent."""
    ids = recordings(*prefixes)
    if not ids:
        return pytest.mark.parametrize(
            "recording_id", [pytest.param("", marks=pytest.mark.skip(reason="no recordings here"))]
        )
    return pytest.mark.parametrize("recording_id", ids)
