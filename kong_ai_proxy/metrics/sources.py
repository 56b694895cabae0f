"""Reads the numbers of the relay, the plugin server and the balancers. Nothing here is kept or counted: who
does the work counts it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..auth.tokens import FETCHES
from ..balancer.guard import Guarded
from ..exchange.instance import Instance
from ..exchange.tickets import TicketStore
from .exposition import Family

if TYPE_CHECKING:
    from ..server.rpc import RpcServer


class CountedTickets(TicketStore):
    """Counts what expired."""

    expired = 0
    """Tickets that nobody redeemed in time."""

    def expire(self) -> None:
        before = len(self)
        super().expire()
        self.expired += before - len(self)


def of_tickets(tickets: TicketStore) -> Iterator[Family]:
    """Tickets that wait for Kong's request, and those it never came for."""
    yield _gauge("tickets_open", "Requests that passed access and have not reached the relay.", len(tickets))
    yield _gauge(
        "tickets_oldest_age_seconds",
        "Age of the oldest of them; large where Kong does not reach the relay.",
        tickets.oldest_age(),
    )
    if isinstance(tickets, CountedTickets):
        yield _counter("tickets_expired_total", "Tickets dropped: no request came for them.", tickets.expired)


def of_tokens() -> Iterator[Family]:
    """Fetches of cloud providers' access tokens in this process."""
    family = Family(
        "kong_ai_proxy_token_fetches_total", "counter", "Access tokens fetched from cloud providers."
    )
    for outcome in ("ok", "failed"):
        family.add(FETCHES[outcome], {"outcome": outcome})
    yield family


def of_rpc(rpc: RpcServer) -> Iterator[Family]:
    """What Kong asks of the plugin server."""
    events = Family("kong_ai_proxy_rpc_events_total", "counter", "Phases that Kong ran.")
    for phase, number in rpc.phases.items():
        events.add(number, {"phase": phase})
    yield events
    yield _counter(
        "rpc_round_trips_total",
        "Messages of phases; each is a round trip a request waits for.",
        rpc.round_trips,
    )
    yield _gauge("rpc_events_running", "Phases under way.", len(rpc.events))
    yield _gauge("rpc_connections", "Connections of Kong's workers.", len(rpc.connections))
    yield _gauge("instances", "Plugin instances as Kong's workers started them.", len(rpc.instances))
    yield _gauge("configurations", "Different configurations among them.", rpc.instances.configurations)


def of_targets(
    plugins: Callable[[], Iterable[Any]], clock: Callable[[], float] = time.monotonic
) -> Iterator[Family]:
    """The state of each target of kong-ai-proxy-advanced. `plugins` gives the plugin objects, those started
    last at the end. Labels are the plugin's id, the target's place from 1, and provider/model."""
    available = Family(
        "kong_ai_proxy_target_available",
        "gauge",
        "1: may be chosen. 0: unhealthy (circuit breaker), or it asked to be left alone (Retry-After).",
    )
    unhealthy = Family("kong_ai_proxy_target_unhealthy", "gauge", "1 while the circuit breaker is open.")
    failures = Family(
        "kong_ai_proxy_target_failures", "gauge", "Failures that count for the circuit breaker."
    )
    left_alone = Family(
        "kong_ai_proxy_target_left_alone_seconds", "gauge", "For how long it asked to be left alone."
    )
    running = Family("kong_ai_proxy_target_attempts_running", "gauge", "Attempts under way.")
    accuracy = Family(
        "kong_ai_proxy_target_accuracy", "gauge", "Moving average of its answers' scores, 1 to 100 (best)."
    )
    scores = Family("kong_ai_proxy_target_scores", "gauge", "How many of its answers have been scored.")
    now = clock()
    for plugin in plugins():
        instance = getattr(plugin, "instance", None)
        balancer = getattr(instance, "balancer", None)
        if not isinstance(balancer, Guarded):
            continue
        for place, state in enumerate(balancer.states):
            labels = {
                "plugin_id": str(getattr(instance, "plugin_id", "")),
                "target": str(place + 1),
                "model": state.label,
            }
            available.add(int(balancer.available(place, now)), labels)
            unhealthy.add(int(0 < balancer.max_fails <= state.fails), labels)
            failures.add(state.fails, labels)
            left_alone.add(max(0.0, state.cooled_until - now), labels)
            running.add(state.in_flight, labels)
            if state.accuracy.scores:
                accuracy.add(state.accuracy.mean, labels)
                scores.add(state.accuracy.scores, labels)
    yield from (available, unhealthy, failures, left_alone, running, accuracy, scores)


def of_credentials(plugins: Callable[[], Iterable[Any]]) -> Iterator[Family]:
    """Whether the vault references of each target's credential have a value, and those of the judge's. Only
    targets with references are told of, by the labels of `of_targets`; neither a reference nor a value is."""
    family = Family(
        "kong_ai_proxy_credential_unresolved",
        "gauge",
        "1: Kong could not resolve a vault reference of this target's credential.",
    )
    for plugin in plugins():
        instance = getattr(plugin, "instance", None)
        if not isinstance(instance, Instance):
            continue
        judges = len(instance.targets) + 1
        for place, target in enumerate(instance.credentials, 1):
            references = target.auth.references
            if references:
                labels = {
                    "plugin_id": str(instance.plugin_id),
                    "target": "judge" if place == judges else str(place),
                    "model": f"{target.model.provider}/{target.model.name or ''}",
                }
                unresolved = any(getattr(target.auth, name) == "" for name in references)
                family.add(int(unresolved), labels)
    yield family


def of_plugin_server(rpc: RpcServer, tickets: TicketStore) -> Iterator[Family]:
    """All of the above."""
    yield from of_tickets(tickets)
    yield from of_rpc(rpc)

    def plugins() -> list[Any]:
        return [running.shared.object for running in rpc.instances.all()]

    yield from of_targets(plugins)
    yield from of_credentials(plugins)
    yield from of_tokens()


def _gauge(name: str, text: str, value: float) -> Family:
    return Family(f"kong_ai_proxy_{name}", "gauge", text).add(value)


def _counter(name: str, text: str, value: float) -> Family:
    return Family(f"kong_ai_proxy_{name}", "counter", text).add(value)
