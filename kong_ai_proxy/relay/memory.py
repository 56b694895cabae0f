"""Keeping the garbage collector's pauses short.

A full collection looks at everything that is loaded; with the providers' libraries that is some 20 ms in
which no token moves. What is loaded stays for ever, so it need not be looked at again and again.
"""

from __future__ import annotations

import gc
from typing import Final

_YOUNG: Final = 100_000
"""New objects that it takes for the collector to look at them: more than a body of 4 MB has, none of which is
garbage yet. Circular garbage there is hardly any (`Exchange.close`)."""
_WHEN: Final = frozenset({1, 16, 256, 4096})
"""After so many exchanges: modules are loaded when they are first needed."""


class Settling:
    """Takes what is loaded out of the collector's sight, some time after the start."""

    def __init__(self) -> None:
        self._exchanges = 0

    def exchanged(self) -> None:
        """To be called between two exchanges."""
        self._exchanges += 1
        if self._exchanges in _WHEN:
            settle()


def settle() -> None:
    """Collects garbage, then exempts what is left from collection. What of that becomes circular garbage
    later is never freed: call it seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
