"""The mock providers, told apart by path (and, where paths meet, by headers)."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..answers import Answer
from ..received import Received
from . import (
    anthropic,
    batches,
    bedrock,
    cohere,
    gemini,
    huggingface,
    images,
    invoke,
    ollama,
    openai,
    openai_rest,
    realtime,
    videos,
)

_ROUTES: list[tuple[re.Pattern[str], Callable[[Received], Answer]]] = [
    (realtime.PATH, realtime.respond),
    *batches.ROUTES,
    *videos.ROUTES,
    (re.compile(r"/v1/messages$"), anthropic.respond),
    (anthropic.VERTEX_PATH, anthropic.respond_on_vertex),
    (gemini.PATH, gemini.respond),
    (bedrock.PATH, bedrock.respond),
    (invoke.PATH, invoke.respond),
    (re.compile(r"/v2/(chat|embed)$|/v1/generate$"), cohere.respond),
    (re.compile(r"/api/(chat|generate|embed)$"), ollama.respond),
    (images.PATH, images.respond),
    (huggingface.PATH, huggingface.respond),
    (openai_rest.PATH, openai_rest.respond),
]
"""First match wins; everything else is OpenAI's."""


def respond(received: Received) -> Answer:
    """The answer of the provider whose path this is."""
    for pattern, handler in _ROUTES:
        if pattern.search(received.path):
            return handler(received)
    return openai.respond(received)
