"""What the gateway wants of a plugin."""

from __future__ import annotations

from ..core.json import Json
from .context import Context


class Handler:
    """A plugin's code. A phase it does not have is in nobody's way."""

    name: str
    priority: int
    phases: frozenset[str] = frozenset()

    def access(self, context: Context, conf: Json) -> None: ...

    def response(self, context: Context, conf: Json) -> None: ...

    def header_filter(self, context: Context, conf: Json) -> None: ...

    def body_filter(self, context: Context, conf: Json, chunk: bytes, eof: bool) -> bytes:
        return chunk

    def log(self, context: Context, conf: Json) -> None: ...
