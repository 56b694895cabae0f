"""Hugging Face's APIs towards clients. Only Hugging Face serves them: requests pass through, errors are
worded as its own.

Source: https://huggingface.co/docs/text-generation-inference/reference/api_reference.
"""

from __future__ import annotations

from typing import Final

from ...core.call import Call
from ...core.errors import ApiError, BadRequest
from ...core.json import Json
from ..base import StreamEncoder


class GenerationClient:
    """See `formats.base.ClientFormat`."""

    name = "huggingface"

    def request(self, body: Json, call: Call) -> Json:
        raise _untranslated(call)

    def response(self, answer: Json, call: Call) -> Json:
        raise _untranslated(call)

    def stream(self, call: Call) -> StreamEncoder:
        raise _untranslated(call)

    def error(self, error: ApiError) -> Json:
        return {"error": error.message, "error_type": error.type}


def _untranslated(call: Call) -> ApiError:
    return BadRequest(
        f"llm_format huggingface cannot be translated for {call.provider}", code="unsupported_native_api"
    )


CLIENT: Final = GenerationClient()
