"""Cohere's APIs towards clients. Only Cohere serves them: requests pass through, errors are worded its way.

Source: https://docs.cohere.com/reference/errors.
"""

from __future__ import annotations

from typing import Final

from ...core.call import Call
from ...core.errors import ApiError, BadRequest
from ...core.json import Json
from ..base import StreamEncoder


class CohereClient:
    """See `formats.base.ClientFormat`."""

    name = "cohere"

    def request(self, body: Json, call: Call) -> Json:
        raise _untranslated(call)

    def response(self, answer: Json, call: Call) -> Json:
        raise _untranslated(call)

    def stream(self, call: Call) -> StreamEncoder:
        raise _untranslated(call)

    def error(self, error: ApiError) -> Json:
        return {"message": error.message}


def _untranslated(call: Call) -> ApiError:
    return BadRequest(
        f"llm_format cohere cannot be translated for {call.provider}", code="unsupported_native_api"
    )


CLIENT: Final = CohereClient()
