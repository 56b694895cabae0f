"""A target: one model at one provider, how to log in there, and what to log."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from .base import Number, ProviderName, Record, Referenceable, RouteType, Secret, Text


class Auth(Record):
    """Credentials towards the provider."""

    allow_override: bool = False
    """Let credentials in the client's own request take the place of those configured here."""
    aws_access_key_id: Secret = None
    """Access key id of an IAM user for Bedrock. Unset: AWS_ACCESS_KEY_ID, then the machine's own role."""
    aws_secret_access_key: Secret = None
    """Secret key that belongs to aws_access_key_id. Unset: AWS_SECRET_ACCESS_KEY."""
    azure_client_id: Referenceable = None
    """Client id of the user-assigned identity, where it is not the managed identity's own."""
    azure_client_secret: Secret = None
    """Client secret of the Entra application named by azure_client_id."""
    azure_tenant_id: Referenceable = None
    """Entra tenant of the application named by azure_client_id."""
    azure_use_managed_identity: bool = False
    """Log in to Azure with a managed identity (or the configured client) instead of a key."""
    gcp_metadata_url: Referenceable = None
    """Address of the metadata server that issues Google tokens. Unset: Google's own."""
    gcp_oauth_token_url: Referenceable = None
    """Address where a service account's assertion is changed for a token. Unset: Google's own."""
    gcp_service_account_json: Secret = None
    """The service account's whole key file as JSON text. Unset: the environment's GCP_SERVICE_ACCOUNT."""
    gcp_use_service_account: bool = False
    """Log in to Google Cloud with a service account (Vertex AI)."""
    header_name: Referenceable = None
    """Header that carries the key, such as Authorization, x-api-key or api-key."""
    header_value: Secret = None
    """The header's whole value, such as "Bearer …" or the bare key."""
    param_location: Literal["body", "query"] | None = None
    """Where param_name goes: the query string or the request body."""
    param_name: Referenceable = None
    """Query or body parameter that carries the key, such as "key" for Gemini."""
    param_value: Secret = None
    """The parameter's whole value, usually the bare key."""


class Logging(Record):
    """What goes into Kong's log record besides the request's metadata."""

    log_payloads: bool = False
    """Put the bodies of request and answer into the log record. They hold what users wrote."""
    log_statistics: bool = False
    """Put model, token counts, latencies and cost into the log record."""


class BedrockOptions(Record):
    """Amazon Bedrock."""

    aws_assume_role_arn: Text | None = None
    """Role to assume with the credentials found; its credentials then sign the requests."""
    aws_region: Text | None = None
    """AWS region of the model. Unset: the environment's AWS_REGION."""
    aws_role_session_name: Text | None = None
    """Session name for the assumed role; shows in CloudTrail."""
    aws_sts_endpoint_url: Text | None = None
    """STS endpoint to assume the role at, for private networks."""
    batch_bucket_prefix: Text | None = None
    """Where batch jobs read input and leave results: s3://bucket/prefix/."""
    batch_role_arn: Text | None = None
    """Role that batch jobs run as. Unset: the request's own."""
    embeddings_normalize: bool = False
    """Ask for embedding vectors of length one."""
    performance_config_latency: Text | None = None
    """Latency class for every request ("standard", "optimized"). Unset: the client chooses."""
    video_output_s3_uri: Text | None = None
    """Where generated videos are put: s3://bucket/prefix. Video generation needs it."""


class CohereOptions(Record):
    """Cohere."""

    embedding_input_type: Literal[
        "classification", "clustering", "image", "search_document", "search_query"
    ] = "classification"
    """What embeddings are for; Cohere's v2 models require it."""
    wait_for_model: bool | None = None
    """Wait for a model that is still loading instead of failing."""


class DashscopeOptions(Record):
    """Alibaba Cloud's DashScope."""

    international: bool = True
    """Call the international endpoint; false: the one in mainland China."""


class DatabricksOptions(Record):
    """Databricks model serving."""

    workspace_instance_id: Text | None = None
    """The workspace's instance name, such as dbc-0123abcd-4567."""


class GeminiOptions(Record):
    """Gemini on Vertex AI. Leave the whole record out for Google's public Gemini API."""

    api_endpoint: Text | None = None
    """Regional API host, such as us-central1-aiplatform.googleapis.com."""
    endpoint_id: Text | None = None
    """Id of the endpoint that serves a Model Garden model."""
    location_id: Text | None = None
    """Google Cloud region, such as us-central1, or global."""
    project_id: Text | None = None
    """Google Cloud project that is billed."""


class HuggingfaceOptions(Record):
    """Hugging Face."""

    use_cache: bool | None = None
    """Allow answers from the inference API's cache."""
    wait_for_model: bool | None = None
    """Wait for a model that is still loading instead of failing."""


class CacheWriteCost(Record):
    """Price of writing to the prompt cache for one time to live."""

    ttl: Text
    """Time to live: a number and m or h, such as 5m or 1h."""
    cost: Number
    """Price of one million tokens written with this time to live."""


class ContextWindowFactor(Record):
    """Other prices for long prompts."""

    above: Text
    """Input tokens above which the factors hold: a number and k or m, such as 200k."""
    input_factor: Number
    """Multiplies the price of input tokens."""
    output_factor: Number
    """Multiplies the price of output tokens."""


class ServiceTierFactor(Record):
    """Another price for a service tier."""

    tier: Text
    """Word to look for in the tier the provider reports, in any case; the longest match wins."""
    factor: Number
    """Multiplies the cost of the whole request."""


class Options(Record):
    """`model.options`: costs are per one million tokens."""

    anthropic_version: Text | None = None
    """API version for Anthropic models, such as 2023-06-01."""
    azure_api_version: Text = "2023-05-15"
    """Value of api-version towards Azure OpenAI."""
    azure_deployment_id: Text | None = None
    """Name of the Azure OpenAI deployment."""
    azure_instance: Text | None = None
    """Name of the Azure OpenAI resource: the first label of its host name."""
    bedrock: BedrockOptions | None = None
    """Settings of Amazon Bedrock models."""
    cache_read_cost: Number | None = None
    """Price of one million prompt tokens read from the provider's cache."""
    cache_write_cost: Number | None = None
    """Price of one million prompt tokens written to the provider's cache."""
    cache_write_cost_list: list[CacheWriteCost] | None = None
    """Cache write prices by time to live; they win over cache_write_cost."""
    cohere: CohereOptions | None = None
    """Settings of Cohere models."""
    context_window_factor: list[ContextWindowFactor] | None = None
    """Factors on the prices for prompts above a size."""
    dashscope: DashscopeOptions | None = None
    """Settings of DashScope models."""
    databricks: DatabricksOptions | None = None
    """Settings of Databricks models."""
    embeddings_dimensions: int | None = None
    """Length of the embedding vectors to ask for."""
    gemini: GeminiOptions | None = None
    """Settings of Gemini on Vertex AI."""
    huggingface: HuggingfaceOptions | None = None
    """Settings of Hugging Face models."""
    input_cost: Number | None = None
    """Price of one million prompt tokens."""
    llama2_format: Literal["ollama", "openai", "raw"] | None = None
    """What the server behind provider llama2 speaks."""
    max_tokens: int | None = None
    """Limit of output tokens where the request sets none."""
    mistral_format: Literal["ollama", "openai"] | None = None
    """What the server behind provider mistral speaks."""
    output_cost: Number | None = None
    """Price of one million output tokens."""
    service_tier_factor: list[ServiceTierFactor] | None = None
    """Factors on the cost by the service tier the provider reports; none matched: 1."""
    temperature: Annotated[float, Field(ge=0, le=5)] | None = None
    """Sampling temperature where the request sets none."""
    top_k: Annotated[int, Field(ge=0, le=500)] | None = None
    """Sample from the k likeliest tokens, where the provider can and the request sets none."""
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    """Sample from the likeliest tokens of this total probability, where the request sets none."""
    upstream_path: Text | None = None
    """Path at the provider in place of the operation's own. Deprecated by Kong in favour of upstream_url."""
    upstream_url: Text | None = None
    """Whole URL to call in place of the provider's own: self-hosted models, private endpoints."""


class Model(Record):
    """Which model, where."""

    provider: ProviderName
    """Who serves the model; decides the API the request is translated to."""
    name: Text | None = None
    """Model name at the provider; may hold templates. Unset: the client names one."""
    model_alias: Text | None = None
    """Name under which clients ask for this target."""
    options: Options = Field(default_factory=Options)
    """Settings of the model: defaults for requests, prices, what single providers need."""


class Target(Record):
    """One model at one provider. ai-proxy is one target flattened into `config`."""

    auth: Auth = Field(default_factory=Auth)
    """Credentials towards the provider."""
    logging: Logging = Field(default_factory=Logging)
    """What goes into Kong's log record."""
    model: Model
    """Which model, where."""
    route_type: RouteType
    """What this target does: the operation of its API."""
    weight: Annotated[int, Field(ge=1, le=65535)] = 100
    """Share of the requests this target gets among its peers."""
    description: Text | None = None
    """What this target is good at, for semantic balancing. CATCHALL: taken when nothing else is near."""
    metadata: dict[str, Any] | None = None
    """Free-form data of the operator's own; carried along, not interpreted."""
