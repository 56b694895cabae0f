"""Fixtures for all tests."""

from __future__ import annotations

import sys
from pathlib import Path

# Test support modules (recordings_support, …) are imported by name.
sys.path.insert(0, str(Path(__file__).resolve().parent))
