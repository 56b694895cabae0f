"""What the tests of credentials share."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from auth_support import logged


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    with logged() as lines:
        yield lines
