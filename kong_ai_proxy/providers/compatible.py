"""What providers with an OpenAI-compatible API have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final
from urllib.parse import quote

from ..core.call import Call
from ..core.errors import ApiError, BadRequest
from ..core.http import Url, leads_elsewhere
from ..formats.base import Adapter, Observer
from ..formats.openai.adapter import openai_adapter
from ..formats.openai.dialect import Dialect
from ..formats.openai.observer import openai_observer
from ..formats.steps import Step
from .base import Provider

INVALID_CONFIGURATION: Final = "invalid_configuration"
"""The `code` of errors that only who configures the plugin can mend."""
_WEB: Final = (("https", 443), ("http", 80))


class CompatibleProvider(Provider):
    """A provider that speaks OpenAI's form: an address, a path for each operation, and a dialect."""

    base_url: ClassVar[str]
    """Scheme and host, for when no `upstream_url` is configured."""
    paths: ClassVar[Mapping[str, str]]
    dialect: ClassVar[Dialect]
    passes_through: ClassVar[bool] = False
    """Its answers need no repair: a client that speaks OpenAI's form gets the provider's bytes."""

    def adapter(self, call: Call) -> Adapter:
        return openai_adapter(call.operation, self.dialect_for(call))

    def step_errors(self, call: Call) -> Adapter | None:
        return openai_adapter("chat", self.dialect_for(call))

    def observer(self, call: Call) -> Observer | None:
        return openai_observer(self.dialect_for(call)) if self.passes_through else None

    def dialect_for(self, call: Call) -> Dialect:
        """The dialect that this call is made in."""
        return self.dialect

    def url(self, call: Call) -> Url:
        options = call.options
        if options.upstream_url:
            return self.collected(upstream_url(options.upstream_url), call)
        url = Url.parse(self.base(call))
        url.path = options.upstream_path or self.paths[call.operation]
        return self.collected(with_path(url, url.path), call)

    def collected(self, url: Url, call: Call) -> Url:
        """A collection's address (".../files"), and behind it what a REST request is for ("/file-1/content").

        Where the address is a server's alone, with the collection's path.
        """
        rest = call.rest
        if rest is None or not rest.resource:
            return url
        path = url.path.rstrip("/") or self.paths[call.operation]
        head, _, last = path.rpartition("/")
        if last != rest.resource and last == self.paths[call.operation].rpartition("/")[2]:
            path = f"{head}/{rest.resource}"
        return Url(url.scheme, url.host, url.port, path + rest.rest, url.query)

    def base(self, call: Call) -> str:
        """Scheme and host. Raises ApiError where configuration that names them is missing."""
        return self.base_url


def upstream_url(configured: str) -> Url:
    """`options.upstream_url`. ApiError 500 if it is not an absolute http(s) URL."""
    try:
        return Url.parse(configured)
    except ValueError:
        raise ApiError(
            500, "model.options.upstream_url is not an absolute URL", code=INVALID_CONFIGURATION
        ) from None


def upstream_base(configured: str, path: str) -> Url:
    """`upstream_url` where it may be a server's address alone: with the operation's path where it has none.

    A path that is `/v1` alone counts as part of the address.
    """
    url = upstream_url(configured)
    own = url.path.rstrip("/")
    if own == "":
        return with_path(url, path)
    if own == "/v1" and path.startswith("/v1/"):
        return with_path(url, path)
    return url


def with_path(url: Url, path: str) -> Url:
    """The URL with a configured path, which may bring a query of its own."""
    path, _, query = path.partition("?")
    return Url(url.scheme, url.host, url.port, "/" + path.lstrip("/"), query or url.query)


def own_url(absolute: str, base: Url) -> Url:
    """An address that a provider's answer named, where it is at the same host. ApiError (502) for any other:
    neither the key nor a request of ours goes to whoever is named."""
    try:
        url = Url.parse(absolute)
    except ValueError:
        url = None
    if url is None or (url.scheme, url.host, url.port) != (base.scheme, base.host, base.port):
        raise ApiError(502, "the provider's answer leads to another host", code="upstream_redirect")
    return url


def file_url(step: Step, base: Url, ending: str) -> Url:
    """The address of a finished file that a provider's answer named: at the provider's host, or at one that
    ends with `ending` (".x.ai") and is asked without the key. ApiError (502) for any other.

    Always by TLS at such another host, also where the answer says http, as DashScope's documentation has it
    in places: object storage serves both, and the signature in the query is not of the scheme
    (https://www.alibabacloud.com/help/en/oss/developer-reference/ddd-signatures-to-urls)."""
    try:
        url = Url.parse(step.path)
    except ValueError:
        url = None
    if url is not None and (url.scheme, url.host, url.port) == (base.scheme, base.host, base.port):
        return url
    foreign = url is None or (url.scheme, url.port) not in _WEB or not url.host.endswith(ending)
    if url is None or foreign or step.credentials:
        raise ApiError(502, "the provider's answer leads to another's host", code="upstream_redirect")
    return Url("https", url.host, 443, url.path, url.query)


def is_absolute(path: str) -> bool:
    """Whether a step's path is an address of its own."""
    return path.startswith(("https://", "http://"))


def path_segment(value: str, what: str) -> str:
    """A model, deployment or id as one segment of a path. BadRequest for what would lead elsewhere."""
    if leads_elsewhere(value):
        raise BadRequest(f"invalid {what}", param="model")
    return quote(value, safe="")


def missing(field: str, provider: str) -> ApiError:
    """What a provider says when its configuration lacks a field it cannot do without."""
    return ApiError(
        500, f"model.options.{field} must be set for provider {provider}", code=INVALID_CONFIGURATION
    )
