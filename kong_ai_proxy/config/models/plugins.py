"""The `config` of each plugin."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from .balancing import Acls, Balancer
from .base import (
    AdvancedGenaiCategory,
    GenaiCategory,
    LlmFormat,
    Milliseconds,
    Record,
    RouteType,
    Text,
)
from .judge import Judge
from .semantic import Embeddings, Redis, VectorDb
from .target import Auth, Logging, Model, Target


class Extensions(Record):
    """`kong_ai_proxy`: settings of our own, which Kong's plugins do not have."""

    max_stream_duration: Milliseconds | None = None
    """Longest time a stream may run before it is ended with an error, in ms. Unset: no limit."""
    max_frame_size: Annotated[int, Field(ge=1024, le=2147483647)] = 16777216
    """Largest single event of a provider's stream that is accepted, in bytes."""
    gemini_batch_bucket_prefix: Text | None = None
    """Where batches of Gemini on Vertex AI read input and leave results: gs://bucket/prefix/. What
    bedrock.batch_bucket_prefix is for Bedrock."""


class AdvancedExtensions(Extensions):
    """`kong_ai_proxy` of kong-ai-proxy-advanced: settings of our own, which Kong's plugins do not have."""

    redis: Redis | None = None
    """Redis by which all nodes share which targets are unhealthy. Unset: each node finds out by itself."""
    budget_failover: bool = False
    """Leave a target whose account has no budget left for another one, for as long as its provider says."""
    realtime_idle_timeout: Milliseconds = 300000
    """Time after which a realtime session ends in which neither side said anything, in ms."""
    judge: Judge | None = None
    """A model that scores answers, for balancer.tokens_count_strategy llm-accuracy and for metrics: Kong's
    ai-llm-as-judge. Unset: none does."""
    hedge_quantile: Annotated[float, Field(ge=0.5, le=0.999)] | None = None
    """Ask a second target too when the first has not begun to answer after this quantile of its usual times,
    such as 0.95. Who answers first wins. Unset: never. At most a tenth of the requests is asked twice."""


class Shared(Record):
    """What both plugins have beside their targets."""

    llm_format: LlmFormat = "openai"
    """The API that clients speak."""
    max_request_body_size: int = 1048576
    """Largest request body that is taken, in bytes. 0: no limit but nginx's client_max_body_size."""
    model_name_header: bool = True
    """Tell the client the provider and model in the header X-Kong-LLM-Model."""
    response_streaming: Literal["allow", "always", "deny"] = "allow"
    """Whether clients may ask for streams (allow), always get them, or never do (deny)."""
    kong_ai_proxy: Extensions = Field(default_factory=Extensions)
    """Settings of kong-ai-proxy's own, which Kong's plugins do not have. Leave out for Kong's behaviour."""


class ProxyConfig(Shared):
    """`config` of kong-ai-proxy: one target, flattened."""

    auth: Auth = Field(default_factory=Auth)
    """Credentials towards the provider."""
    genai_category: GenaiCategory = "text/generation"
    """Kind of work done here, for Kong's own statistics."""
    logging: Logging = Field(default_factory=Logging)
    """What goes into Kong's log record."""
    model: Model
    """Which model, where."""
    route_type: RouteType
    """What this route does: the operation of its API."""

    @cached_property
    def targets(self) -> list[Target]:
        """The one target, as ai-proxy-advanced has it."""
        return [Target(auth=self.auth, logging=self.logging, model=self.model, route_type=self.route_type)]


class AdvancedConfig(Shared):
    """`config` of kong-ai-proxy-advanced: several targets and how to choose among them."""

    acls: Acls | None = None
    """Who may use these targets. A deny rule wins over every allow rule."""
    balancer: Balancer = Field(default_factory=Balancer)
    """How a target is chosen, tried and given up."""
    embeddings: Embeddings | None = None
    """The embeddings model that semantic balancing asks."""
    genai_category: AdvancedGenaiCategory = "text/generation"
    """Kind of work done here, for Kong's own statistics."""
    kong_ai_proxy: AdvancedExtensions = Field(default_factory=AdvancedExtensions)
    """Settings of kong-ai-proxy's own, which Kong's plugins do not have. Leave out for Kong's behaviour."""
    targets: Annotated[list[Target], Field(min_length=1)]
    """The models among which requests are balanced."""
    vectordb: VectorDb | None = None
    """Where embedded descriptions are kept. Unset: in the plugin server's memory."""
