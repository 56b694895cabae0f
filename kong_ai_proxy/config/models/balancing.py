"""How ai-proxy-advanced chooses among targets, and who may use them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Algorithm, FailoverCriterion, Milliseconds, Record, Text, TokensCountStrategy

_DEFAULT_CRITERIA: list[FailoverCriterion] = ["error", "timeout"]


class Balancer(Record):
    """How a target is chosen, tried and given up. Times are in milliseconds."""

    algorithm: Algorithm = "round-robin"
    """How the target of a request is chosen."""
    connect_timeout: Milliseconds = 60000
    """Time for the connection to a provider to stand, in ms."""
    fail_timeout: Milliseconds = 10000
    """How long a target that reached max_fails is left out, in ms."""
    failover_criteria: list[FailoverCriterion] = Field(default_factory=lambda: list(_DEFAULT_CRITERIA))
    """Which failures make another target be tried; the words of nginx's proxy_next_upstream."""
    hash_on_header: Text = "X-Kong-LLM-Request-ID"
    """Request header whose value consistent-hashing goes by."""
    latency_strategy: Literal["e2e", "tpot"] = "tpot"
    """What lowest-latency compares: time per output token (tpot) or the whole answer's time (e2e)."""
    max_fails: Annotated[int, Field(ge=0, le=32767)] = 0
    """Failures after which a target is left out for fail_timeout. 0: no circuit breaker."""
    read_timeout: Milliseconds = 60000
    """Longest silence of a provider between two reads, in ms."""
    retries: Annotated[int, Field(ge=0, le=32767)] = 5
    """How many more targets may be tried after the first."""
    slots: Annotated[int, Field(ge=10, le=65536)] = 10000
    """Size of the ring for round-robin and consistent-hashing."""
    tokens_count_strategy: TokensCountStrategy = "total-tokens"
    """What lowest-usage counts. llm-accuracy prefers the targets whose answers score best; it needs
    kong_ai_proxy.judge, and goes by weight without."""
    write_timeout: Milliseconds = 60000
    """Longest wait between two writes to a provider, in ms."""


class AclMatch(Record):
    """One condition on a request."""

    key: Text | None = None
    """Which attribute: id or username of a consumer, id or name of a group, the name of a header."""
    type: Literal["consumer", "consumer_group", "header", "ip", "model", "path", "provider"]
    """What is compared with the values."""
    values: Annotated[list[Text], Field(min_length=1)]
    """Values of which one must match."""


class AclRule(Record):
    """Conditions that must all hold for the rule to apply."""

    match: Annotated[list[AclMatch], Field(min_length=1)]
    """The rule's conditions; all must hold."""


class Acls(Record):
    """Access rules. A deny rule wins over every allow rule."""

    allow: Annotated[list[AclRule], Field(min_length=1)] | None = None
    """Rules of which one must apply, unless a deny rule does."""
    deny: Annotated[list[AclRule], Field(min_length=1)] | None = None
    """Rules that turn a request away."""
