"""How many examples the property tests try: few in every run of the suite, as many as you like by command.

`FUZZ=100 pytest tests/property tests/unit/wire` tries a hundred times as many, others each time. Every run of
the suite tries the same ones, so that a change is judged by what it changes.
"""

from __future__ import annotations

import os
from typing import Any, Final

from hypothesis import settings

FACTOR: Final = max(1, int(os.environ.get("FUZZ", "1")))
_USUAL: Final = 40


def examples(number: int, **others: Any) -> settings:
    """Settings of a property test that tries `number` examples in every run."""
    return settings(max_examples=number * FACTOR, deadline=None, derandomize=FACTOR == 1, **others)


def use_as_default() -> None:
    """For property tests without settings of their own."""
    settings.register_profile("usual", examples(_USUAL))
    settings.load_profile("usual")
