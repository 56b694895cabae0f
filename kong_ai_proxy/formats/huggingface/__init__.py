"""Hugging Face's classic APIs: text generation (Inference API, TGI) and feature extraction.

The router's OpenAI-compatible chat is in `formats.openai`.
"""

from __future__ import annotations

from .features import FEATURE_EXTRACTION
from .generation import TEXT_CHAT, TEXT_COMPLETIONS

__all__ = ["FEATURE_EXTRACTION", "TEXT_CHAT", "TEXT_COMPLETIONS"]
