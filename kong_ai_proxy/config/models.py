"""The configuration of both plugins, field for field that of Kong's ai-proxy and ai-proxy-advanced 3.15."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ProviderName = Literal[
    "anthropic", "azure", "bedrock", "cerebras", "cohere", "dashscope", "databricks", "deepseek",
    "gemini", "huggingface", "llama2", "mistral", "ollama", "openai", "vllm", "xai",
]  # fmt: skip
LlmFormat = Literal["anthropic", "bedrock", "cohere", "gemini", "huggingface", "openai"]
RouteType = Literal[
    "audio/v1/audio/speech", "audio/v1/audio/transcriptions", "audio/v1/audio/translations",
    "image/v1/images/edits", "image/v1/images/generations", "llm/v1/assistants", "llm/v1/batches",
    "llm/v1/chat", "llm/v1/completions", "llm/v1/embeddings", "llm/v1/files", "llm/v1/responses",
    "preserve", "realtime/v1/realtime", "video/v1/videos/generations",
]  # fmt: skip
FailoverCriterion = Literal[
    "error", "http_403", "http_404", "http_429", "http_500", "http_502", "http_503", "http_504",
    "invalid_header", "non_idempotent", "timeout",
]  # fmt: skip
Algorithm = Literal[
    "consistent-hashing", "least-connections", "lowest-latency", "lowest-usage", "priority",
    "round-robin", "semantic",
]  # fmt: skip


class Record(BaseModel):
    """A record of the configuration: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Auth(Record):
    """Credentials towards the provider."""

    allow_override: bool = False
    aws_access_key_id: str | None = None
    aws_secret_access_key: str | None = None
    azure_client_id: str | None = None
    azure_client_secret: str | None = None
    azure_tenant_id: str | None = None
    azure_use_managed_identity: bool = False
    gcp_metadata_url: str | None = None
    gcp_oauth_token_url: str | None = None
    gcp_service_account_json: str | None = None
    gcp_use_service_account: bool = False
    header_name: str | None = None
    header_value: str | None = None
    param_location: Literal["body", "query"] | None = None
    param_name: str | None = None
    param_value: str | None = None


class Logging(Record):
    log_payloads: bool = False
    log_statistics: bool = False


class BedrockOptions(Record):
    aws_assume_role_arn: str | None = None
    aws_region: str | None = None
    aws_role_session_name: str | None = None
    aws_sts_endpoint_url: str | None = None
    batch_bucket_prefix: str | None = None
    batch_role_arn: str | None = None
    embeddings_normalize: bool = False
    performance_config_latency: str | None = None
    video_output_s3_uri: str | None = None


class CohereOptions(Record):
    embedding_input_type: Literal[
        "classification", "clustering", "image", "search_document", "search_query"
    ] = "classification"
    wait_for_model: bool | None = None


class DashscopeOptions(Record):
    international: bool = True


class DatabricksOptions(Record):
    workspace_instance_id: str | None = None


class GeminiOptions(Record):
    api_endpoint: str | None = None
    endpoint_id: str | None = None
    location_id: str | None = None
    project_id: str | None = None


class HuggingfaceOptions(Record):
    use_cache: bool | None = None
    wait_for_model: bool | None = None


class CacheWriteCost(Record):
    ttl: str
    cost: float


class ContextWindowFactor(Record):
    above: str
    input_factor: float
    output_factor: float


class ServiceTierFactor(Record):
    tier: Annotated[str, Field(min_length=1)]
    factor: float


class Options(Record):
    """`model.options`: costs are per one million tokens."""

    anthropic_version: str | None = None
    azure_api_version: str = "2023-05-15"
    azure_deployment_id: str | None = None
    azure_instance: str | None = None
    bedrock: BedrockOptions | None = None
    cache_read_cost: float | None = None
    cache_write_cost: float | None = None
    cache_write_cost_list: list[CacheWriteCost] | None = None
    cohere: CohereOptions | None = None
    context_window_factor: list[ContextWindowFactor] | None = None
    dashscope: DashscopeOptions | None = None
    databricks: DatabricksOptions | None = None
    embeddings_dimensions: int | None = None
    gemini: GeminiOptions | None = None
    huggingface: HuggingfaceOptions | None = None
    input_cost: float | None = None
    llama2_format: Literal["ollama", "openai", "raw"] | None = None
    max_tokens: int | None = None
    mistral_format: Literal["ollama", "openai"] | None = None
    output_cost: float | None = None
    service_tier_factor: list[ServiceTierFactor] | None = None
    temperature: Annotated[float, Field(ge=0, le=5)] | None = None
    top_k: Annotated[int, Field(ge=0, le=500)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    upstream_path: str | None = None
    upstream_url: str | None = None


class Model(Record):
    provider: ProviderName
    name: str | None = None
    model_alias: str | None = None
    options: Options = Field(default_factory=Options)


class Target(Record):
    """One model at one provider. ai-proxy is one target flattened into `config`."""

    auth: Auth = Field(default_factory=Auth)
    logging: Logging = Field(default_factory=Logging)
    model: Model
    route_type: RouteType
    weight: Annotated[int, Field(ge=1, le=65535)] = 100
    description: str | None = None
    metadata: dict[str, Any] | None = None
