"""What a worker has in place of what the plugin server keeps: each asks there."""

from __future__ import annotations

import weakref
from typing import Any, Final

from gevent import get_hub

from .. import log as logs
from ..balancer.base import Asked, Outcome
from ..balancer.build import algorithm_for
from ..balancer.semantic import Semantic
from ..config.models import AdvancedConfig, Target
from ..core.json import Json
from ..exchange.instance import Instance
from ..exchange.rotation import Rotation
from ..exchange.tickets import Ticket, TicketStore
from ..log import get_logger
from .channel import Channel, RemoteError
from .wire import pack_outcome, unpack_ticket

log = get_logger("workers")

_REQUEST_ID: Final = "x-kong-request-id"


class RemoteBalancer:
    """A `Balancer` (see there) whose choices are made where all workers' requests are known."""

    def __init__(self, channel: Channel, number: int, config: AdvancedConfig) -> None:
        self._channel = channel
        self._number = number
        settings = config.balancer
        self._header = settings.hash_on_header.lower() if settings.algorithm == "consistent-hashing" else None
        self._breaker = settings.max_fails > 0
        self._begun: dict[int, int] = {}
        """Targets of first tries, which began with their pick."""
        self._semantic = _semantic(channel, number, config) if settings.algorithm == "semantic" else None

    def pick(self, candidates: list[int], tried: list[int], asked: Asked) -> int | None:
        """Raises ApiError."""
        ranking = self._semantic.ranking(asked) if self._semantic is not None else None
        target: int | None = self._channel.ask(
            "pick",
            self._number,
            candidates,
            tried,
            self._headers(asked),
            ranking,
            late=None if tried else self._give_back,
        )
        if target is not None and not tried:
            self._begun[target] = self._begun.get(target, 0) + 1
        return target

    def started(self, target: int) -> None:
        begun = self._begun.pop(target, 0)
        if begun > 1:
            self._begun[target] = begun - 1
        if not begun:
            self._channel.tell("started", self._number, target)

    def answering(self, target: int) -> None:
        if self._breaker:
            self._channel.tell("answering", self._number, target)

    def ended(self, target: int, outcome: Outcome) -> None:
        self._channel.tell("ended", self._number, target, pack_outcome(outcome))

    def scored(self, target: int, score: float) -> None:
        """See `balancer.base.Scored`."""
        self._channel.tell("scored", self._number, target, score)

    def _give_back(self, target: int | None) -> None:
        """Nobody waited for this choice any longer."""
        if target is not None:
            self.ended(target, Outcome(ok=True))

    def _headers(self, asked: Asked) -> dict[str, str]:
        """Those that the choice may depend on."""
        if self._header is None:
            return {}
        headers = asked.request.headers
        return {name: headers[name] for name in (self._header, _REQUEST_ID) if name in headers}


def _semantic(channel: Channel, number: int, config: AdvancedConfig) -> Semantic | None:
    """Compares meanings here: a request's text is embedded where the request is. The descriptions were, by
    the plugin server, for all."""
    algorithm = algorithm_for(config, [])
    if not isinstance(algorithm, Semantic) or config.embeddings is None:
        return None
    from ..semantic.shared import attach_shared

    attach_shared(algorithm, config, lambda: channel.ask("vectors", number))
    return algorithm


class RemoteRotation(Rotation):
    """A `Rotation` whose doubts are Kong's to settle."""

    def __init__(self, channel: Channel, number: int, targets: list[Target]) -> None:
        super().__init__(targets)
        self._channel = channel
        self._number = number
        self._targets = targets

    def doubt(self, target: Target) -> None:
        if target.auth.references:
            place = next(place for place, known in enumerate(self._targets) if known is target)
            self._channel.tell("doubt", self._number, place)


class Instances:
    """The instances as this worker was told of them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._known: dict[int, Instance] = {}
        self._loop: Any = get_hub().loop

    def __len__(self) -> int:
        return len(self._known)

    def get(self, number: int) -> Instance:
        """Raises KeyError."""
        return self._known[number]

    def configure(self, number: int, plugin: str, config: Json, renewed: dict[str, str]) -> Instance:
        """Kong has started one, or this worker starts after it. Raises ConfigError, which the plugin server
        would have before."""
        channel = self._channel
        secrets = logs.configured_secrets(config)
        logs.secrets.add(secrets)
        instance = Instance.from_config(
            plugin, config, lambda parsed: RemoteBalancer(channel, number, parsed)
        )
        rotation = instance.rotation = RemoteRotation(channel, number, instance.credentials)
        # It goes when the last request goes that needs its instance.
        weakref.finalize(rotation, self._collected, number, secrets).atexit = False
        self._known[number] = instance
        for reference, value in renewed.items():
            self.renew(number, reference, value)
        return instance

    def retire(self, number: int) -> None:
        """Kong has closed it. Requests that run keep it until they end."""
        self._known.pop(number, None)

    def renew(self, number: int, reference: str, value: str) -> None:
        """A secret was rotated."""
        logs.secrets.add(logs.configured_secrets({"secret": value}))
        instance = self._known.get(number)
        if instance is not None:
            instance.rotation.renew(reference, value)

    def _collected(self, number: int, secrets: set[str]) -> None:
        # The garbage collector comes in the middle of anything, in any thread.
        self._loop.run_callback_threadsafe(self._gone, number, secrets)

    def _gone(self, number: int, secrets: set[str]) -> None:
        logs.secrets.remove(secrets)
        self._channel.tell("released", number)


class RemoteTickets(TicketStore):
    """A `TicketStore` (see there) that is elsewhere: a ticket is redeemed once, by whichever worker."""

    def __init__(self, channel: Channel, instances: Instances) -> None:
        super().__init__()
        self._channel = channel
        self._instances = instances

    def redeem(self, token: str) -> Ticket | None:
        found: Any = self._channel.ask("redeem", token)
        if found is None:
            return None
        number, last, packed = found
        ticket = unpack_ticket(packed, self._instances.get(number))
        if last:
            self._instances.retire(number)
        return ticket

    def settle(self, token: str, record: Json) -> None:
        """Waits until it is there: Kong comes for it as soon as it has the answer."""
        try:
            self._channel.ask("settle", token, record)
        except (RemoteError, OverflowError, TypeError, ValueError):
            log.exception("record_not_settled")
