"""Google Gemini: generateContent and embeddings, of the public API and of Vertex."""

from __future__ import annotations

from .chat import PUBLIC_CHAT, VERTEX_CHAT, GeminiChat
from .embeddings import PUBLIC_EMBEDDINGS, VERTEX_EMBEDDINGS, VERTEX_SINGLE_EMBEDDING, embeds_one

__all__ = [
    "PUBLIC_CHAT",
    "PUBLIC_EMBEDDINGS",
    "VERTEX_CHAT",
    "VERTEX_EMBEDDINGS",
    "VERTEX_SINGLE_EMBEDDING",
    "GeminiChat",
    "embeds_one",
]
