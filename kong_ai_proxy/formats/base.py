"""The interfaces between the OpenAI forms and everybody else's."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import Headers
from ..core.json import Json

StreamItem: TypeAlias = Json | ApiError
"""A chunk in OpenAI's form, or the error that ends the stream. Nothing follows an error."""


class StreamDecoder(Protocol):
    """A provider's stream, turned into OpenAI chunks. Made per attempt; the same result however it is split.

    Usage, where the provider reports it, always comes as OpenAI's last chunk: `choices` empty, `usage` set.
    Whether the client sees it (`call.include_usage`) is for the client's encoder to decide.
    """

    def feed(self, data: bytes) -> list[StreamItem]:
        """Take what the provider sent; give the chunks it completes. Never raises."""
        ...

    def finish(self) -> list[StreamItem]:
        """The provider closed the stream. The last item is an ApiError (502, code
        "upstream_stream_truncated") if the answer had not ended. Sets `call.usage` if not set before."""
        ...


class Adapter(Protocol):
    """One operation in one provider's wire form.

    `request`, `response` and `error` are pure; they may note things on the `call` (usage, dropped fields, the
    response's model and id, finish reasons) but keep no other state: an adapter is shared by all requests.
    """

    format: str
    """The wire format's name. Where it equals the client's, bytes pass through (see `Observer`)."""

    def request(self, body: Json, call: Call) -> Json | bytes:
        """The provider's request body from the OpenAI form. The body already has the configured defaults and
        `model`; it must not be changed in place. Raises ApiError for what the provider cannot do."""
        ...

    def response(self, body: Json, call: Call) -> Json:
        """The OpenAI form from the provider's 2xx body. Sets `call.usage`, `call.response_model`,
        `call.response_id`, `call.finish_reasons`. Raises ApiError (502) if it is not an answer at all."""
        ...

    def stream(self, call: Call) -> StreamDecoder:
        """A decoder for one streamed answer."""
        ...

    def error(self, status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
        """The provider's error, any status from 300 up, with its status kept."""
        ...


class StreamObserver(Protocol):
    """Reads a stream that passes through, for usage and model, and takes out what only we asked for."""

    failed: ApiError | None
    """The error that the provider ended its stream with; the client has it already, nothing follows."""

    def feed(self, data: bytes) -> bytes:
        """What of `data` (and of what was held back) goes on to the client now. Never raises."""
        ...

    def finish(self) -> bytes:
        """The provider closed the stream. Sets `call.usage`."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the answer ended as the format says it must; asked after `finish`."""
        ...


class Observer(Protocol):
    """Same format on both sides: bytes pass through with the smallest edit."""

    def request(self, body: bytes, parsed: Json, call: Call) -> bytes:
        """The client's body with only what must change changed (model, stream options, defaults)."""
        ...

    def response(self, body: bytes, call: Call) -> bytes:
        """Note usage, model, id and finish reasons of a 2xx answer; normally gives `body` itself back."""
        ...

    def stream(self, call: Call) -> StreamObserver: ...


class StreamEncoder(Protocol):
    """OpenAI chunks, turned into the client's stream. Made per attempt."""

    content_type: str

    def encode(self, chunk: Json) -> bytes: ...

    def finish(self) -> bytes:
        """What ends a complete stream (OpenAI: `data: [DONE]`)."""
        ...

    def error(self, error: ApiError) -> bytes:
        """What tells the client that the stream broke. Nothing follows it; no `[DONE]`."""
        ...


class ClientFormat(Protocol):
    """A format that clients speak, towards the OpenAI form."""

    name: str

    def request(self, body: Json, call: Call) -> Json:
        """The OpenAI form of the client's request. Raises ApiError (400) with a message for the client."""
        ...

    def response(self, answer: Json, call: Call) -> Json:
        """The client's form of an OpenAI answer."""
        ...

    def stream(self, call: Call) -> StreamEncoder: ...

    def error(self, error: ApiError) -> Json:
        """The error object as this format has it."""
        ...
