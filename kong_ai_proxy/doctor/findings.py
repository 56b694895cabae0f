"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to tell."""

    level: Level
    subject: str
    """What was looked at."""
    text: str
    mend: str = ""
    """What to do about it."""
