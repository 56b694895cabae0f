"""The wire formats that clients and providers speak, one package or module each.

OpenAI's forms (chat completion, completion, embeddings) are the pivot: a provider's *adapter* translates
between them and its own wire form; a client's *format* translates between its own form and them. Pure
translation: no I/O, no configuration of Kong's.

What OpenAI's form has no place for rides along in these extension fields and is restored on the way back:

====================================================  =======================================================
field                                                 meaning
====================================================  =======================================================
``message.reasoning_content`` / delta, same name      the readable reasoning text
``message.thinking_blocks`` / delta, same name        Anthropic/Bedrock thinking with what must come back byte
                                                      for byte: ``{"type": "thinking", "thinking",
                                                      "signature"}`` or ``{"type": "redacted_thinking",
                                                      "data"}``
``tool_call.extra_content.google.thought_signature``  Gemini's signature of a function call (Google's own name
                                                      in its OpenAI-compatible API)
``message.extra_content.google.thought_signature``    Gemini's signature of a text part
``message.annotations``                               citations with a URL, in OpenAI's ``url_citation`` form
``message.images`` / delta, same name                 images of an answer, as OpenRouter documents them
``message.provider_specific_fields``                  the rest of what a provider says (grounding, citations
                                                      without URL, safety ratings), by the provider's names
``choice.native_finish_reason``                       the provider's own word, where it is not OpenAI's
``native_service_tier``                               the same for the tier it was served at
``cache_control`` on messages, parts and tools        Anthropic's cache breakpoints, kept where they stand
====================================================  =======================================================
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import ClientFormat

_CLIENT_FORMATS = {
    "openai": ".openai.client",
    "responses": ".responses.client",
    "anthropic": ".anthropic.client",
    "bedrock": ".bedrock.client",
    "cohere": ".cohere.client",
    "gemini": ".gemini.client",
    "huggingface": ".huggingface.client",
}
"""Kong's `llm_format` → the module whose constant `CLIENT` is that format."""


@cache
def client_format(name: str) -> ClientFormat:
    """The format that clients of an instance with this `llm_format` speak. Imported when first asked for.

    Raises LookupError for a format that cannot be spoken towards clients.
    """
    try:
        found: ClientFormat = import_module(_CLIENT_FORMATS[name], __name__).CLIENT
    except (KeyError, ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith(__name__):
            raise  # The format is there; something that it needs is not installed.
        raise LookupError(f"no client format {name!r}") from error
    return found
