"""Asks the configured provider (`config.embeddings`) for embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Final

from ..auth import authenticate
from ..config.models import Embeddings, GeminiOptions, Model, Options, Target
from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import ClientRequest, UpstreamRequest
from ..core.json import JSONDecodeError, dumps, loads_lenient
from ..exchange.headers import provider_headers
from ..exchange.instance import Timeouts
from ..providers import provider
from ..relay.upstream import Answer, UpstreamClient, UpstreamFailure
from .vectors import Vector, unit

TIMEOUTS: Final = Timeouts(connect=5.0, read=15.0, write=5.0)
"""For one call; a client waits for it."""
_ANSWER_MAX: Final = 16 * 1024 * 1024

Send = Callable[[UpstreamRequest, Timeouts], Answer]


class Embedder:
    """One embeddings model."""

    def __init__(self, target: Target, send: Send) -> None:
        self.target = target
        self._send = send
        self._provider = provider(target.model.provider)

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        """A unit vector for each text. Raises ApiError (502, 504) that names the provider and no secret."""
        call = Call(
            target=self.target,
            options=self.target.model.options,
            model=self.target.model.name or "",
            operation="embeddings",
            request=ClientRequest("POST", "/", "", {}),
        )
        adapter = self._provider.adapter(call)
        made = adapter.request({"model": call.model, "input": list(texts)}, call)
        request = UpstreamRequest(
            "POST",
            self._provider.url(call),
            provider_headers(self._provider, call),
            made if isinstance(made, bytes) else dumps(made),
        )
        authenticate(request, call)
        try:
            answer = self._send(request, TIMEOUTS)
            try:
                body = answer.read_all(_ANSWER_MAX)
            finally:
                answer.close()
        except UpstreamFailure as failure:
            status = 504 if failure.kind == "timeout" else 502
            raise self._failed(status, str(failure)) from None
        if not 200 <= answer.status < 300:
            error = adapter.error(answer.status, answer.headers, body, call)
            raise self._failed(502, f"status {answer.status}: {error.message}")
        call.answer_headers = answer.headers
        try:
            vectors = [item["embedding"] for item in adapter.response(loads_lenient(body), call)["data"]]
            units = [unit([float(value) for value in vector]) for vector in vectors]
        except (JSONDecodeError, LookupError, TypeError, ValueError):
            raise self._failed(502, "the answer holds no embeddings") from None
        if len(units) != len(texts):
            raise self._failed(502, "the answer holds another number of embeddings")
        return units

    def _failed(self, status: int, reason: str) -> ApiError:
        name = self.target.model.provider
        return ApiError(status, f"embeddings of {name}: {reason}", code="embeddings_failed")


def embedder_for(config: Embeddings, dimensions: int | None, send: Send | None = None) -> Embedder:
    """The embedder for `config.embeddings`; `dimensions` of the vectors where the store fixes them."""
    # Embedding a text leaves nothing behind: it may be asked for again.
    return Embedder(target_of(config, dimensions), send or partial(_client().send, repeatable=True))


@lru_cache(maxsize=1)
def _client() -> UpstreamClient:
    """One for the process: its connections are kept."""
    return UpstreamClient()


def target_of(config: Embeddings, dimensions: int | None) -> Target:
    """`config.embeddings` as the target it would be."""
    asked = config.model.options
    options = Options(upstream_url=asked.upstream_url, embeddings_dimensions=dimensions)
    if asked.azure:
        options.azure_instance = asked.azure.instance
        options.azure_deployment_id = asked.azure.deployment_id
        options.azure_api_version = asked.azure.api_version
    if asked.gemini:
        options.gemini = GeminiOptions(**asked.gemini.model_dump())
    options.bedrock = asked.bedrock
    options.huggingface = asked.huggingface
    model = Model(provider=config.model.provider, name=config.model.name, options=options)
    return Target(auth=config.auth, model=model, route_type="llm/v1/embeddings")
