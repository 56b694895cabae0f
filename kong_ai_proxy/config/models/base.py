"""What every record of the configuration shares, and the field types they are made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr

ProviderName = Literal[
    "anthropic", "azure", "bedrock", "cerebras", "cohere", "dashscope", "databricks", "deepseek",
    "gemini", "huggingface", "llama2", "mistral", "ollama", "openai", "vllm", "xai",
]  # fmt: skip
EmbeddingsProviderName = Literal["azure", "bedrock", "gemini", "huggingface", "mistral", "ollama", "openai"]
LlmFormat = Literal["anthropic", "bedrock", "cohere", "gemini", "huggingface", "openai"]
RouteType = Literal[
    "audio/v1/audio/speech", "audio/v1/audio/transcriptions", "audio/v1/audio/translations",
    "image/v1/images/edits", "image/v1/images/generations", "llm/v1/assistants", "llm/v1/batches",
    "llm/v1/chat", "llm/v1/completions", "llm/v1/embeddings", "llm/v1/files", "llm/v1/responses",
    "preserve", "realtime/v1/realtime", "video/v1/videos/generations",
]  # fmt: skip
GenaiCategory = Literal[
    "audio/speech", "audio/transcription", "image/generation", "text/embeddings", "text/generation",
    "video/generation",
]  # fmt: skip
AdvancedGenaiCategory = Literal[
    "audio/speech", "audio/transcription", "image/generation", "realtime/generation", "text/embeddings",
    "text/generation", "video/generation",
]  # fmt: skip
FailoverCriterion = Literal[
    "error", "http_403", "http_404", "http_429", "http_500", "http_502", "http_503", "http_504",
    "invalid_header", "non_idempotent", "timeout",
]  # fmt: skip
Algorithm = Literal[
    "consistent-hashing", "least-connections", "lowest-latency", "lowest-usage", "priority",
    "round-robin", "semantic",
]  # fmt: skip
TokensCountStrategy = Literal[
    "completion-tokens", "cost", "llm-accuracy", "prompt-tokens", "total-tokens"
]  # fmt: skip

_REFERENCEABLE: dict[str, Any] = {"x-referenceable": True}
_SECRET: dict[str, Any] = {"x-referenceable": True, "x-encrypted": True}


def _digits(value: Any) -> Any:
    """A reference resolves to text, also where a number is meant."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


# Kong refuses an empty string wherever a schema does not say otherwise (kong/db/schema/init.lua).
Text: TypeAlias = Annotated[str, Field(min_length=1)]
Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
Milliseconds: TypeAlias = Annotated[int, Field(ge=1, le=2147483646)]
Timeout: TypeAlias = Annotated[int, Field(ge=0, le=2147483646)]
"""Milliseconds, where 0 is allowed."""
Port: TypeAlias = Annotated[int, Field(ge=0, le=65535)]
Referenceable: TypeAlias = Annotated[Text | None, Field(json_schema_extra=_REFERENCEABLE)]
Secret: TypeAlias = Annotated[Text | None, Field(json_schema_extra=_SECRET, repr=False)]
ReferenceableText: TypeAlias = Annotated[Text, Field(json_schema_extra=_REFERENCEABLE)]
ReferenceablePort: TypeAlias = Annotated[
    Port, BeforeValidator(_digits), Field(json_schema_extra=_REFERENCEABLE)
]


class Record(BaseModel):
    """A record of the configuration: unknown fields are refused, types are exact as Kong's are."""

    model_config = ConfigDict(
        extra="forbid", strict=True, use_attribute_docstrings=True, protected_namespaces=()
    )

    _references: dict[str, str] = PrivateAttr(default_factory=dict)

    @property
    def references(self) -> dict[str, str]:
        """Field name → the vault reference its value came from, as Kong says in `$refs`.

        `kong.vault.get(reference)` resolves it anew after a secret was rotated. A reference that Kong could
        not resolve leaves an empty string in its field.
        """
        return self._references
