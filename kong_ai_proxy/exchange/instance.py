"""One configured plugin instance, as the plugin server keeps it between StartInstance and CloseInstance."""

from __future__ import annotations

from dataclasses import dataclass

from ..config.models import LlmFormat, Target
from ..core.json import Json


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
    max_request_body_size: int
    model_name_header: bool
    genai_category: str
    config: Json
    """The configuration as Kong sent it (never logged: it holds credentials)."""
