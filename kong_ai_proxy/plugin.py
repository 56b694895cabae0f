"""The two plugins: what runs in Kong's phases.

A phase does as little as it can, for each PDK call is a round trip to Kong: `access` files a ticket and sends
the request to the relay, which does all else; `response` (only where Kong buffers the answer) hands the log
record over; `log` sees to it that no ticket is left. By then the logging plugins have written: Kong runs it
in a timer. `kong-ai-proxy dump --lean` leaves it out, for who wants the last requests a second.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from .accounting.encoding import CUT
from .balancer.semantic import Semantic
from .config.models import AclMatch, Target
from .core.errors import ApiError
from .core.json import Json, JSONDecodeError, dumps_text, loads
from .exchange.exchange import error_in
from .exchange.instance import ADVANCED, PROXY, Instance
from .exchange.realtime import serves_realtime
from .exchange.tickets import TICKET_HEADER, Ticket, TicketStore
from .log import configured_secrets, get_logger, secrets
from .server.address import RelayAddress
from .server.pdk import Kong, PdkError

log = get_logger("plugin")

PHASES = ("access", "response", "log")

ANNOUNCED = "kong_ai"
"""The key in `kong.ctx.shared` under which the usage filter announces itself. Asking for it may take the
request over, see the filter's `access`."""
FILTER_VERSION = 2
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,64}")
RECORD = "ai.proxy"

_SERVICE_TTL = 5.0
"""Seconds for which a route's service is taken to be the same; only without the usage filter, which tells it.
"""
_LEFT_BEHIND = 1.0
"""Seconds after which a ticket nobody redeemed is worth a look in `log`."""
_LONGEST_PAYLOAD = 256 * 1024
"""Characters of a logged payload. Kong's Lua reads what comes over the RPC in quadratic time, and its worker
does nothing else meanwhile: a megabyte took 26 ms, four took 274."""

_SESSION_MARGIN = 60_000
"""Milliseconds for opening a session, and for its end to arrive."""
_KONG_TIMEOUT = 60_000
_LONGEST_TIMEOUT = 2**31 - 2
"""Milliseconds; what Kong takes at most."""

_UNBUFFERED_ROUTES = frozenset(
    {"audio/v1/audio/speech", "llm/v1/files", "realtime/v1/realtime", "video/v1/videos/generations"}
)
"""Their answers are binary, endless or of any size: Kong must not gather them."""
_NEVER_STREAMED = frozenset({"audio/v1/audio/translations"})
"""OpenAI has no streams of them: https://platform.openai.com/docs/api-reference/audio/createTranslation."""
_FORM_ROUTES = frozenset({"audio/v1/audio/transcriptions", "image/v1/images/edits"})
_LONGEST_FORM = 64 * 1024
"""Bytes of a form that `access` reads to find `stream` in it."""

_STREAM_PATH = re.compile(r":streamGenerateContent|:streamRawPredict|/converse-stream|/generate_stream|"
                          r"-with-response-stream|/retrieveAndGenerateStream")  # fmt: skip
"""Native formats that ask for a stream by the path (native-formats of Gemini, Vertex, Bedrock, Hugging Face).
"""
_PATH_DECIDES = frozenset({"gemini", "bedrock"})
_PATH_MAY_DECIDE = _PATH_DECIDES | {"huggingface"}

_JSON_OBJECT = re.compile(rb"\s*\{")
_FORM_STREAM = re.compile(rb'name="stream"[^\r\n]*\r?\n(?:[^\r\n]+\r?\n)*\r?\n\s*(?:true|1)\b', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Context:
    """What the plugins share with the rest of the process."""

    tickets: TicketStore
    relay: RelayAddress
    clock: Callable[[], float] = time.monotonic
    prepare: Callable[[Sequence[Target]], None] | None = None
    """Told the targets of a new instance, to get ready for them. Must return at once."""
    book: Book | None = None
    """Told which instances there are. Must return at once."""


@runtime_checkable
class Book(Protocol):
    """Knows the instances, for other processes that carry their requests."""

    def opened(self, instance: Instance) -> None:
        """Tickets for it may be filed from now on."""
        ...

    def closed(self, instance: Instance) -> None:
        """No further ones will."""
        ...


class _Plugin:
    """One instance of either plugin."""

    name: ClassVar[str]

    def __init__(self, config: Json, context: Context) -> None:
        """Raises ValueError naming the field that is wrong."""
        self.instance = Instance.from_config(self.name, config)
        if context.prepare is not None:
            context.prepare(self.instance.credentials)
        self._book = context.book
        self._tickets = context.tickets
        self._relay = context.relay
        self._clock = context.clock
        self._wants_captures = "$(uri_captures" in dumps_text(config)
        self._wants_consumer = bool(_acl_types(self.instance) & {"consumer", "consumer_group"})
        self._wants_groups = "consumer_group" in _acl_types(self.instance)
        self._wants_path = "path" in _acl_types(self.instance)
        self._wants_headers = _acl_headers(self.instance)
        self._logs_payloads = any(target.logging.log_payloads for target in self.instance.targets)
        routes = {target.route_type for target in self.instance.targets}
        self._never_buffered = self.instance.response_streaming == "always" or routes <= _UNBUFFERED_ROUTES
        self._never_streamed = routes <= _NEVER_STREAMED
        self._takes_forms = bool(routes & _FORM_ROUTES)
        self._longest_ms = _longest_ms(self.instance)
        self._one_service = "route_id" in config or "service_id" in config
        self._service: Any = None
        self._service_seen = float("-inf")
        self._missing_said = False
        self._match_by_meaning()
        if self._book is not None:
            self._book.opened(self.instance)

    def close(self) -> None:
        """The instance is used no longer, but for the tickets that were filed."""
        if self._book is not None:
            self._book.closed(self.instance)

    def access(self, kong: Kong) -> None:
        """File a ticket and send the request to the relay with it."""
        for reference in self.instance.rotation.due():
            self._renew(kong, reference)
        announced = kong.ctx.shared.get(ANNOUNCED)
        if not isinstance(announced, dict) or announced.get("v") != FILTER_VERSION:
            self._say_filter_missing(outdated=isinstance(announced, dict))
            announced = None
        buffered = (announced is None or self._logs_payloads) and not self._streams(kong)
        ticket = Ticket(
            instance=self.instance,
            filter_installed=announced is not None,
            buffered=buffered,
            captures=self._captures(kong, announced) if self._wants_captures else {},
            unclaimed=announced is not None and announced.get("claims") is False,
        )
        if self._wants_consumer or (announced is not None and announced.get("claims") is True):
            ticket.consumer = _table(kong.client.get_consumer())
            if self._wants_groups:
                ticket.consumer_groups = _group_names(kong.client.get_consumer_groups())
        if self._wants_path:
            path = kong.request.get_path()
            ticket.path = path if isinstance(path, str) else None
        if self._wants_headers:
            found = {name: kong.request.get_header(name) for name in self._wants_headers}
            ticket.headers = {name: value for name, value in found.items() if isinstance(value, str)}
        given = announced.get("ticket") if announced is not None else None
        if not isinstance(given, str) or not _TOKEN.fullmatch(given):
            given = None
        taken = given is not None and announced is not None and announced.get("taken") is True
        token = self._tickets.file(ticket, given)
        try:
            if not taken:
                # Replaces whatever a client may have sent under that name.
                kong.service.request.set_headers({TICKET_HEADER: token})
            if buffered is taken:
                kong.nginx.set_ctx("buffered_proxying", buffered)
            self._lead_to_relay(kong, announced)
        except BaseException:
            self._tickets.redeem(token)  # the request goes nowhere
            raise

    def response(self, kong: Kong) -> None:
        """Write the log record of a buffered answer. What fails here must not cost the client the answer."""
        try:
            token = kong.request.get_header(TICKET_HEADER)
            record = self._tickets.collect(token) if isinstance(token, str) else None
            if record:
                kong.log.set_serialize_value(RECORD, _bounded(record))
        except Exception:
            log.exception("record_not_written", plugin_id=self.instance.plugin_id)

    def log(self, kong: Kong) -> None:
        """Forget a ticket that nobody redeemed: another plugin answered, or the relay was not reached."""
        if self._tickets.oldest_age() < _LEFT_BEHIND:
            return
        token = kong.request.get_header(TICKET_HEADER)
        if isinstance(token, str) and self._tickets.redeem(token) is not None:
            log.info("ticket_not_redeemed", plugin=self.name, plugin_id=self.instance.plugin_id)

    def _match_by_meaning(self) -> None:
        """Give semantic balancing what it does I/O with; the descriptions are embedded in the background."""
        config, balancer = self.instance.semantic, self.instance.balancer
        algorithm = getattr(balancer, "algorithm", None)
        if config is not None and isinstance(algorithm, Semantic):
            from .semantic import attach

            attach(algorithm, config)

    def error_body(self, error: ApiError) -> str:
        """As this instance's clients know errors, for what goes wrong in a phase."""
        return error_in(self.instance.llm_format, error).body.decode()

    def _renew(self, kong: Kong, reference: str) -> None:
        """Have Kong resolve a vault reference whose secret a provider refused."""
        try:
            value = kong.vault.get(reference)
        except PdkError as error:
            log.warning("vault_reference_not_resolved", plugin_id=self.instance.plugin_id, reason=str(error))
            return
        if isinstance(value, str) and value:
            secrets.add(configured_secrets({"secret": value}))
            if self.instance.rotation.renew(reference, value):
                log.info("credential_renewed", plugin_id=self.instance.plugin_id, reference=reference)

    def _streams(self, kong: Kong) -> bool:
        """Whether the answer will be a stream (or may not be gathered for another reason)."""
        if self._never_buffered:
            return True
        if self.instance.response_streaming == "deny" or self._never_streamed:
            return False
        if self.instance.llm_format in _PATH_MAY_DECIDE:
            path = kong.request.get_path()
            if isinstance(path, str) and _STREAM_PATH.search(path):
                return True
            if self.instance.llm_format in _PATH_DECIDES:
                return False
        if self._takes_forms and not _is_short(kong.request.get_header("content-length")):
            # A recording or an image has no place on the RPC. Without a look into the form its answer is
            # gathered, so that the usage is in Kong's record; a stream of it comes all at once then.
            return False
        # 0: of any size. With a limit Kong's codec breaks on a body that is larger.
        return asks_for_stream(kong.request.get_raw_body(0))

    def _captures(self, kong: Kong, announced: Json | None) -> dict[str, str]:
        if announced is not None and "captures" in announced:
            named = announced["captures"]
        else:
            named = _table(kong.request.get_uri_captures()).get("named")
        return {str(name): value for name, value in _table(named).items() if isinstance(value, str)}

    def _lead_to_relay(self, kong: Kong, announced: Json | None) -> None:
        service = announced.get("service") if announced is not None else self._service_of(kong)
        if not isinstance(service, dict):
            return  # without a service Kong answers 503 itself
        patience = service.get("read_timeout")
        if isinstance(patience, int) and patience < self._longest_ms:
            # Kong's own time-out (60 s unless configured) would end what the plugin's allows.
            connect, write = (service.get(f"{name}_timeout") for name in ("connect", "write"))
            kong.service.set_timeouts(_ms(connect), _ms(write), self._longest_ms)
        if self._relay.leads_here(service):
            return
        kong.service.set_target(self._relay.target(service.get("host")), self._relay.port)
        if service.get("protocol") not in ("http", "ws"):
            kong.service.request.set_scheme("http")

    def _service_of(self, kong: Kong) -> Any:
        now = self._clock()
        if not self._one_service or now - self._service_seen > _SERVICE_TTL:
            self._service = kong.router.get_service()
            self._service_seen = now
        return self._service

    def _say_filter_missing(self, *, outdated: bool) -> None:
        if not self._missing_said:
            self._missing_said = True
            log.warning(
                "usage_filter_outdated" if outdated else "usage_filter_missing",
                plugin=self.name,
                plugin_id=self.instance.plugin_id,
                effect="plain answers are buffered by Kong; usage of streams is logged here, not by Kong",
                hint=("replace it by" if outdated else "add")
                + " what `kong-ai-proxy usage-filter` prints, to this route, service or to all",
            )


class AIProxy(_Plugin):
    """ai-proxy: one target."""

    name = PROXY


class AIProxyAdvanced(_Plugin):
    """ai-proxy-advanced: several targets, balanced."""

    name = ADVANCED


PLUGINS: dict[str, type[_Plugin]] = {cls.name: cls for cls in (AIProxy, AIProxyAdvanced)}


def _is_short(length: object) -> bool:
    """Whether a form's content-length says that it can be read over the RPC. One of unknown length cannot."""
    if not isinstance(length, str) or not length.isascii() or not length.isdigit():
        return False
    return int(length[:19]) <= _LONGEST_FORM


def asks_for_stream(body: object) -> bool:
    """Whether a request body, JSON or a form, asks for a streamed answer. Parses only where it may."""
    if isinstance(body, str):
        body = body.encode("utf-8", "surrogateescape")
    if not isinstance(body, bytes) or b'"stream' not in body:
        return False
    if not _JSON_OBJECT.match(body):
        return _FORM_STREAM.search(body) is not None
    try:
        asked = loads(body)
    except JSONDecodeError:
        return False
    return asked.get("stream") not in (None, False) or asked.get("stream_format") == "sse"


def _longest_ms(instance: Instance) -> int:
    """Milliseconds Kong may have to wait for the relay's next byte: each attempt may take its time to
    connect, and to answer where a request that was sent may be sent again."""
    timeouts, attempts = instance.timeouts, instance.retries + 1
    if attempts == 1:
        seconds = timeouts.read
    else:
        answers = attempts if "non_idempotent" in instance.failover_criteria else 1
        seconds = timeouts.connect * attempts + timeouts.read * answers
    longest = int(seconds * 1000)
    if serves_realtime(instance):
        # The session's own limit shall come first; Kong's would end it without a word.
        longest = max(longest, getattr(instance.extensions, "realtime_idle_timeout", 0) + _SESSION_MARGIN)
    return min(longest, _LONGEST_TIMEOUT)


def _ms(value: object) -> int:
    """A service's time-out, Kong's default where it tells none."""
    return value if isinstance(value, int) and value > 0 else _KONG_TIMEOUT


def _acl_matches(instance: Instance) -> list[AclMatch]:
    acls = instance.acls
    rules = [*(acls.allow or ()), *(acls.deny or ())] if acls is not None else []
    return [match for rule in rules for match in rule.match]


def _acl_types(instance: Instance) -> set[str]:
    """What kinds of things the instance's access rules match."""
    return {match.type for match in _acl_matches(instance)}


def _acl_headers(instance: Instance) -> list[str]:
    """The headers that they match."""
    return sorted({(m.key or "").lower() for m in _acl_matches(instance) if m.type == "header" and m.key})


def _bounded(record: Json) -> Json:
    """The record with payloads of a length Kong can take over the RPC."""
    payload = record.get("payload")
    if not isinstance(payload, dict) or all(len(text) <= _LONGEST_PAYLOAD for text in payload.values()):
        return record
    cut = {
        name: text if len(text) <= _LONGEST_PAYLOAD else text[:_LONGEST_PAYLOAD] + CUT
        for name, text in payload.items()
    }
    return {**record, "payload": cut}


def _table(value: Any) -> Json:
    """A Lua table with names: an empty one arrives as a list."""
    return value if isinstance(value, dict) else {}


def _group_names(groups: Any) -> list[str]:
    """Names and ids of consumer groups as Kong Enterprise's PDK lists them; nothing elsewhere."""
    if isinstance(groups, dict):
        groups = list(groups.values())
    names: list[str] = []
    for group in groups if isinstance(groups, list) else ():
        if isinstance(group, str):
            names.append(group)
        else:
            names += [v for key in ("name", "id") if isinstance(v := _table(group).get(key), str)]
    return names
