"""Where the Messages API is spoken, and what differs there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flavor:
    """Differences of one host of the Messages API from Anthropic's own."""

    name: str
    version: str | None = None
    """`anthropic_version` in the body; None where it is a header. `options.anthropic_version` wins."""
    model_in_body: bool = True
    stream_in_body: bool = True
    betas_in_body: bool = False
    """The client's `anthropic-beta` header goes into the body as `anthropic_beta`."""
    output_config: bool = True
    """Takes `output_config` (JSON schema, effort)."""
    refused: frozenset[str] = frozenset()
    """Top-level fields this host refuses."""


ANTHROPIC = Flavor("anthropic")
VERTEX = Flavor("anthropic", version="vertex-2023-10-16", model_in_body=False, output_config=False)
"""`rawPredict`, `streamRawPredict` (recordings vertex/native-messages). No `output_config`: Kong's changelog
3.15.0.0."""
BEDROCK = Flavor(
    "anthropic",
    version="bedrock-2023-05-31",
    model_in_body=False,
    stream_in_body=False,
    betas_in_body=True,
    refused=frozenset({"service_tier", "container", "mcp_servers", "inference_geo", "speed"}),
)
"""InvokeModel: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html."""
