"""Fixtures for all tests."""

from __future__ import annotations

import sys
from pathlib import Path

# Test support modules (recordings_support, …) are imported by name.
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "golden")]
