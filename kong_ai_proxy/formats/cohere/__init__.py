"""Cohere's own API: chat in both versions, the older generate, and embed."""

from __future__ import annotations

from .chat_v1 import CHAT_V1
from .chat_v2 import CHAT_V2
from .embed import EMBED_V1, EMBED_V2
from .generate import GENERATE

__all__ = ["CHAT_V1", "CHAT_V2", "EMBED_V1", "EMBED_V2", "GENERATE"]
