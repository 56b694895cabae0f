"""One configured plugin instance, as the plugin server keeps it between StartInstance and CloseInstance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from ..balancer.base import Balancer
from ..balancer.build import balancer_for
from ..balancer.fixed import FixedTarget
from ..balancer.hedging import Hedging
from ..balancer.shared import sharing_by
from ..config.models import Acls, AdvancedConfig, Extensions, Judge, LlmFormat, Target
from ..config.parse import parse
from ..core.json import Json
from ..core.operations import OPERATIONS
from .rotation import Rotation

PROXY: Final = "kong-ai-proxy"
ADVANCED: Final = "kong-ai-proxy-advanced"

_DEFAULT_TIMEOUT: Final = 60.0
"""Seconds; Kong's default for connecting, reading and writing (balancing.md section 1)."""
_DEFAULT_CRITERIA: Final = frozenset({"error", "timeout"})


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds, for one attempt."""

    connect: float = _DEFAULT_TIMEOUT
    read: float = _DEFAULT_TIMEOUT
    write: float = _DEFAULT_TIMEOUT


@dataclass(slots=True)
class Instance:
    """The configuration of either plugin in one form: ai-proxy is ai-proxy-advanced with one target."""

    plugin: str
    """"kong-ai-proxy" or "kong-ai-proxy-advanced"."""
    plugin_id: str
    """Kong's id of the plugin entity; goes into the log record."""
    targets: list[Target]
    llm_format: LlmFormat
    response_streaming: str
    """"allow", "deny" or "always"."""
    max_request_body_size: int
    """Bytes; 0: no limit of ours. The relay refuses what is larger."""
    model_name_header: bool
    genai_category: str
    config: Json = field(repr=False)
    """The configuration as Kong sent it (never logged: it holds credentials)."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    retries: int = 0
    """Attempts after the first."""
    failover_criteria: frozenset[str] = _DEFAULT_CRITERIA
    balancer: Balancer = field(default_factory=FixedTarget)
    """Shared by all requests of this instance."""
    acls: Acls | None = None
    """Access rules; None without any."""

    hedging: Hedging | None = None
    """When a second target is asked beside the first; None: never."""

    extensions: Extensions = field(default_factory=Extensions)
    """Settings of our own: limits of streams."""
    semantic: AdvancedConfig | None = None
    """The configuration, where the balancer goes by meaning and must be given its embeddings."""
    judge: Judge | None = None
    """Who scores answers; None: nobody does."""
    bench: Any = field(default=None, repr=False)
    """What waits for the judge, kept by the room `judge`."""
    rotation: Rotation = field(init=False)
    """Which vault references to resolve anew."""
    operations: list[str] = field(init=False)
    """What each target is for, by its route type."""

    def __post_init__(self) -> None:
        self.rotation = Rotation(self.targets)
        self.operations = [OPERATIONS[target.route_type] for target in self.targets]

    @property
    def credentials(self) -> list[Target]:
        """Whose credentials are kept: the targets', in their order, then the judge's."""
        return [*self.targets, self.judge.llm] if self.judge is not None else self.targets

    @classmethod
    def from_config(
        cls, plugin: str, config: Json, make_balancer: Callable[[AdvancedConfig], Balancer] | None = None
    ) -> Instance:
        """From the configuration as Kong's StartInstance brings it. Raises ConfigError naming what is
        wrong. `make_balancer`: for a process that does not choose among the targets itself."""
        parsed = parse(plugin, config)
        plugin_id = config.get("__plugin_id")
        instance = cls(
            plugin=plugin,
            plugin_id=plugin_id if isinstance(plugin_id, str) else "",
            targets=list(parsed.targets),
            llm_format=parsed.llm_format,
            response_streaming=parsed.response_streaming,
            max_request_body_size=parsed.max_request_body_size,
            model_name_header=parsed.model_name_header,
            genai_category=parsed.genai_category,
            config=config,
            extensions=parsed.kong_ai_proxy,
        )
        if isinstance(parsed, AdvancedConfig):
            instance.balance(parsed, make_balancer)
        return instance

    def balance(
        self, config: AdvancedConfig, make_balancer: Callable[[AdvancedConfig], Balancer] | None = None
    ) -> None:
        """Take over how ai-proxy-advanced chooses, tries and gives up targets."""
        balancer = config.balancer
        self.timeouts = Timeouts(
            balancer.connect_timeout / 1000, balancer.read_timeout / 1000, balancer.write_timeout / 1000
        )
        self.retries = balancer.retries
        self.failover_criteria = frozenset(balancer.failover_criteria)
        if make_balancer is not None:
            self.balancer = make_balancer(config)
        else:
            redis = config.kong_ai_proxy.redis
            self.balancer = balancer_for(config, self.plugin_id, sharing=sharing_by(redis) if redis else None)
        self.acls = config.acls
        quantile = config.kong_ai_proxy.hedge_quantile
        if quantile is not None:
            self.hedging = Hedging(quantile, len(config.targets))
        if balancer.algorithm == "semantic":
            self.semantic = config
        judge = config.kong_ai_proxy.judge
        if judge is not None:
            self.judge = judge
            self.rotation = Rotation(self.credentials)
