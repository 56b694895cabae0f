"""What a mock provider answers: a status, headers, and a body that may come in steps."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..core.json import dumps


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait this many seconds before the next step. A peer that hangs up meanwhile ends the answer."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Gate:
    """Wait until a test opens it: what comes after was certainly not sent before."""

    event: threading.Event = field(default_factory=threading.Event)
    timeout: float = 10.0

    def open(self) -> None:
        self.event.set()


@dataclass(frozen=True, slots=True)
class Hang:
    """Send nothing more and keep the connection open until the peer closes it (or the mock stops)."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection where the answer stands: a truncated body."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Close the connection with a TCP reset."""


Step: TypeAlias = bytes | Pause | Gate | Hang | Drop | Reset

JSON_TYPE = "application/json"


@dataclass(slots=True)
class Answer:
    """One answer.

    `body` is sent whole with a content-length; `steps` (each `bytes` is one write and one HTTP chunk) is
    sent chunked. `before` runs before the status line: a pause there is a slow provider, a `Reset` a broken
    one. `head_cut` sends only that many bytes of the head and then resets.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    steps: list[Step] | None = None
    before: list[Step] = field(default_factory=list)
    head_cut: int | None = None
    takeover: Callable[[socket.socket], None] | None = None
    """Instead of all of it: whoever speaks on the connection from the request on, and ends with it."""

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
        """A whole JSON answer."""
        return cls(status, {"content-type": JSON_TYPE, **(headers or {})}, dumps(value))

    @classmethod
    def stream(
        cls,
        steps: Iterable[Step],
        content_type: str = "text/event-stream; charset=utf-8",
        headers: Mapping[str, str] | None = None,
        status: int = 200,
    ) -> Answer:
        """A chunked answer, one HTTP chunk a step."""
        return cls(status, {"content-type": content_type, **(headers or {})}, steps=list(steps))
