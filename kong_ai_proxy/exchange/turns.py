"""Giving way to other exchanges in the middle of long work, where one thread carries several."""

from __future__ import annotations

from collections.abc import Callable


class Turns:
    """`give` is for whoever works long; what it does is set by who runs the exchanges (the relay)."""

    def __init__(self) -> None:
        self.give: Callable[[], None] = _go_on


def _go_on() -> None:
    """Nobody waits."""


turns = Turns()
