"""Running phases: each event has a plain greenlet that talks to Kong itself.

All switching happens in the hub: a message from Kong resumes the greenlet, which runs until its next PDK
call, writes that to whatever connection the message came on, and goes back to the hub. So nothing waits for
anything but Kong, no lock is held while a handler runs, and a handler may use gevent's blocking calls
freely.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any, Protocol

import gevent
from greenlet import GreenletExit, getcurrent

from ..core.errors import ApiError
from ..core.json import dumps_text
from ..log import get_logger
from .pdk import HandlerGreenlet, Kong, PdkError, kong

log = get_logger("server")

TERMINAL = frozenset({"kong.response.exit", "kong.response.error"})
"""Kong leaves the phase in these and never takes a further step."""

EXIT_PHASES = frozenset({"rewrite", "access", "response"})
"""Where `kong.response.exit` may be called (`rewrite_access_header` in Kong's kong/pdk/response.lua)."""

STEP_TTL = 60.0
"""Seconds until an event is given up for which Kong takes no further step: it died, or its codec broke."""
BODY_TTL = 900.0
"""The same while Kong reads the client's body, which may come slowly."""
_BODY_METHODS = frozenset({"kong.request.get_raw_body", "kong.request.get_body"})

_SWEEP = 5.0
_LANES = 64
"""Idle greenlets kept for phases to come."""

FAILURE = ApiError(
    500, "The AI proxy plugin failed on this request. Its log has the details.", code="plugin_error"
)

Handler = Callable[[Kong], Any]
ErrorBody = Callable[[ApiError], str]
"""The JSON text that an instance's clients know errors by."""


def openai_error(error: ApiError) -> str:
    """For instances that say nothing about their clients."""
    told = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return dumps_text({"error": told})


class EventEnded(BaseException):
    """Unwinds a handler that nobody waits for any more. Not an Exception, so that handlers do not catch
    it."""


class Peer(Protocol):
    """A connection from Kong."""

    def reply(self, msgid: int, result: Any) -> bool:
        """False if Kong cannot be reached on it. Raises what the codec raises on values it cannot pack."""
        ...

    def error(self, msgid: int, text: str) -> bool: ...


class Event:
    """One phase of one request."""

    __slots__ = (
        "_error_body", "_events", "_greenlet", "_handler", "_msgid", "_peer",
        "ended", "id", "name", "phase", "touched", "waits_for",
    )  # fmt: skip

    def __init__(
        self,
        events: Events,
        event_id: int,
        name: str,
        phase: str,
        handler: Handler,
        peer: Peer,
        msgid: int,
        error_body: ErrorBody,
    ) -> None:
        self._events = events
        self._error_body = error_body
        self.id = event_id
        self.name = name
        self.phase = phase
        self._handler = handler
        self._peer = peer
        self._msgid = msgid
        self.ended = False
        self.waits_for: str | None = None
        """The PDK method whose value Kong owes us; None while the handler runs."""
        self.touched = time.monotonic()
        self._greenlet: HandlerGreenlet | None = None

    def start(self) -> None:
        """Run the handler until its first PDK call or its end. In the hub only, as `step` and `end`."""
        lane = self._greenlet = self._events.lane()
        lane.event = self
        lane.switch(self)

    def step(self, peer: Peer, msgid: int, value: Any, error: Any) -> None:
        """Kong brings a PDK call's value: go on."""
        self._peer = peer
        self._msgid = msgid
        self.waits_for = None
        self.touched = time.monotonic()
        assert self._greenlet is not None
        self._greenlet.switch(value, error)

    def end(self) -> None:
        """Unwind the handler; Kong gets nothing any more."""
        self.ended = True
        if self._greenlet is not None:
            self._greenlet.throw(EventEnded)

    def call(self, method: str, args: tuple[Any, ...]) -> Any:
        """In the handler's greenlet: have Kong run a PDK function. Raises PdkError."""
        if self.ended:
            raise EventEnded
        if method.startswith("kong.log") and method != "kong.log.set_serialize_value":
            args = tuple(a if isinstance(a, (str, int, float, list, dict)) else str(a) for a in args)
        self._answer({"Method": method, "Args": args})
        if method in TERMINAL:
            self.ended = True
            raise EventEnded
        self.waits_for = method
        value, error = gevent.get_hub().switch()
        if error is not None:
            raise PdkError(f"{method}: {error}")
        return value

    def _answer(self, data: Any) -> None:
        if not self._peer.reply(self._msgid, {"EventId": self.id, "Data": data}):
            self.ended = True
            raise EventEnded

    def run(self) -> None:
        """The whole phase; in its lane."""
        try:
            self._handler(kong)
            if not self.ended:
                self._answer("ret")
        except (EventEnded, GreenletExit):
            pass
        except BaseException:
            self._fail()
        finally:
            self.ended = True
            self._greenlet = None  # no cycle for the garbage collector
            self._events.forget(self)

    def _fail(self) -> None:
        """The handler raised: the traceback to the log, a JSON error to the client where the phase still
        allows."""
        log.exception("handler_failed", plugin=self.name, phase=self.phase)
        if self.ended:
            return
        data: Any = "ret"
        if self.phase in EXIT_PHASES:
            headers: dict[str, Any] = {"content-type": "application/json"}
            if self.phase == "response":
                headers["content-encoding"] = []  # of the answer that is replaced
            data = {"Method": "kong.response.exit", "Args": [500, self._error_body(FAILURE), headers]}
        self._peer.reply(self._msgid, {"EventId": self.id, "Data": data})


class Events:
    """All phases that run now."""

    def __init__(self, step_ttl: float = STEP_TTL, body_ttl: float = BODY_TTL) -> None:
        self._step_ttl = step_ttl
        self._body_ttl = body_ttl
        self._running: dict[int, Event] = {}
        # A plugin server that comes after this one must not take Kong's late steps for its own.
        self._last_id = secrets.randbelow(1 << 30)
        self._sweeper: Any = None
        self._idle: list[HandlerGreenlet] = []
        self._closed = False

    def __len__(self) -> int:
        return len(self._running)

    def lane(self) -> HandlerGreenlet:
        """A greenlet to switch to with an event, which it runs. Lanes are used again: with a new greenlet
        comes a stack for its frames, mapped by the kernel and unmapped afterwards (CPython 3.11 on)."""
        while self._idle:
            if not (lane := self._idle.pop()).dead:
                return lane
        return HandlerGreenlet(self._serve, parent=gevent.get_hub())

    def _serve(self, event: Any) -> None:
        hub = gevent.get_hub()
        lane: Any = getcurrent()
        while True:
            if isinstance(event, Event):  # else a switch that came too late for the event before
                event.run()
                lane.event = None
                if self._closed or len(self._idle) >= _LANES:
                    return
                self._idle.append(lane)
            del event  # or it would be kept until the next one
            event = hub.switch()

    def start(
        self,
        name: str,
        phase: str,
        handler: Handler,
        peer: Peer,
        msgid: int,
        error_body: ErrorBody = openai_error,
    ) -> None:
        """Begin a phase; what Kong gets is the handler's first PDK call, or "ret"."""
        self._last_id += 1
        event = Event(self, self._last_id, name, phase, handler, peer, msgid, error_body)
        self._running[event.id] = event
        event.start()

    def step(self, peer: Peer, msgid: int, data: Any, *, failed: bool) -> None:
        """Kong's `Step…` message."""
        event_id = data.get("EventId") if isinstance(data, dict) else None
        event = self._running.get(event_id) if isinstance(event_id, int) else None
        if event is None:
            peer.error(msgid, f"event id {event_id} not found")
        elif event.waits_for is None:
            peer.error(msgid, f"event id {event_id} waits for no step")
        elif failed:
            event.step(peer, msgid, None, data.get("Data") or "unknown error")
        else:
            event.step(peer, msgid, data.get("Data"), None)

    def forget(self, event: Event) -> None:
        self._running.pop(event.id, None)

    def watch(self) -> None:
        """Give up abandoned events from now on."""
        self._sweeper = gevent.get_hub().loop.timer(_SWEEP, _SWEEP)
        self._sweeper.start(self.sweep)

    def sweep(self) -> None:
        """End the events Kong has abandoned. In the hub only."""
        now = time.monotonic()
        for event in list(self._running.values()):
            if event.waits_for is None:
                continue  # its own blocking calls have time-outs of their own
            ttl = self._body_ttl if event.waits_for in _BODY_METHODS else self._step_ttl
            if now - event.touched > ttl:
                log.warning(
                    "event_abandoned", plugin=event.name, phase=event.phase, waits_for=event.waits_for
                )
                event.end()
                self.forget(event)

    def close(self) -> None:
        """Unwind everything and stop watching. In the hub only."""
        if self._sweeper is not None:
            self._sweeper.close()
            self._sweeper = None
        for event in list(self._running.values()):
            event.end()
        self._running.clear()
        self._closed = True
        while self._idle:
            self._idle.pop().throw(GreenletExit)
