"""Tokens of a prompt, for clients whose target speaks another format: counted by its provider where that has
an API for it, else estimated here.

An estimate is made of four bytes a token as elsewhere (`accounting.estimate`), and marked as one by a header.
"""

from __future__ import annotations

from typing import Any, Final

from ..accounting.estimate import BYTES_PER_TOKEN, prompt_bytes
from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import ClientResponse, Headers, UpstreamRequest
from ..core.json import Json, dumps, loads_lenient
from ..providers.counting import CANNOT, counted, counting_request
from .carry import JSON_TYPE, Carrier
from .redact import redact

ESTIMATED_HEADER: Final = "x-kong-ai-estimated"
_PER_MESSAGE: Final = 4
"""Tokens that frame a message, about: https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken."""
_COUNTS: Final = {"anthropic": "input_tokens", "bedrock": "inputTokens", "gemini": "totalTokens"}
_INSIDE: Final = ("generateContentRequest", "input", "converse")
"""Where Gemini and Bedrock put the request whose tokens are counted."""
_NOT_COUNTED: Final = frozenset({400, 404, 405, 413, 422, 501})
"""What providers answer for models and prompts whose tokens they cannot count."""


class CountCarrier(Carrier):
    """A `Translation` (see there) of a client's count_tokens to another provider's."""

    metered = False

    def request(self) -> UpstreamRequest:
        """The provider's request; one for a chat is made, and asked about. Raises ApiError where that cannot
        be; `error` makes an estimate of it."""
        chat_call = self._chat_call()
        chat = Carrier(chat_call, _asked_about(self._body), as_sent=False, model_header=False).request()
        url, body = counting_request(chat.url, loads_lenient(chat.body), chat_call)
        headers = {**chat.headers, "accept": JSON_TYPE}
        self.upstream = UpstreamRequest("POST", url, dict(headers), dumps(body))
        return UpstreamRequest("POST", url, headers, self.upstream.body)

    def response(self, status: int, headers: Headers, body: bytes) -> ClientResponse:
        """See `Translation.response`. Never raises."""
        self.received = body
        try:
            if not 200 <= status < 300:
                body = self.received = redact(body, self.call)
                adapter = self._provider.adapter(self._chat_call())
                return self.error(adapter.error(status, headers, body, self.call), headers)
            return self._answered(counted(loads_lenient(body)), headers)
        except ApiError as error:
            return self.error(error, headers)
        except ValueError:
            return self._estimated(headers)

    def error(self, error: ApiError, headers: Headers | None = None) -> ClientResponse:
        """The error, or an estimate where it only says that nobody counts these tokens."""
        if error.code == CANNOT or error.status in _NOT_COUNTED:
            return self._estimated(headers or {})
        return super().error(error, headers)

    def _chat_call(self) -> Call:
        """The call of the chat that is asked about."""
        call = self.call
        chat_call = Call(
            target=call.target,
            options=call.options,
            model=call.model,
            operation="chat",
            request=call.request,
            client_format=call.client_format,
        )
        chat_call.dropped = call.dropped
        return chat_call

    def _answered(self, tokens: int, headers: Headers) -> ClientResponse:
        answer = dumps(count_answer(self.call.client_format, tokens))
        return ClientResponse(200, self._headers(headers, JSON_TYPE), answer)

    def _estimated(self, headers: Headers) -> ClientResponse:
        answer = self._answered(estimated_tokens(self._body), headers)
        answer.headers[ESTIMATED_HEADER] = "true"
        return answer


def estimated_count(llm_format: str, body: Json) -> ClientResponse:
    """The answer to a count_tokens request where no target's provider counts."""
    headers = {"content-type": JSON_TYPE, ESTIMATED_HEADER: "true"}
    return ClientResponse(200, headers, dumps(count_answer(llm_format, estimated_tokens(body))))


def count_answer(llm_format: str, tokens: int) -> Json:
    """As the client's format has it."""
    return {_COUNTS.get(llm_format, "tokens"): tokens}


def estimated_tokens(body: Json) -> int:
    """Of the request whose tokens are to be counted."""
    asked: Any = _asked_about(body, otherwise=body)
    system = asked.get("systemInstruction")
    size = prompt_bytes(asked if system is None else {**asked, "system": system})
    turns = asked.get("messages") or asked.get("contents")
    return -(-size // BYTES_PER_TOKEN) + _PER_MESSAGE * (len(turns) if isinstance(turns, list) else 0)


def _asked_about(body: Json, otherwise: Json | None = None) -> Json:
    """The request whose tokens are to be counted. Raises ApiError, unless `otherwise` is given, where it is
    one of InvokeModel's, which only Bedrock knows."""
    for name in _INSIDE:
        if isinstance(body.get(name), dict):
            body = body[name]
    if "invokeModel" in body:
        if otherwise is None:
            raise ApiError(501, "an InvokeModel request has no translation", code=CANNOT)
        return otherwise
    return body
