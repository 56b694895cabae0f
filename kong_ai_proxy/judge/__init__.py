"""Scores answers with a model (`kong_ai_proxy.judge`), after the client has them and beside all other work.

`hearing` gathers what is to be judged while an exchange runs, `said` makes text of it, `score` the question
and a number of the judge's reply (both without I/O), `queue` holds what waits and asks, `counts` counts.
"""

from __future__ import annotations

from .queue import Judging

__all__ = ["Judging"]
