"""Fixtures for all tests."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kong_ai_proxy.balancer.states import STATES

# Test support modules (recordings_support, …) are imported by name.
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "golden"), str(HERE / "unit" / "semantic")]

from fuzz_support import use_as_default  # noqa: E402  (found through the paths above)
from postgres_support import postgres_server  # noqa: E402

use_as_default()


def pytest_collection_finish() -> None:
    """Fifteen thousand tests and their parameters stay to the end: the collector need not look at them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """One PostgreSQL for all tests of a worker: its settings, none where it does not run."""
    with postgres_server(tmp_path_factory.mktemp("pg")) as settings:
        yield settings


@pytest.fixture(autouse=True)
def nothing_known_about_targets() -> Iterator[None]:
    """What one test's plugins learnt about their targets is not the next one's business."""
    STATES.forget()
    yield
