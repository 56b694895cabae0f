"""From what Kong sends (or a file says) to a checked configuration."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from .errors import ConfigError, Problem, format_path
from .models import AdvancedConfig, ProxyConfig, Record
from .rules import broken_rules
from .spec import Spec, fields_of

PLUGINS: Final[dict[str, type[ProxyConfig] | type[AdvancedConfig]]] = {
    "kong-ai-proxy": ProxyConfig,
    "kong-ai-proxy-advanced": AdvancedConfig,
}
"""Both plugins' names and what their `config` is."""

REFERENCES = "$refs"
_KONGS_OWN = frozenset(
    {"consumer_group_id", "consumer_id", "ordering", "plugin_instance_name", "route_id", "service_id"}
)
"""What Kong adds to a plugin's config, beside names in "__" (kong/runloop/plugins_iterator.lua)."""

Path = tuple[str | int, ...]


def parse(plugin: str, config: Any) -> ProxyConfig | AdvancedConfig:
    """The checked configuration of a plugin by its name. Raises ConfigError and nothing else.

    `config` is what Kong gives a plugin server: null fields are missing, an empty record or map may be `[]`,
    an empty array `{}`, integers may be floats. Kong's own additions are dropped, vault references kept on
    the records (`Record.references`).
    """
    model = PLUGINS.get(plugin)
    if model is None:
        raise ConfigError([("", f"unknown plugin; this is about {' and '.join(PLUGINS)}")])
    if config == []:
        config = {}
    if not isinstance(config, dict):
        raise ConfigError([("", "expected a record")])
    cleaner = _Cleaner()
    own = {key: value for key, value in config.items() if not _is_kongs(key)}
    try:
        parsed = model.model_validate(cleaner.record(own, model, ()))
    except ValidationError as error:
        raise ConfigError(_problems(error, model)) from None
    for path, references in cleaner.references:
        _attach(parsed, path, references)
    if problems := broken_rules(parsed):
        raise ConfigError(problems)
    return parsed


def _is_kongs(key: object) -> bool:
    return key in _KONGS_OWN or (isinstance(key, str) and key.startswith("__"))


@dataclass(slots=True)
class _Cleaner:
    """Undoes what Lua and MsgPack do to types, led by the fields' specs. What is wrong stays as it is."""

    references: list[tuple[Path, dict[str, str]]] = field(default_factory=list)

    def record(self, value: Any, model: type[Record], path: Path) -> Any:
        if value == []:
            return {}
        if not isinstance(value, dict):
            return value
        references = _text_pairs(value.get(REFERENCES))
        if references:
            self.references.append((path, references))
        specs = {spec.name: spec for spec in fields_of(model)}
        cleaned: dict[Any, Any] = {}
        for key, item in value.items():
            if item is None or key == REFERENCES:
                continue
            spec = specs.get(key)
            if item == "" and key in references:
                # Kong could not resolve it (now). The credential may come later: keep the instance.
                item = references[key]
            cleaned[key] = self.value(item, spec, (*path, key)) if spec else item
        return cleaned

    def value(self, value: Any, spec: Spec, path: Path) -> Any:
        if spec.record:
            return self.record(value, spec.record, path)
        if spec.kind == "array" and spec.element:
            if value == {}:
                return []
            if isinstance(value, list):
                element = spec.element
                return [self.value(item, element, (*path, index)) for index, item in enumerate(value)]
        elif spec.kind == "object" and value == []:
            return {}
        elif spec.kind == "integer" and isinstance(value, float) and value.is_integer():
            return int(value)
        return value


def _text_pairs(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in value.items() if isinstance(key, str) and isinstance(text, str)}


def _attach(parsed: Record, path: Path, references: dict[str, str]) -> None:
    record: Any = parsed
    for part in path:
        record = record[part] if isinstance(part, int) else getattr(record, part)
    for name, reference in references.items():
        if name in type(record).model_fields:
            record.references[name] = reference
            if getattr(record, name) == reference:
                setattr(record, name, "")


def _problems(error: ValidationError, model: type[Record]) -> Iterator[Problem]:
    for detail in error.errors(include_url=False, include_context=True):
        path: Path = detail["loc"]
        if detail["type"] == "literal_error" and (spec := _spec_at(path, model)) is not None:
            yield format_path(path), _choices(spec.choices, detail["input"])
        else:
            yield format_path(path), _message(detail["type"], detail.get("ctx", {}), path, model)


_TYPE_MESSAGES: Final = {
    "missing": "required field missing",
    "bool_type": "expected a boolean",
    "int_type": "expected an integer",
    "int_from_float": "expected an integer",
    "int_parsing_size": "number too large",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "string_type": "expected a string",
    "string_unicode": "expected valid Unicode text",
    "list_type": "expected an array",
    "dict_type": "expected a map",
    "model_type": "expected a record",
    "model_attributes_type": "expected a record",
    "invalid_key": "field names are strings",
    "string_too_short": "must not be empty",
}
"""Our words for pydantic's error types; none of them quotes a value."""


def _message(kind: str, context: dict[str, Any], path: Path, model: type[Record]) -> str:
    if kind == "extra_forbidden":
        return "unknown field" + _suggestion(path, model)
    if kind == "literal_error":
        return "not an allowed value"
    if kind in ("greater_than_equal", "less_than_equal"):
        return _range(path, model, context)
    if kind == "too_short":
        return f"needs at least {context.get('min_length', 1)} entry"
    return _TYPE_MESSAGES.get(kind, "not a valid value")


def _choices(choices: Sequence[str], given: Any) -> str:
    """What is allowed, and which of it was probably meant; what was given is not quoted."""
    text = given.lower() if isinstance(given, str) else ""
    near = difflib.get_close_matches(text, choices, n=1, cutoff=0.75)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"expected one of: {', '.join(choices)}{meant}"


def _range(path: Path, model: type[Record], context: dict[str, Any]) -> str:
    spec = _spec_at(path, model)
    if spec and spec.minimum is not None and spec.maximum is not None:
        return f"value should be between {spec.minimum} and {spec.maximum}"
    return f"value should be at least {context['ge']}" if "ge" in context else "value is too large"


def _suggestion(path: Path, model: type[Record]) -> str:
    """Which field was probably meant: a near name here, or the place where this name belongs."""
    *parents, name = path
    if not isinstance(name, str):
        return ""
    spec = _spec_at(tuple(parents), model) if parents else None
    record = spec.record if spec else (None if parents else model)
    names = [known.name for known in fields_of(record)] if record else []
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
    return f" (did you mean {near[0]}?)" if near else ""


def _spec_at(path: Path, model: type[Record]) -> Spec | None:
    """The spec of the field (or array element) at a path."""
    record: type[Record] | None = model
    spec: Spec | None = None
    for part in path:
        if isinstance(part, int):
            spec = spec.element if spec else None
        else:
            known = fields_of(record) if record else ()
            spec = next((spec for spec in known if spec.name == part), None)
        if spec is None:
            return None
        record = spec.record
    return spec
