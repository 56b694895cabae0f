"""What realtime sessions say about themselves: tokens, models, how long the provider took."""

from __future__ import annotations

from ...core.call import Call
from .gemini import GeminiLive, bare_model, with_model
from .openai import OpenAIRealtime
from .session import Session

__all__ = ["GeminiLive", "OpenAIRealtime", "Session", "bare_model", "session_for", "with_model"]


def session_for(call: Call) -> Session:
    """The reader of a session at this call's provider."""
    return GeminiLive(call) if call.provider == "gemini" else OpenAIRealtime(call)
