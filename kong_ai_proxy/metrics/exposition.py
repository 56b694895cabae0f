"""Prometheus' text format, version 0.0.4
(https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})


@dataclass(slots=True)
class Family:
    """One metric with its samples. A counter's name ends in `_total`."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: dict[tuple[tuple[str, str], ...], float] = field(default_factory=dict)
    """By labels."""

    def add(self, value: float, labels: Mapping[str, str] | None = None) -> Family:
        """One sample; a second one with the same labels takes the place of the first. Gives the family."""
        self.samples[tuple((labels or {}).items())] = value
        return self


Collector: TypeAlias = Callable[[], Iterable[Family]]
"""Gives what is true now."""


def expose(families: Iterable[Family]) -> bytes:
    """The text; families without samples are left out."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {family.help.translate(_HELP_ESCAPES)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for labels, value in family.samples.items():
            inner = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in labels)
            lines.append(
                f"{family.name}{{{inner}}} {_number(value)}" if inner else f"{family.name} {_number(value)}"
            )
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _number(value: float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return repr(value)
