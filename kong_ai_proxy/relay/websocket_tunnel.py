"""Frames both ways between Kong and a provider, until one side ends.

One greenlet for each direction and one that watches over both. A direction reads when what it read before has
gone out, so a slow reader slows the writer. Frames pass unchanged; what the provider says is read along.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import gevent
from gevent.event import Event

from ..core.errors import ApiError
from ..log import get_logger
from ..wire.websocket import (
    BROKEN,
    GOING_AWAY,
    NORMAL,
    POLICY,
    TEXT,
    Frames,
    ProtocolError,
    close_frame,
    frame,
)
from .connection import Connection, ConnectionBroken, TimedOut

log = get_logger("relay")

_RECV: Final = 32 * 1024
_CLOSING: Final = 5.0
"""Seconds for the provider to answer the client's Close, within which it may still say what it has to."""
_LAST_WORD: Final = 0.5
"""Seconds for a Close frame of ours to go out, and for the client to answer one."""

Note = Callable[[], None]


@dataclass(frozen=True, slots=True)
class TunnelLimits:
    """Seconds and bytes; 0 is no limit."""

    message: int
    """Bytes of one message, whatever it is cut into."""
    idle: float = 0.0
    """Neither side said anything."""
    total: float = 0.0
    """From the session's beginning to its end."""
    stall: float = 120.0
    """One side takes nothing of what the other sends."""


@dataclass(slots=True)
class End:
    """How a session ended."""

    why: str
    to_client: bytes | None = None
    """A Close frame for the client; None where there is nobody to send it to."""
    to_provider: bytes | None = None
    client_gone: bool = False
    """Kong has closed the connection: its log record is written."""
    noting: bool = False
    """It did so while `noted` ran."""


class _Direction:
    """From one side to the other."""

    __slots__ = ("frames", "sending_since", "sink", "source")

    def __init__(self, source: Connection, sink: Connection, frames: Frames) -> None:
        self.source = source
        self.sink = sink
        self.frames = frames
        self.sending_since = 0.0
        """When the send under way began; 0 between sends. One that was broken off leaves it set."""

    def send(self, data: bytes) -> None:
        """Raises ConnectionBroken."""
        self.sending_since = time.monotonic()
        self.sink.send(data, 0)
        self.sending_since = 0.0

    @property
    def clean(self) -> bool:
        """A frame of ours may follow what was sent."""
        return not self.sending_since and self.frames.boundary


class Tunnel:
    """One session. Used once."""

    def __init__(
        self,
        client: Connection,
        provider: Connection,
        limits: TunnelLimits,
        *,
        received: Callable[[bytes], bool],
        noted: Note,
        first: Callable[[bytes], bytes] | None = None,
        refresh: float = 0.0,
    ) -> None:
        """`received`: told each message of the provider's before it goes on; true where the usage changed.
        `noted`: called soon after that, and every `refresh` seconds (0: never). `first`: gives what the
        provider gets for the client's first message; raises ApiError.
        """
        self._limits = limits
        self._received = received
        self._noted = noted
        self._first = first
        self._refresh = refresh
        up = Frames(masked=True, limit=limits.message, collect=first is not None)
        up.one = first is not None
        self._up = _Direction(client, provider, up)
        self._down = _Direction(provider, client, Frames(masked=False, limit=limits.message, collect=True))
        self._wake = Event()
        self._changed = False
        self._end: End | None = None
        self._last = 0.0
        self._closing_since = 0.0
        """When the client's Close went to the provider."""

    def run(self, early_client: bytes, early_provider: bytes, settle: Callable[[End], None]) -> End:
        """Carry frames until the end. `settle` is called when the provider's last message was read and before
        the client hears of the end. Both connections are the caller's to close."""
        for connection in (self._up.source, self._down.source):
            connection.duplex()
        self._last = time.monotonic()
        pumps = [
            gevent.spawn(self._pump, self._up, early_client, self._from_client),
            gevent.spawn(self._pump, self._down, early_provider, self._from_provider),
        ]
        try:
            end = self._watch()
            # Nothing of the provider's comes any more; the client's answer to its Close still may.
            pumps[1].kill()
            settle(end)
            if end.to_client is not None:
                self._say(self._down, end.to_client)
                if end.to_provider is None and not self._closing_since:
                    pumps[0].join(_LAST_WORD)
            pumps[0].kill()
            if end.to_provider is not None and not self._closing_since:
                self._say(self._up, end.to_provider)
            return end
        except BaseException:
            # The relay stops.
            gevent.killall(pumps)
            gone = (GOING_AWAY, "the gateway is shutting down")
            settle(End("shutdown"))
            self._say(self._down, close_frame(*gone, mask=False), 0.01)
            self._say(self._up, close_frame(*gone, mask=True), 0.01)
            raise
        finally:
            gevent.killall(pumps)

    # The greenlet that watches.

    def _watch(self) -> End:
        limits = self._limits
        began = refreshed = time.monotonic()
        while self._end is None:
            now = time.monotonic()
            if self._changed or (self._refresh and now - refreshed >= self._refresh):
                self._changed = False
                refreshed = now
                self._noted()
                if self._end is not None:
                    self._end.noting = True
                continue
            due = [(self._last + limits.idle, self._idle)] if limits.idle else []
            if limits.total:
                due.append((began + limits.total, self._lasted))
            if self._closing_since:
                due.append((self._closing_since + _CLOSING, self._unanswered))
            if limits.stall:
                for direction, ended in ((self._up, self._provider_gone), (self._down, self._client_gone)):
                    # Looked at from time to time: a watcher for each send would cost more than it tells.
                    since = direction.sending_since or now
                    due.append((since + limits.stall, ended if direction.sending_since else self._nothing))
            if self._refresh:
                due.append((refreshed + self._refresh, self._nothing))
            at, what = min(due, key=lambda entry: entry[0]) if due else (now + 3600.0, self._nothing)
            if at <= now:
                what()
                continue
            self._wake.wait(at - now)
            self._wake.clear()
        return self._end

    def _nothing(self) -> None:
        return

    def _over(self, end: End) -> None:
        """The first end counts."""
        if self._end is None:
            self._end = end
        self._wake.set()

    def _both(self, why: str, code: int, reason: str) -> None:
        self._over(End(why, close_frame(code, reason, mask=False), close_frame(code, reason, mask=True)))

    def _idle(self) -> None:
        self._both("idle", GOING_AWAY, "nothing was said for too long")

    def _lasted(self) -> None:
        self._both("total", GOING_AWAY, "the session has lasted as long as it may")

    def _unanswered(self) -> None:
        self._over(End("provider_silent", close_frame(NORMAL, "", mask=False)))

    def _client_gone(self) -> None:
        bye = close_frame(GOING_AWAY, "the client is gone", mask=True)
        self._over(End("client_gone", None, bye, client_gone=True))

    def _provider_gone(self) -> None:
        self._over(End("provider_gone", close_frame(BROKEN, "the provider broke the connection", mask=False)))

    # The greenlets that carry.

    def _pump(self, way: _Direction, data: bytes, take: Callable[[bytes], bytes]) -> None:
        lost = self._client_gone if way is self._up else self._provider_gone
        unsent = self._provider_gone if way is self._up else self._client_gone
        try:
            while True:
                if data:
                    out = take(data)
                    if out:
                        try:
                            way.send(out)
                        except ConnectionBroken:
                            unsent()
                            return
                    if way.frames.close is not None:
                        self._close_came(way, way.frames.close)
                        return
                data = way.source.recv(_RECV, 0)
                self._last = time.monotonic()
                if not data:
                    lost()
                    return
        except ConnectionBroken:
            lost()
        except ProtocolError as error:
            self._broke_protocol(way, error)
        except ApiError as error:
            self._both("refused", POLICY, error.message)
        except gevent.GreenletExit:
            # Raised on, it would be kept as the greenlet's value, with its traceback and all that this holds.
            return
        except Exception:
            log.exception("session failed")
            self._both("failed", BROKEN, "internal error in kong-ai-proxy")

    def _from_client(self, data: bytes) -> bytes:
        frames = self._up.frames
        out = frames.feed(data)
        if self._first is None:
            return out
        if not frames.messages:
            return b""
        message = frames.messages.pop()
        first, self._first = self._first, None
        frames.one = frames.collect = False
        return frame(TEXT, first(message), mask=True) + frames.feed(b"")

    def _from_provider(self, data: bytes) -> bytes:
        frames = self._down.frames
        out = frames.feed(data)
        messages = frames.messages
        if messages:
            for message in messages:
                if self._received(message):
                    self._changed = True
            messages.clear()
            if self._changed:
                self._wake.set()
        return out

    def _close_came(self, way: _Direction, raw: bytes) -> None:
        if way is self._down:
            self._over(End("provider_closed", raw))
            return
        try:
            way.send(raw)
        except ConnectionBroken:
            self._provider_gone()
            return
        self._closing_since = time.monotonic()
        self._wake.set()
        # From here on the client says nothing; that it is gone is to be seen nevertheless.
        if self._end is None:
            while way.source.recv(_RECV, 0):
                pass
            self._client_gone()

    def _broke_protocol(self, way: _Direction, error: ProtocolError) -> None:
        client, code = way is self._up, error.code
        who = "client" if client else "provider"
        reason = error.reason if client else f"the provider sent {error.reason}"
        self._over(
            End(
                f"{who}_broke_protocol",
                close_frame(code if client or code != 1002 else BROKEN, reason, mask=False),
                close_frame(GOING_AWAY if client else code, "" if client else error.reason, mask=True),
            )
        )

    @staticmethod
    def _say(way: _Direction, raw: bytes, timeout: float = _LAST_WORD) -> None:
        """A last frame, if one may follow what was sent before."""
        if not way.clean:
            return
        with suppress(TimedOut, ConnectionBroken):
            way.sink.send(raw, timeout)

