"""Two targets asked for the same answer: who begins it first wins, the other is cancelled."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

import gevent

from ..exchange.exchange import Attempt, Exchange
from .upstream import Answer

Send: TypeAlias = Callable[[Attempt], Answer]

def race(exchange: Exchange, first: Attempt, send: Send) -> tuple[Attempt, Answer | Exception]:
    """The attempt that goes on, and the head of its answer or why there is none.

    A second target is asked when the first takes longer than it usually does. One that fails, or refuses by
    one of the criteria, is out of the race; what the last one came to is the result, whatever it is. Whoever
    throws something into the waiting greenlet cancels both.
    """
    hedging = exchange.instance.hedging
    assert hedging is not None
    delay = hedging.delay(first.index, exchange.stream)
    began = {first: time.monotonic()}
    running = {_start(send, first): first}
    won = False
    try:
        if delay is not None and not gevent.wait(list(running), timeout=delay, count=1):
            second = exchange.hedge()
            if second is not None:
                began[second] = time.monotonic()
                running[_start(send, second)] = second
        while True:
            for greenlet in gevent.wait(list(running), count=1):
                attempt = running.pop(greenlet)
                result = greenlet.value
                if running and _is_out(attempt, result):
                    continue
                won = True
                if isinstance(result, Answer):
                    hedging.observe(attempt.index, exchange.stream, time.monotonic() - began[attempt])
                exchange.won(attempt)
                return attempt, result
    finally:
        for greenlet, attempt in running.items():
            # Without waiting: nothing may be thrown in here, or the winner would be lost.
            greenlet.link(_close)
            greenlet.kill(block=False)
            if won:  # it would have taken longer
                hedging.observe(attempt.index, exchange.stream, time.monotonic() - began[attempt])
            attempt.cancelled()


def _is_out(attempt: Attempt, result: Answer | Exception) -> bool:
    if not isinstance(result, Answer):
        attempt.dropped(getattr(result, "kind", None))
        return True
    if attempt.refused(result.status, result.headers):
        result.close()
        return True
    return False


def _close(greenlet: gevent.Greenlet) -> None:
    """It may have had its answer just then."""
    if isinstance(greenlet.value, Answer):
        greenlet.value.close()


def _start(send: Send, attempt: Attempt) -> gevent.Greenlet:
    def sent() -> Answer | Exception:
        # A value: gevent would print what is raised.
        try:
            return send(attempt)
        except Exception as failure:
            return failure

    return gevent.spawn(sent)
