"""What is wrong with a configuration, field by field."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Problem = tuple[str, str]
"""A field's path as Kong writes it (`targets[1].model.provider`; "" is the whole) and what is wrong there."""


class ConfigError(ValueError):
    """A configuration that cannot be used. Its text names fields, never their values."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: list[Problem] = list(problems)
        super().__init__("; ".join(format_problem(problem) for problem in self.problems))


def format_problem(problem: Problem) -> str:
    """`path: message`."""
    path, message = problem
    return f"{path}: {message}" if path else message


def format_path(parts: Sequence[str | int]) -> str:
    """`("targets", 0, "model")` → `targets[1].model`: indices from 1, as Kong's Admin API has them."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part + 1}]"
        else:
            path += f".{_shown(part)}" if path else _shown(part)
    return path


def _shown(name: str) -> str:
    # A key somebody made up may be anything, even a secret put in the wrong place.
    plain = name.isascii() and name.replace("_", "").replace("-", "").replace("$", "").isalnum()
    return name if plain and len(name) <= 40 else "<unreadable name>"
