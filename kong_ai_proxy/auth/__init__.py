"""Credentials towards providers: keys, AWS signatures, Google and Azure tokens; cached and refreshed.

Whose credentials go along is decided anew for every attempt, by that attempt's target alone: what is
configured there; the client's own where the target allows that (`auth.allow_override`) or has none.
"""

from __future__ import annotations

from .authenticate import authenticate, prepare

__all__ = ["authenticate", "prepare"]
