"""Realtime sessions: what is asked for, who may hold it, what goes to the provider, and what it came to.

There is no body to plan by: the model stands in the query (Gemini: in the client's first message, which
`setup` reads when the session is open).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ..accounting.record import log_record
from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import ClientRequest, ClientResponse, Headers, UpstreamRequest
from ..core.json import Json, JSONDecodeError, loads
from ..formats.realtime import Session, bare_model, session_for, with_model
from ..providers import provider
from ..providers.realtime import PROVIDERS, asked_model, live_model_place, needs_model, realtime_url
from .access import restrict
from .attempt import Attempt
from .carry import JSON_TYPE, MODEL_HEADER
from .exchange import Exchange, error_response
from .headers import USER_AGENT, answer_headers, may_forward, with_client_query
from .instance import Instance
from .plan import Plan, _candidates, _resolve
from .redact import redact
from .tickets import Ticket

_OPERATION: Final = "realtime"
_OWN_PARAMETERS: Final = frozenset({"model", "deployment", "api-version"})
"""Query parameters that are set anew for the target."""
_KEY_PROTOCOL: Final = "openai-insecure-api-key."
"""How browsers, which cannot set headers, bring their key:
https://platform.openai.com/docs/guides/realtime-websocket."""
_BEARER: Final = "Bearer "
_PROTOCOL: Final = "sec-websocket-protocol"


def serves_realtime(instance: Instance) -> bool:
    """Whether any target of the instance holds sessions."""
    return _OPERATION in instance.operations


def only_realtime(instance: Instance) -> bool:
    """Whether no target of the instance does anything else."""
    operations = instance.operations
    return operations.count(_OPERATION) == len(operations)


class RealtimeExchange(Exchange):
    """An `Exchange` whose attempts ask for an upgrade."""

    @classmethod
    def open(cls, ticket: Ticket, request: ClientRequest) -> RealtimeExchange:
        """Check and plan. Raises ApiError for the client."""
        if ticket.captures and not request.captures:
            request.captures = ticket.captures
        _take_key(request)
        instance = ticket.instance
        targets = [
            index
            for index, target in enumerate(instance.targets)
            if instance.operations[index] == _OPERATION
            and PROVIDERS.get(target.model.provider) == instance.llm_format
        ]
        if not targets:
            raise ApiError(
                400,
                "no target of this route holds realtime sessions in llm_format "
                f"{instance.llm_format}: openai, azure and xai do in openai, gemini does in gemini",
                code="unsupported_route_type",
            )
        model = asked_model(request.query)
        # Gemini's model comes later, and there are OpenAI sessions without one.
        optional = instance.llm_format == "gemini" or not needs_model(request.query)
        if optional and not model:
            resolved = _resolve(instance.targets, targets, request)
            candidates = [index for index in targets if index in resolved]
        else:
            candidates, resolved = _candidates(instance, targets, model, request)
        plan = Plan(instance, request, {}, False, model, False, False, candidates, resolved)
        restrict(plan, ticket)
        return cls(plan, ticket)

    def refuse(self, error: ApiError) -> ClientResponse:
        if not self.attempts:
            self._refused = True
            return error_response(self.ticket, error)
        return super().refuse(error)

    def close(self) -> None:
        """See `Exchange.close`. What reads a session along holds nothing but the call."""
        self.attempts.clear()

    def setup(self, call: Call, message: bytes) -> bytes:
        """A client's first message at Gemini as the provider may have it. Raises ApiError."""
        target = call.target.model
        names = frozenset({bare_model(call.model), target.model_alias or ""}) - {""}
        changed, asked = with_model(message, names, call.model, live_model_place(call))
        if not call.model:
            call.model = asked
        return changed

    def so_far(self) -> Json | None:
        """The log record of a session that goes on."""
        last = self.attempts[-1]
        assert isinstance(last, RealtimeAttempt)
        last.note()
        return log_record(
            last.call,
            plugin_id=self.instance.plugin_id,
            timing=last.timing,
            tried=list(self._entries()),
            request=None,
            response=None,
        )

    def _attempt(self, index: int) -> Attempt:
        plan, instance = self.plan, self.instance
        target, resolved = instance.targets[index], plan.resolved[index]
        call = Call(
            target=target,
            options=resolved.options,
            model=resolved.name or plan.model,
            operation=_OPERATION,
            request=plan.request,
            client_format=instance.llm_format,
            max_frame=instance.extensions.max_frame_size,
        )
        carrier = SessionCarrier(call, self.ticket, model_header=instance.model_name_header)
        return RealtimeAttempt(self, index, call, carrier, self._clock)  # type: ignore[arg-type]


class RealtimeAttempt(Attempt):
    """One try to open a session, and the session."""

    @property
    def session(self) -> Session | None:
        """What is read along; None before the session is open."""
        running = self.translation.running
        return running if isinstance(running, Session) else None

    def opened(self) -> Session:
        """The provider has agreed."""
        session = session_for(self.call)
        self.translation.running = session  # type: ignore[assignment]
        return session

    def note(self) -> None:
        """Bring usage and timing up to date. The latency is the time that the provider worked on responses:
        how long a session was open says nothing about the provider."""
        session = self.session
        if session is not None:
            session.mark()
            self.timing.latency = session.generated_ms
            self.timing.first_token = session.first_token_ms

    def over(self) -> None:
        """The session has ended, however it did."""
        session = self.session
        if session is None or self.settled:
            return
        session.settle()
        self.note()
        self._settle(ok=True, partial=session.responding)


class SessionCarrier:
    """A `Translation` (see there) of a request for an upgrade: nothing is translated."""

    movable = True
    passes: frozenset[int] = frozenset()
    """See `Carrier`."""

    def __init__(self, call: Call, ticket: Ticket, *, model_header: bool) -> None:
        self.call = call
        self.upstream: UpstreamRequest | None = None
        """What was sent, before any credential was added to it."""
        self.received: bytes | None = None
        self.refused: ApiError | None = None
        self.running: Session | None = None
        self.answered: bytes | None = None
        """Sessions are not logged: they are audio, and endless."""
        self._ticket = ticket
        self._model_header = model_header

    def request(self) -> UpstreamRequest:
        """The request for an upgrade, without what `websocket` adds. Raises ApiError."""
        call = self.call
        clean = replace(call, request=replace(call.request, query=_without_own(call.request.query)))
        url = with_client_query(realtime_url(call), clean)
        headers: Headers = {"user-agent": USER_AGENT}
        for name in provider(call.provider).forward_headers:
            value = call.request.headers.get(name)
            if value is not None and may_forward(name):
                headers[name] = value
        protocols = offered_protocols(call.request)
        if protocols:
            headers[_PROTOCOL] = ", ".join(protocols)
        self.upstream = UpstreamRequest("GET", url, dict(headers))
        return UpstreamRequest("GET", url, headers)

    def accepted(self, headers: Headers) -> Headers:
        """What the client gets to see of the provider's agreement, besides the handshake itself."""
        return self._headers(headers)

    def response(self, status: int, headers: Headers, body: bytes) -> ClientResponse:
        """A refusal of the provider's, with its status: its own error object, or one made of it."""
        body = self.received = redact(body, self.call)
        if status >= 400 and _is_error_object(body):
            answer = ClientResponse(status, self._headers(headers), body)
            answer.headers["content-type"] = JSON_TYPE
            return answer
        if status < 400:
            return self.error(
                ApiError(
                    502,
                    f"{self.call.provider} answered the request for a WebSocket with {status}",
                    code="upstream_no_websocket",
                ),
                headers,
            )
        return self.error(
            ApiError(status, f"{self.call.provider} refused the session ({status})", code="upstream_refused"),
            headers,
        )

    def error(self, error: ApiError, headers: Headers | None = None) -> ClientResponse:
        """An error in the client's format."""
        self.refused = error
        answer = error_response(self._ticket, error)
        return ClientResponse(
            answer.status,
            {**self._headers(headers or {}), **answer_headers(error.headers), "content-type": JSON_TYPE},
            answer.body,
        )

    def _headers(self, headers: Headers) -> Headers:
        kept = answer_headers(headers)
        if self._model_header and self.call.model:
            name = f"{self.call.provider}/{self.call.model}"
            kept[MODEL_HEADER] = name if name.isascii() and name.isprintable() else self.call.provider
        return kept


def offered_protocols(request: ClientRequest) -> list[str]:
    """The subprotocols that a client offers and a provider may see: all but its key."""
    offered = [part.strip() for part in request.headers.get(_PROTOCOL, "").split(",")]
    return [name for name in offered if name and not name.startswith(_KEY_PROTOCOL)]


def _take_key(request: ClientRequest) -> None:
    """A browser's key, as the header that it could not set: a credential of the client's own like any."""
    for part in request.headers.get(_PROTOCOL, "").split(","):
        name = part.strip()
        if name.startswith(_KEY_PROTOCOL) and "authorization" not in request.headers:
            request.headers["authorization"] = _BEARER + name.removeprefix(_KEY_PROTOCOL)


def _without_own(query: str) -> str:
    return "&".join(pair for pair in query.split("&") if pair.partition("=")[0] not in _OWN_PARAMETERS)


def _is_error_object(body: bytes) -> bool:
    try:
        parsed = loads(body)
    except (JSONDecodeError, RecursionError):
        return False
    return isinstance(parsed, dict) and isinstance(parsed.get("error"), dict)
