"""Prometheus' text format, version 0.0.4
(https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

SUFFIX: Final = "__suffix__"
"""Of a histogram's sample: "_bucket", "_sum" or "_count"."""

_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})


@dataclass(slots=True)
class Family:
    """One metric with its samples. A counter's name ends in `_total`; each sample of a histogram has a label
    SUFFIX, its first: what is added to the name."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
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
            name = family.name
            if labels and labels[0][0] == SUFFIX:
                name += labels[0][1]
                labels = labels[1:]
            inner = ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels)
            lines.append(f"{name}{{{inner}}} {_number(value)}" if inner else f"{name} {_number(value)}")
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _number(value: float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return repr(value)
