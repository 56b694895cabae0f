"""Distances between vectors, as vector stores measure them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import mul
from typing import Final, TypeAlias

Vector: TypeAlias = tuple[float, ...]


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return float(sum(map(mul, one, other)))


def unit(vector: Sequence[float]) -> Vector:
    """The same direction, length one. A zero vector stays as it is."""
    length = math.sqrt(_dot(vector, vector))
    if not length:
        return tuple(vector)
    return tuple(value / length for value in vector)


def cosine(one: Vector, other: Vector) -> float:
    """1 − similarity of unit vectors: 0 is the same direction, 1 nothing in common, 2 the opposite."""
    return 1.0 - _dot(one, other)


def euclidean(one: Vector, other: Vector) -> float:
    """Half the distance of unit vectors, so that 0 to 1 is the whole range, as the threshold's is."""
    # |a−b|² = 2 − 2ab for unit vectors; rounding may take it below zero.
    return math.sqrt(max(0.0, 2.0 - 2.0 * _dot(one, other))) / 2.0


METRICS: Final[dict[str, Callable[[Vector, Vector], float]]] = {"cosine": cosine, "euclidean": euclidean}
