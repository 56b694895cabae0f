"""Tokens counted here, where a client asks for a count and its target has no API for that.

An estimate, four bytes a token as elsewhere (`accounting.estimate`), and marked as one by a header.
"""

from __future__ import annotations

from typing import Any, Final

from ..accounting.estimate import BYTES_PER_TOKEN, prompt_bytes
from ..core.http import ClientResponse
from ..core.json import Json, dumps
from .plan import Plan

ESTIMATED_HEADER: Final = "x-kong-ai-estimated"
_PER_MESSAGE: Final = 4
"""Tokens that frame a message, about: https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken."""
_COUNTS: Final = {"anthropic": "input_tokens", "bedrock": "inputTokens", "gemini": "totalTokens"}
_INSIDE: Final = ("generateContentRequest", "input", "converse")
"""Where Gemini and Bedrock put the request whose tokens are counted."""


def estimated_count(plan: Plan) -> ClientResponse:
    """The answer to a count_tokens request, as the client's format has it."""
    body: Any = plan.body
    for name in _INSIDE:
        if isinstance(body, dict) and isinstance(body.get(name), dict):
            body = body[name]
    system = body.get("systemInstruction")
    size = prompt_bytes(body if system is None else {**body, "system": system})
    turns = body.get("messages") or body.get("contents")
    tokens = -(-size // BYTES_PER_TOKEN) + _PER_MESSAGE * (len(turns) if isinstance(turns, list) else 0)
    answer: Json = {_COUNTS.get(plan.instance.llm_format, "tokens"): tokens}
    headers = {"content-type": "application/json", ESTIMATED_HEADER: "true"}
    return ClientResponse(200, headers, dumps(answer))
