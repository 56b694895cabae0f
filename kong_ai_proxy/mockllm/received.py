"""What a mock provider was asked."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from ..core.json import Json, JSONDecodeError, loads


@dataclass(slots=True)
class Received:
    """One request as it came."""

    method: str
    path: str
    """Decoded, without the query."""
    raw_path: str
    """As it stood in the request line, with the query."""
    query: str
    headers: dict[str, str]
    """Lower-case names."""
    body: bytes
    at: float
    """`time.monotonic()` when the request was complete."""
    closed: threading.Event = field(default_factory=threading.Event)
    """Set when the peer hung up before the answer was complete."""
    closed_at: float | None = None
    finished: threading.Event = field(default_factory=threading.Event)
    """Set when the answer was sent to its end."""
    sent_at: list[float] = field(default_factory=list)
    """`time.monotonic()` of every write of the answer's body."""
    connection: int = 0
    """Number of the connection it came on, to tell whether connections are reused."""

    @property
    def json(self) -> Json:
        """The body as a JSON object; an empty one if it is not."""
        try:
            value = loads(self.body)
        except JSONDecodeError:
            return {}
        return value if isinstance(value, dict) else {}
