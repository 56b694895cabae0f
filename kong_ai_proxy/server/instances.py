"""Plugin instances by the ids Kong knows them under.

Every Kong worker starts its own instance of a plugin, and starts all of them anew whenever anything in
Kong's configuration changes. They share one object here as long as the configuration is the same, so that
what an instance learns (which target is up, whose turn it is) outlives both.
"""

from __future__ import annotations

import hashlib
import json
import secrets as random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import log as logs
from ..core.errors import ApiError
from ..core.json import Json, JSONDecodeError, loads
from .events import openai_error

log = logs.get_logger("server")

IDLE_TTL = 6 * 3600.0
"""Seconds after which an instance no request came for is dropped. Kong's workers do not close their
instances when they go; a worker that still lives starts it anew."""


class ServerError(Exception):
    """What went wrong, for Kong's log."""


class NoInstance(ServerError):
    """Kong looks for the words "no plugin instance": it then starts the instance again and repeats the
    event."""

    def __init__(self, instance_id: object) -> None:
        super().__init__(f"no plugin instance #{instance_id}")


@dataclass(slots=True)
class Plugin:
    """A plugin this server offers."""

    name: str
    new: Callable[[Json], Any]
    """Makes the object with a method for each phase. Raises ValueError naming the field that is wrong."""
    phases: frozenset[str]


@dataclass(slots=True)
class _Shared:
    object: Any
    secrets: set[str]
    digest: bytes
    users: int = 0


@dataclass(slots=True)
class Running:
    """One instance as one Kong worker started it."""

    id: int
    plugin: Plugin
    shared: _Shared
    started: float = field(default_factory=time.time)
    used: float = field(default_factory=time.monotonic)

    def handler(self, phase: str) -> Callable[..., Any]:
        """The method for a phase. Raises ServerError for one the plugin does not have."""
        if phase not in self.plugin.phases:
            raise ServerError(f"plugin {self.plugin.name} has no phase {phase!r}")
        self.used = time.monotonic()
        return getattr(self.shared.object, phase)  # type: ignore[no-any-return]

    def error_body(self, error: ApiError) -> str:
        """The error as JSON text, in the form this instance's clients know where it tells (`error_body`)."""
        try:
            told = getattr(self.shared.object, "error_body", openai_error)
            return str(told(error))
        except Exception:
            log.exception("error_not_formatted", plugin=self.plugin.name)
            return openai_error(error)


class Instances:
    """All instances of this process."""

    def __init__(self, plugins: Mapping[str, Plugin], idle_ttl: float = IDLE_TTL) -> None:
        self._plugins = plugins
        self._idle_ttl = idle_ttl
        self._running: dict[int, Running] = {}
        self._shared: dict[bytes, _Shared] = {}
        # Ids of an earlier plugin server must never fit: they would name another route's configuration.
        self._last_id = random.randbelow(1 << 30)

    def __len__(self) -> int:
        return len(self._running)

    @property
    def configurations(self) -> int:
        """How many different ones."""
        return len(self._shared)

    def start(self, name: str, config_text: str) -> Running:
        """Raises ServerError, for a bad configuration with the field's name."""
        plugin = self._plugins.get(name)
        if plugin is None:
            raise ServerError(f"this server has no plugin {name!r}")
        config = _parsed(name, config_text)
        digest = _digest(name, config)
        shared = self._shared.get(digest)
        if shared is None:
            shared = _Shared(None, logs.configured_secrets(config), digest)
            logs.secrets.add(shared.secrets)  # before anything can go wrong with them
            try:
                shared.object = plugin.new(config)
            except Exception as error:
                text = _refusal(name, error)
                logs.secrets.remove(shared.secrets)
                raise ServerError(text) from error
            self._shared[digest] = shared
        shared.users += 1
        self._last_id += 1
        running = self._running[self._last_id] = Running(self._last_id, plugin, shared)
        log.info("instance_started", plugin=name, instance=running.id, shared_by=shared.users)
        self.expire()
        return running

    def get(self, instance_id: object) -> Running:
        """Raises NoInstance."""
        running = self._running.get(instance_id) if isinstance(instance_id, int) else None
        if running is None:
            raise NoInstance(instance_id)
        return running

    def close(self, instance_id: object) -> Running:
        """Raises NoInstance."""
        running = self.get(instance_id)
        del self._running[running.id]
        shared = running.shared
        shared.users -= 1
        if shared.users == 0:
            del self._shared[shared.digest]
            logs.secrets.remove(shared.secrets)
            _closed(running.plugin.name, shared.object)
        log.info("instance_closed", plugin=running.plugin.name, instance=running.id, shared_by=shared.users)
        return running

    def expire(self) -> None:
        """Close what has not been used for long."""
        horizon = time.monotonic() - self._idle_ttl
        for running in [r for r in self._running.values() if r.used < horizon]:
            self.close(running.id)

    def all(self) -> list[Running]:
        return list(self._running.values())


def _parsed(name: str, text: object) -> Json:
    try:
        if not isinstance(text, (str, bytes)):
            raise TypeError
        config = loads(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
        if not isinstance(config, dict):
            raise TypeError
    except (JSONDecodeError, TypeError):
        raise ServerError(f"{name}: the configuration is not a JSON object") from None
    return config


def _digest(name: str, config: Json) -> bytes:
    # `__seq__` counts up with every change of Kong's configuration; it says nothing about this plugin.
    told = {key: value for key, value in config.items() if key != "__seq__"}
    text = json.dumps([name, told], sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _refusal(name: str, error: Exception) -> str:
    if not isinstance(error, ValueError):
        log.exception("instance_failed", plugin=name)
        return logs.redact(f"{name}: instance not started: {type(error).__name__}: {error}")
    text = logs.redact(f"{name}: {error}")
    log.error("config_refused", plugin=name, reason=text)
    return text


def _closed(name: str, instance: Any) -> None:
    close = getattr(instance, "close", None)
    if close is None:
        return
    try:
        close()
    except Exception:
        log.exception("instance_close_failed", plugin=name)
