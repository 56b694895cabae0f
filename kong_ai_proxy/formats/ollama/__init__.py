"""Ollama's own API: chat, generate and embed. Also spoken by `llama2_format` and `mistral_format: ollama`.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md.
"""

from __future__ import annotations

from ..base import Adapter
from .chat import CHAT
from .embed import EMBED
from .generate import GENERATE

_ADAPTERS: dict[str, Adapter] = {"chat": CHAT, "completions": GENERATE, "embeddings": EMBED}

PATHS = {"chat": "/api/chat", "completions": "/api/generate", "embeddings": "/api/embed"}
"""Where each operation is served, below the base URL."""

__all__ = ["CHAT", "EMBED", "GENERATE", "PATHS", "ollama_adapter"]


def ollama_adapter(operation: str) -> Adapter:
    """The adapter of an operation ("chat", "completions" or "embeddings"). LookupError for others."""
    return _ADAPTERS[operation]
