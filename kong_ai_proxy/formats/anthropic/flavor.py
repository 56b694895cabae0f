"""Where the Messages API is spoken, and what differs there."""

from __future__ import annotations

import re
from dataclasses import dataclass

_DATED = re.compile(r"\d{4}-\d\d-\d\d")
_WITHOUT_SAMPLING = "2026-10-21"
"""The API's version that has no temperature, top_p and top_k any more and answers them with a 400:
https://platform.claude.com/docs/en/api/versioning, …/api/migration-2026-10-21."""


def takes_sampling(version: str | None) -> bool:
    """Whether an API version has temperature, top_p and top_k."""
    return version is None or not _DATED.fullmatch(version) or version < _WITHOUT_SAMPLING


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
    betas: frozenset[str] | None = None
    """The beta features this host knows; it answers others with an error. None: all."""
    output_config: bool = True
    """Takes `output_config` (JSON schema, effort)."""
    refused: frozenset[str] = frozenset()
    """Top-level fields this host refuses."""
    web_search: bool = True
    """Has the tool that searches the web."""
    web_search_beta: str = ""
    """The beta feature that this tool is told with, where it needs one."""
    dated_versions: bool = True
    """Knows versions by their date, whatever the model. Bedrock: only for Claude 4.7 and later."""

    def body_version(self, said: object, configured: str | None) -> str | None:
        """`anthropic_version` of a body: what the client says, if it means this host; else what is
        configured; else what this host has always had."""
        own = (self.version or "").partition("-")[0]
        if not own or not isinstance(said, str):
            return configured or self.version
        meant = said.startswith(f"{own}-") or (self.dated_versions and _DATED.fullmatch(said))
        return said if meant else configured or self.version


_CLOUD_BETAS = frozenset(
    {
        "compact-2026-01-12", "computer-use-2024-10-22", "computer-use-2025-01-24", "computer-use-2025-11-24",
        "context-1m-2025-08-07", "context-management-2025-06-27", "dev-full-thinking-2025-05-14",
        "effort-2025-11-24", "fine-grained-tool-streaming-2025-05-14", "interleaved-thinking-2025-05-14",
        "output-128k-2025-02-19", "token-efficient-tools-2025-02-19", "tool-examples-2025-10-29",
        "tool-search-tool-2025-10-19",
    }
)  # fmt: skip
"""Bedrock answers others with a 400 ("invalid beta flag"). Sources: the request's `anthropic_beta` in
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html
(as gateways that follow it quote its list; which model knows which is left to Bedrock), Kong's changelog
3.15.0.4 (`context-management`)."""
_VERTEX_BETAS = (
    _CLOUD_BETAS
    - {
        "dev-full-thinking-2025-05-14", "effort-2025-11-24", "fine-grained-tool-streaming-2025-05-14",
        "output-128k-2025-02-19", "token-efficient-tools-2025-02-19",
    }
) | {"web-search-2025-03-05"}  # fmt: skip
"""Vertex answers a beta it does not know with a 400, so only those are sent that are documented or reported
to work there: https://platform.claude.com/docs/en/build-with-claude/overview (availability of each feature),
https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use (tool examples),
https://github.com/BerriAI/litellm (anthropic_beta_headers_config.json, `vertex_ai`: read in October 2026)."""
CLOUD_NAMES = {"advanced-tool-use-2025-11-20": "tool-search-tool-2025-10-19"}
"""Anthropic's own name of a beta → its name at the clouds:
https://platform.claude.com/docs/en/agents-and-tools/tool-use/tool-search-tool."""

ANTHROPIC = Flavor("anthropic")
VERTEX = Flavor(
    "anthropic",
    version="vertex-2023-10-16",
    model_in_body=False,
    betas=_VERTEX_BETAS,
    output_config=False,
    web_search_beta="web-search-2025-03-05",
)
"""`rawPredict`, `streamRawPredict` (recordings vertex/native-messages). No `output_config`: Kong's changelog
3.15.0.0. Web search:
https://docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/web-search."""
BEDROCK = Flavor(
    "anthropic",
    version="bedrock-2023-05-31",
    model_in_body=False,
    stream_in_body=False,
    betas_in_body=True,
    betas=_CLOUD_BETAS,
    web_search=False,
    dated_versions=False,
    refused=frozenset({"service_tier", "container", "mcp_servers", "inference_geo", "speed"}),
)
"""InvokeModel: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html."""
