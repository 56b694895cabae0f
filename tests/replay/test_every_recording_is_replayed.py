"""Which recordings no test replays, and why. Knows only when the whole folder is collected."""

from __future__ import annotations

from pathlib import Path

import pytest
from recordings_support import index

HERE = Path(__file__).resolve().parent

NOT_REPLAYED = {
    "dashscope/tasks/": "results of others, read with them (images, videos)",
    "xai/batches/": "another API than OpenAI's batches",
    "xai/files/": "the form was not recorded",
}
"""Beginnings of ids → why. A recording that is replayed needs no entry; the next that is not does."""


def test_every_recording_is_replayed_or_explained(request: pytest.FixtureRequest) -> None:
    known = {entry["id"] for entry in index()}
    items = request.session.items
    if not known or not set(HERE.glob("test_*.py")) <= {item.path for item in items}:
        pytest.skip("needs the recordings, and all tests of this folder")
    replayed: set[str] = set()
    for item in items:
        callspec = getattr(item, "callspec", None)
        for value in callspec.params.values() if callspec is not None else ():
            if isinstance(value, str) and value in known:
                replayed.add(value)
    missing = {name for name in known - replayed if not name.startswith(tuple(NOT_REPLAYED))}
    assert not missing, f"replayed by no test, and not explained: {sorted(missing)}"
