"""Kong's plugin development kit as a handler sees it: `kong.request.get_header("host")` asks Kong over the
RPC.

One tree of names serves all requests: a call finds the event it belongs to by the greenlet it runs in.
"""

from __future__ import annotations

from typing import Any, Protocol

from greenlet import getcurrent, greenlet
from kong_pdk.exception import PDKException

PdkError = PDKException
"""Kong answered a PDK call with an error."""


class Caller(Protocol):
    """What carries a PDK call to Kong and waits for its value."""

    def call(self, method: str, args: tuple[Any, ...]) -> Any: ...


class HandlerGreenlet(greenlet):  # type: ignore[misc]
    """Runs one phase of one request."""

    event: Caller


class Kong:
    """A name below `kong`. Calling it runs the PDK function of that name.

    Arguments must not have a None before a value: Lua drops what follows. The functions' values come as
    Kong's MessagePack gives them: an empty table is a list, nil is None, raw bodies are bytes.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, key: str) -> Kong:
        if key.startswith("__"):
            raise AttributeError(key)
        child = Kong(f"{self._name}.{key}")
        self.__dict__[key] = child  # from now on a plain attribute
        return child

    def __call__(self, *args: Any) -> Any:
        current = getcurrent()
        if not isinstance(current, HandlerGreenlet):
            raise RuntimeError(f"{self._name} called outside of a phase")
        return current.event.call(self._name, args)


kong = Kong("kong")
