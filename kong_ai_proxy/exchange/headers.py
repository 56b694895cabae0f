"""Which headers and query parameters cross the gateway. Both ways by allow-list."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, unquote_plus

from ..core.call import Call
from ..core.http import Headers, Url
from ..providers.base import Provider
from ..providers.native import serves

USER_AGENT: Final = "kong-ai-proxy"

JUDGING: Final = "x-kong-ai-judging"
"""On a judge's question, and on all that is sent on because of it: nobody judges its answer. Without, a judge
whose URL leads to a judged route, through however many, would have its own answers judged for ever."""

NEVER_FORWARDED: Final = frozenset({
    "accept-encoding", "api-key", "authorization", "connection", "content-encoding", "content-length",
    "cookie", "expect", "forwarded", "host", "keep-alive", "proxy-authenticate", "proxy-authorization",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "via", "x-api-key",
    "x-goog-api-key", "x-real-ip",
})  # fmt: skip
"""Not even where a provider lists them: credentials are `auth`'s, the rest belongs to a connection."""
_NEVER_PREFIXES: Final = ("x-kong-", "x-consumer-", "x-credential-", "x-forwarded-", "x-anonymous-", "x-amz-")

CREDENTIAL_PARAMETERS: Final = frozenset({
    "key", "api-key", "api_key", "apikey", "access_token", "oauth_token", "bearer_token", "token",
    "x-api-key", "subscription-key",
})  # fmt: skip
"""Query parameters that carry a client's credential, towards the gateway or towards a provider."""

_GOOGLES: Final = frozenset({"callback", "quotauser", "userip"})
_PART: Final = "fields"
"""Google's system parameters, beside those that begin with "$": whom a request counts for, and an answer in
another form or in part, without its usage (https://cloud.google.com/apis/docs/system-parameters)."""

_ANSWER_HEADERS: Final = frozenset({
    "apim-request-id", "azureml-model-session", "cf-ray", "openai-model", "openai-processing-ms",
    "openai-version", "request-id", "retry-after", "retry-after-ms", "x-amzn-errortype", "x-amzn-requestid",
    "x-cloud-trace-context", "x-correlation-id", "x-mistral-correlation-id", "x-ms-client-request-id",
    "x-ms-rai-invoked", "x-ms-region", "x-ms-request-id", "x-request-id", "x-should-retry",
})  # fmt: skip
_ANSWER_PREFIXES: Final = (
    "anthropic-ratelimit-",
    "ratelimit-",
    "x-amzn-bedrock-",
    "x-compute-",
    "x-ratelimit-",
)


def provider_headers(provider: Provider, call: Call) -> Headers:
    """The request's headers towards a provider, without credentials; made anew for every attempt."""
    headers: Headers = {
        "content-type": "application/json",
        "accept": "text/event-stream" if call.stream else "application/json",
        "accept-encoding": "identity",
        **agent_headers(call),
    }
    sent = call.request.headers
    for name in provider.forward_headers:
        value = sent.get(name)
        if value is not None and may_forward(name):
            headers[name] = value
    headers.update(provider.headers(call))
    if JUDGING in sent:
        headers[JUDGING] = "1"
    return headers


_CLIENTS_OWN: Final = ("user-agent", "x-app")


def agent_headers(call: Call) -> Headers:
    """Who asks: the gateway; but the client, with its name and its app's, where its own credential goes along
    to its own provider. Subscriptions are for certain programs, and their providers look at that."""
    auth = call.target.auth
    configured = any(
        (
            auth.header_name, auth.param_name, auth.gcp_use_service_account, auth.azure_use_managed_identity,
            auth.azure_client_secret, call.provider == "bedrock",
        )
    )  # fmt: skip
    own = auth.allow_override or not configured
    if not own or not serves(call.target, call.client_format):
        return {"user-agent": USER_AGENT}
    sent = call.request.headers
    return {"user-agent": USER_AGENT, **{name: sent[name] for name in _CLIENTS_OWN if name in sent}}


def may_forward(name: str) -> bool:
    """Whether a client's header of this (lower-case) name may ever reach a provider."""
    return name not in NEVER_FORWARDED and not name.startswith(_NEVER_PREFIXES)


def answer_headers(headers: Headers) -> Headers:
    """What a client gets to see of a provider's answer headers: request ids, rate limits, when to retry."""
    return {
        name: value
        for name, value in headers.items()
        if name in _ANSWER_HEADERS or name.startswith(_ANSWER_PREFIXES)
    }


def with_client_query(url: Url, call: Call) -> Url:
    """The provider's URL with the client's query parameters behind its own, as Kong forwards them.

    What the provider's URL says itself wins, and no credential goes along.
    """
    query = call.request.query
    if not query:
        return url
    own = {_name(pair) for pair in url.query.split("&")} if url.query else set()
    if call.client_format == "gemini" and call.native is not None and call.native.api.translated:
        own.add("alt")  # how the stream is framed: the provider's URL says it, or it has no meaning there
    if call.provider == "gemini":
        own |= _googles_own(query, call)
    auth_parameter = (call.target.auth.param_name or "").lower()
    kept = []
    for pair in query.split("&"):
        name = _name(pair)
        if (
            name
            and name not in own
            and name.lower() not in CREDENTIAL_PARAMETERS
            and name.lower() != auth_parameter
        ):
            kept.append(_clean(pair))
    if not kept:
        return url
    joined = "&".join([url.query, *kept] if url.query else kept)
    return Url(url.scheme, url.host, url.port, url.path, joined)


def _googles_own(query: str, call: Call) -> set[str]:
    """The names in a query that only the gateway may use. Where nothing is counted, a part will do."""
    metered = call.native is None or call.native.api.metered or call.native.api.translated
    found = set()
    for pair in query.split("&"):
        name = _name(pair)
        plain = name.lower()
        if plain.startswith("$") or plain in _GOOGLES or (metered and plain == _PART):
            found.add(name)
    return found


def _name(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0])


def _clean(pair: str) -> str:
    """As the client sent it, but nothing that could end a request line early."""
    if pair.isascii() and pair.isprintable() and " " not in pair and "#" not in pair:
        return pair
    try:
        raw = pair.encode("latin-1")
    except UnicodeEncodeError:
        raw = pair.encode("utf-8", "replace")
    return quote(raw, safe="=%+-._~!$'()*,;:@/?")
