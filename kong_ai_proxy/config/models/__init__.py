"""The configuration of both plugins, field for field that of Kong's ai-proxy and ai-proxy-advanced 3.15."""

from __future__ import annotations

from .balancing import AclMatch, AclRule, Acls, Balancer
from .base import (
    AdvancedGenaiCategory,
    Algorithm,
    EmbeddingsProviderName,
    FailoverCriterion,
    GenaiCategory,
    LlmFormat,
    ProviderName,
    Record,
    RouteType,
    TokensCountStrategy,
)
from .judge import Judge
from .plugins import AdvancedConfig, AdvancedExtensions, Extensions, ProxyConfig
from .semantic import (
    Embeddings,
    EmbeddingsAzureOptions,
    EmbeddingsGeminiOptions,
    EmbeddingsModel,
    EmbeddingsOptions,
    PgVector,
    Redis,
    RedisCloudAuthentication,
    RedisNode,
    SentinelNode,
    VectorDb,
)
from .target import (
    Auth,
    BedrockOptions,
    CacheWriteCost,
    CohereOptions,
    ContextWindowFactor,
    DashscopeOptions,
    DatabricksOptions,
    GeminiOptions,
    HuggingfaceOptions,
    Logging,
    Model,
    Options,
    ServiceTierFactor,
    Target,
)

__all__ = [
    "AclMatch", "AclRule", "Acls", "AdvancedConfig", "AdvancedExtensions", "AdvancedGenaiCategory",
    "Algorithm", "Auth", "Balancer",
    "BedrockOptions", "CacheWriteCost", "CohereOptions", "ContextWindowFactor", "DashscopeOptions",
    "DatabricksOptions", "Embeddings", "EmbeddingsAzureOptions", "EmbeddingsGeminiOptions", "EmbeddingsModel",
    "EmbeddingsOptions", "EmbeddingsProviderName", "Extensions", "FailoverCriterion", "GeminiOptions",
    "GenaiCategory", "HuggingfaceOptions", "Judge",
    "LlmFormat", "Logging", "Model", "Options", "PgVector",
    "ProviderName", "ProxyConfig", "Record", "Redis", "RedisCloudAuthentication", "RedisNode", "RouteType",
    "SentinelNode", "ServiceTierFactor", "Target", "TokensCountStrategy", "VectorDb",
]  # fmt: skip
