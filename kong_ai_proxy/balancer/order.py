"""Which candidates a retry may choose from."""

from __future__ import annotations


def not_yet(candidates: list[int], tried: list[int]) -> list[int]:
    """Candidates without those tried; all but the last tried where each was tried (unless it is the only
    one)."""
    if not tried:
        return candidates
    untried = [index for index in candidates if index not in tried]
    if untried:
        return untried
    others = [index for index in candidates if index != tried[-1]]
    return others or candidates
