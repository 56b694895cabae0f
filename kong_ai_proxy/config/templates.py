"""Templates in `model.name` and in the texts of `model.options`: `$(headers.x)`, `$(uri_captures.x)`,
`$(query_params.x)`.

What a template brings comes from the client, so it is checked for the place it goes to: no control characters
anywhere, only a host's characters where a host name is built, no way out of a URL's path. Otherwise a client
could send the operator's credentials to a host of its own choice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast
from urllib.parse import parse_qsl, quote

from ..core.errors import BadRequest
from .models import AdvancedConfig, Model, Options, ProxyConfig, Record, Target
from .rules import is_url
from .spec import fields_of

Source = Literal["headers", "uri_captures", "query_params"]

_TEMPLATE: Final = re.compile(r"\$\((headers|uri_captures|query_params)\.([^)]+)\)")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""And bytes that are no UTF-8, as they come over the RPC: nothing could be sent with them."""
_CHOOSE_HOST: Final = ("gemini.api_endpoint", "upstream_url", "bedrock.aws_sts_endpoint_url")
_HOST_LABELS: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_AUTHORITY: Final = re.compile(r"[a-z]+://[^/?#]*")
_PATH_SAFE: Final = "/:@!$'()*,;=-._~"

_HOST_OPTIONS: Final = {
    ("azure_instance",),
    ("bedrock", "aws_region"),
    ("databricks", "workspace_instance_id"),
    ("gemini", "api_endpoint"),
    ("gemini", "location_id"),
}
"""Options that become part of a host name."""
_URL_OPTIONS: Final = {("upstream_url",), ("bedrock", "aws_sts_endpoint_url")}
_SEGMENT_OPTIONS: Final = {("azure_deployment_id",), ("gemini", "project_id"), ("gemini", "endpoint_id")}
"""Options that become one segment of a path; providers encode them."""

_KEPT: Final = "_templates"
"""Where a target keeps what is compiled of it."""

Lookup = Callable[[Source, str], str | None]


@dataclass(frozen=True, slots=True)
class Template:
    """A text with templates, taken apart: literals and (source, name) in turn."""

    field: str
    """Path below the target, such as `model.options.azure_instance`, for errors."""
    parts: tuple[str | tuple[Source, str], ...]
    check: Callable[[str, str], str]
    """(what came before, the value) → the value as it may stand there. Raises ValueError."""

    def fill(self, lookup: Lookup) -> str:
        """The text with all values in place. Raises ApiError (400) that names the template."""
        text = ""
        for part in self.parts:
            if isinstance(part, str):
                text += part
                continue
            source, name = part
            value = lookup(source, name)
            if not value:
                raise BadRequest(f"missing value for $({source}.{name}), which {self.field} is made from")
            try:
                text += self.check(text, value)
            except ValueError:
                raise BadRequest(f"value of $({source}.{name}) cannot be used in {self.field}") from None
        if self.check is _url and not is_url(text):
            raise BadRequest(f"{self.field} is no absolute URL with the values of this request")
        return text

    @property
    def sources(self) -> set[Source]:
        return {part[0] for part in self.parts if not isinstance(part, str)}


class Templates:
    """The templates of one target. Compile once, resolve for every request."""

    __slots__ = ("_name", "_options", "_target")

    def __init__(self, target: Target) -> None:
        self._target = target
        name = target.model.name
        self._name = _compile("model.name", name, _plain) if name else None
        self._options = tuple(_option_templates(target.model))

    @property
    def sources(self) -> set[Source]:
        """Where values come from; empty for a target without templates."""
        found: set[Source] = set(self._name.sources) if self._name else set()
        for _, template in self._options:
            found |= template.sources
        return found

    def resolve(
        self, headers: Mapping[str, str], captures: Mapping[str, str], query: str
    ) -> tuple[str, Options]:
        """Model name ("" where none is configured) and options for one request.

        Header names are lower-case in `headers`; `query` is the raw query string. The options are the
        target's own object where they hold no template.
        """
        model = self._target.model
        if self._name is None and not self._options:
            return model.name or "", model.options
        lookup = _lookup(headers, captures, query)
        name = self._name.fill(lookup) if self._name else model.name or ""
        options = model.options
        if self._options:
            options = options.model_copy(update=_updates(options, self._options, lookup))
        return name, options


def templates_of(target: Target) -> Templates:
    """A target's templates, compiled at the first call and kept with it, as a cached property of its own
    would be: what a target says does not change."""
    found: Templates | None = target.__dict__.get(_KEPT)
    if found is None:
        found = target.__dict__[_KEPT] = Templates(target)
    return found


def resolve(
    target: Target, headers: Mapping[str, str], captures: Mapping[str, str], query: str
) -> tuple[str, Options]:
    """`Templates.resolve` of a target. Raises ApiError (400)."""
    return templates_of(target).resolve(headers, captures, query)


def uses(config: ProxyConfig | AdvancedConfig) -> set[Source]:
    """Which sources any template of a configuration needs."""
    found: set[Source] = set()
    for target in config.targets:
        found |= templates_of(target).sources
    return found


def template_texts(model: Model) -> Iterator[tuple[str, str]]:
    """The texts that may hold templates, with their paths below the target."""
    if model.name:
        yield "model.name", model.name
    for path, text in _texts(model.options):
        yield ".".join(("model.options", *path)), text


def clients_choose_host(field: str, text: str) -> bool:
    """Whether an option (`template_texts`) leaves it to requests which domain is called: nothing with a dot
    in it follows the last template of the host's name."""
    if field.removeprefix("model.options.") not in _CHOOSE_HOST:
        return False
    authority = re.split(r"[/?#]", text.partition("://")[2] or text, maxsplit=1)[0]
    *_, last = re.split(_TEMPLATE, authority)
    return last != authority and "." not in last.partition(":")[0].strip(".")


def without_templates(text: str) -> str:
    """The text's own part."""
    return _TEMPLATE.sub("", text)


def _lookup(headers: Mapping[str, str], captures: Mapping[str, str], query: str) -> Lookup:
    parsed: dict[str, str] | None = None

    def lookup(source: Source, name: str) -> str | None:
        nonlocal parsed
        if source == "headers":
            return headers.get(name.lower())
        if source == "uri_captures":
            return captures.get(name)
        if parsed is None:
            # The first of several values, as nginx's $arg_ variables have it.
            parsed = dict(reversed(parse_qsl(query, keep_blank_values=True)))
        return parsed.get(name)

    return lookup


def _updates(
    options: Options, templates: tuple[tuple[tuple[str, ...], Template], ...], lookup: Lookup
) -> dict[str, Any]:
    updates: dict[str, Any] = {}
    for path, template in templates:
        value = template.fill(lookup)
        if len(path) == 1:
            updates[path[0]] = value
        else:
            record = updates.get(path[0]) or getattr(options, path[0])
            updates[path[0]] = record.model_copy(update={path[1]: value})
    return updates


def _option_templates(model: Model) -> Iterator[tuple[tuple[str, ...], Template]]:
    for path, text in _texts(model.options):
        if template := _compile(".".join(("model.options", *path)), text, _check_for(path)):
            yield path, template


def _texts(record: Record, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """The free texts of a record and of the records in it. Those with fixed choices can hold no template."""
    for spec in fields_of(type(record)):
        value = getattr(record, spec.name)
        if isinstance(value, Record):
            yield from _texts(value, (*path, spec.name))
        elif isinstance(value, str) and not spec.choices:
            yield (*path, spec.name), value


def _compile(field: str, text: str, check: Callable[[str, str], str]) -> Template | None:
    parts: list[str | tuple[Source, str]] = []
    end = 0
    for match in _TEMPLATE.finditer(text):
        if match.start() > end:
            parts.append(text[end : match.start()])
        parts.append((cast("Source", match[1]), match[2].strip()))
        end = match.end()
    if not parts:
        return None
    if end < len(text):
        parts.append(text[end:])
    return Template(field, tuple(parts), check)


def _check_for(path: tuple[str, ...]) -> Callable[[str, str], str]:
    if path in _HOST_OPTIONS:
        return _host
    if path in _URL_OPTIONS:
        return _url
    if path in _SEGMENT_OPTIONS:
        return _segment
    if path == ("upstream_path",):
        return _path
    return _plain


def _plain(before: str, value: str) -> str:
    """Anything but control characters: it may become a header's value."""
    if _CONTROL.search(value):
        raise ValueError
    return value


def _host(before: str, value: str) -> str:
    if not _HOST_LABELS.fullmatch(value) or ".." in value:
        raise ValueError
    return value


def _segment(before: str, value: str) -> str:
    if value in (".", "..") or any(char in value for char in "/\\?#"):
        raise ValueError
    return _plain(before, value)


def _path(before: str, value: str) -> str:
    """Part of a URL's path: no dot segments, and what would end the path is encoded."""
    _plain(before, value)
    if any(segment in (".", "..") for segment in re.split(r"[/\\]", value)):
        raise ValueError
    return quote(value, safe=_PATH_SAFE)


def _url(before: str, value: str) -> str:
    """Part of a URL: what it may be depends on how far the URL has come."""
    if not before:
        if not is_url(_plain(before, value)) or "\\" in value or " " in value:
            raise ValueError
        return value
    authority = _AUTHORITY.match(before)
    if authority is None or authority.end() == len(before):
        return _host(before, value)
    if "?" in before:
        return quote(_plain(before, value), safe="")
    return _path(before, value)
