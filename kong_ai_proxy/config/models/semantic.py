"""Semantic balancing: where embeddings come from, where they are kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import (
    EmbeddingsProviderName,
    Number,
    Port,
    Record,
    Referenceable,
    ReferenceablePort,
    ReferenceableText,
    Secret,
    Text,
    Timeout,
)
from .target import Auth, BedrockOptions, HuggingfaceOptions


class EmbeddingsAzureOptions(Record):
    """Azure OpenAI."""

    api_version: Text = "2023-05-15"
    """Value of api-version towards Azure OpenAI."""
    deployment_id: Text | None = None
    """Name of the Azure OpenAI deployment."""
    instance: Text | None = None
    """Name of the Azure OpenAI resource."""


class EmbeddingsGeminiOptions(Record):
    """Gemini on Vertex AI."""

    api_endpoint: Text | None = None
    """Regional API host, such as us-central1-aiplatform.googleapis.com."""
    location_id: Text | None = None
    """Google Cloud region, such as us-central1."""
    project_id: Text | None = None
    """Google Cloud project that is billed."""


class EmbeddingsOptions(Record):
    """Settings of the embeddings model."""

    azure: EmbeddingsAzureOptions | None = None
    """Settings of Azure OpenAI."""
    bedrock: BedrockOptions | None = None
    """Settings of Amazon Bedrock."""
    gemini: EmbeddingsGeminiOptions | None = None
    """Settings of Gemini on Vertex AI."""
    huggingface: HuggingfaceOptions | None = None
    """Settings of Hugging Face."""
    upstream_url: Text | None = None
    """Whole URL to call in place of the provider's own."""


class EmbeddingsModel(Record):
    """Which embeddings model, where."""

    name: Text
    """Name of the embeddings model at the provider."""
    options: EmbeddingsOptions = Field(default_factory=EmbeddingsOptions)
    """Settings of the embeddings model."""
    provider: EmbeddingsProviderName
    """Who serves the embeddings model."""


class Embeddings(Record):
    """The embeddings model that semantic balancing asks."""

    auth: Auth = Field(default_factory=Auth)
    """Credentials towards the embeddings provider."""
    model: EmbeddingsModel
    """Which embeddings model, where."""


class PgVector(Record):
    """A PostgreSQL database with pgvector."""

    database: Text = "kong-pgvector"
    """Name of the database."""
    host: Text = "127.0.0.1"
    """Host of the database server."""
    password: Secret = None
    """Password of the database user."""
    port: int = 5432
    """Port of the database server."""
    ssl: bool = False
    """Use TLS where the server offers it."""
    ssl_cert: Text | None = None
    """Path of the client certificate."""
    ssl_cert_key: Text | None = None
    """Path of the client certificate's key."""
    ssl_required: bool = False
    """Refuse a connection without TLS."""
    ssl_verify: bool = True
    """Verify the server's certificate."""
    ssl_version: Literal["any", "tlsv1_2", "tlsv1_3"] = "tlsv1_2"
    """TLS version to use."""
    timeout: Number = 5000
    """Time for one operation, in ms."""
    user: ReferenceableText = "postgres"
    """Name of the database user."""


class RedisNode(Record):
    """A node of a Redis cluster."""

    ip: Text = "127.0.0.1"
    """Host name or address of the node."""
    port: Port = 6379
    """Port of the node."""


class SentinelNode(Record):
    """A Redis Sentinel."""

    host: Text = "127.0.0.1"
    """Host name or address of the sentinel."""
    port: Port = 6379
    """Port of the sentinel."""


class RedisCloudAuthentication(Record):
    """Login to a cloud's managed Redis with the cloud's identities."""

    auth_provider: Annotated[
        Literal["aws", "azure", "gcp"] | None, Field(json_schema_extra={"x-referenceable": True})
    ] = None
    """Which cloud's identities are used."""
    aws_access_key_id: Secret = None
    """Access key id for ElastiCache. Unset: AWS's default credential chain."""
    aws_assume_role_arn: Secret = None
    """Role to assume for the token."""
    aws_cache_name: Referenceable = None
    """Name of the ElastiCache cluster. Required for auth_provider aws."""
    aws_is_serverless: bool = True
    """The cluster is a serverless one."""
    aws_region: Referenceable = None
    """Region of the cluster. Unset: AWS_REGION of the environment."""
    aws_role_session_name: Secret = None
    """Session name for the assumed role."""
    aws_secret_access_key: Secret = None
    """Secret key that belongs to aws_access_key_id."""
    azure_client_id: Secret = None
    """Client id for Azure's Redis. Without secret and tenant: that of a managed identity."""
    azure_client_secret: Secret = None
    """Client secret for Azure's Redis."""
    azure_tenant_id: Secret = None
    """Entra tenant for Azure's Redis."""
    gcp_service_account_json: Secret = None
    """Service account's key file as JSON text, for Google's Redis. Unset: as for Vertex AI, the environment
    or the metadata server."""


class Redis(Record):
    """A Redis (or Valkey) server, cluster or set behind sentinels. Times are in milliseconds."""

    cloud_authentication: RedisCloudAuthentication | None = None
    """Login with a cloud's identities instead of a password. Set ssl with it."""
    cluster_max_redirections: int = 5
    """How many redirections of a cluster to follow."""
    cluster_nodes: Annotated[list[RedisNode], Field(min_length=1)] | None = None
    """Nodes of a Redis cluster; setting it means there is one."""
    connect_timeout: Timeout = 2000
    """Time for a connection to stand, in ms."""
    connection_is_proxied: bool = False
    """The address is that of a proxy such as Envoy: no database is chosen."""
    database: int = 0
    """Number of the database."""
    host: ReferenceableText = "127.0.0.1"
    """Host name or address of the server."""
    keepalive_backlog: Annotated[int, Field(ge=0, le=2147483646)] | None = None
    """How many requests may wait for a connection when the pool is used up. Without effect: none waits."""
    keepalive_pool_size: Annotated[int, Field(ge=1, le=2147483646)] = 256
    """How many connections are kept open. Without effect: one for each plugin server is enough."""
    password: Secret = None
    """Password of the server. Unset: no AUTH is sent."""
    port: ReferenceablePort = 6379
    """Port of the server."""
    read_timeout: Timeout = 2000
    """Time for an answer, in ms."""
    send_timeout: Timeout = 2000
    """Time for sending a command, in ms. Without effect: read_timeout holds for both."""
    sentinel_master: Text | None = None
    """Name of the master that the sentinels watch."""
    sentinel_nodes: Annotated[list[SentinelNode], Field(min_length=1)] | None = None
    """The sentinels; setting it means there are some."""
    sentinel_password: Secret = None
    """Password of the sentinels."""
    sentinel_role: Literal["any", "master", "slave"] | None = None
    """Which role the sentinels are asked for. The master is, always: the server is written to."""
    sentinel_username: Referenceable = None
    """User name at the sentinels."""
    server_name: Referenceable = None
    """Name for TLS server name indication, which the server's certificate must have. Not for clusters."""
    ssl: bool = False
    """Use TLS towards the server."""
    ssl_verify: bool = True
    """Verify the server's certificate."""
    username: Referenceable = None
    """User name at the server (Redis 6 and up). With cloud_authentication: ElastiCache's user, or the object
    id at Azure's Redis (else that of the token)."""


class VectorDb(Record):
    """Where the targets' embedded descriptions are kept. Without it: in the plugin server's memory."""

    dimensions: int
    """Length of the vectors; that of the embeddings model."""
    distance_metric: Literal["cosine", "euclidean"]
    """How the distance of two vectors is measured."""
    pgvector: PgVector | None = None
    """The PostgreSQL database, for strategy pgvector."""
    redis: Redis | None = None
    """The Redis server, for strategy redis."""
    strategy: Literal["pgvector", "redis"]
    """Which kind of vector database it is."""
    threshold: Number | None = None
    """How near a request must be to a target's description to go there."""
