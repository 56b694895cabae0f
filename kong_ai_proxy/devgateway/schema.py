"""Checks a plugin's configuration by its Kong schema, as Kong does before it takes one
(kong/db/schema/init.lua, 3.9.3).

As much of the schema language as ours uses: types, required, one_of, between, len_min, match_any, and the
entity checks
`mutually_required`, `at_least_one_of`, `conditional` and `conditional_at_least_one_of`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from ..core.json import Json

Problem = tuple[str, str]
"""A field's dotted path ("" is the whole), and what is wrong."""

_REFERENCE: Final = re.compile(r"^\{vault://.*\}$")
_REQUIRED: Final = "required field missing"
_TYPES: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "string": (lambda value: isinstance(value, str), "expected a string"),
    "boolean": (lambda value: isinstance(value, bool), "expected a boolean"),
    "integer": (
        lambda value: (
            not isinstance(value, bool)
            and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
        ),
        "expected an integer",
    ),
    "number": (
        lambda value: isinstance(value, int | float) and not isinstance(value, bool),
        "expected a number",
    ),
    "array": (lambda value: isinstance(value, list), "expected an array"),
    "record": (lambda value: isinstance(value, dict), "expected a record"),
}


def problems(schema: Json, config: Json) -> list[Problem]:
    """What Kong would refuse in a plugin's `config`, which has its defaults already."""
    for entry in schema.get("fields") or []:
        if "config" in entry:
            return list(_value(entry["config"], config, ""))
    return []


def _value(definition: Json, value: Any, path: str) -> Iterator[Problem]:
    if value is None:
        if definition.get("required"):
            yield path, _REQUIRED
        return
    if definition.get("referenceable") and isinstance(value, str) and _REFERENCE.match(value):
        return
    fits, said = _TYPES.get(definition.get("type", ""), (None, ""))
    if fits is not None and not fits(value):
        yield path, said
        return
    message = _wrong(definition, value)
    if message:
        yield path, message
    elif definition.get("type") == "record":
        yield from _record(definition, value, path)
    elif definition.get("type") == "array":
        for number, item in enumerate(value, start=1):
            yield from _value(definition.get("elements") or {}, item, f"{path}[{number}]")


def _record(definition: Json, value: Json, path: str) -> Iterator[Problem]:
    fields = {name: field for entry in definition.get("fields") or [] for name, field in entry.items()}
    for name in value:
        if name not in fields:
            yield _below(path, str(name)), "unknown field"
    found = [
        problem
        for name, field in fields.items()
        for problem in _value(field, value.get(name), _below(path, name))
    ]
    yield from found
    broken = {place for place, _ in found}
    for check in definition.get("entity_checks") or []:
        for kind, argument in check.items():
            yield from _CHECKS[kind](argument, value, path, broken)


def _wrong(definition: Json, value: Any) -> str | None:
    """By the validators of a field."""
    if value == "" and definition.get("type") == "string":
        return "length must be at least 1"
    if "eq" in definition and value != definition["eq"]:
        return f"value must be {definition['eq']}"
    if "ne" in definition and value == definition["ne"]:
        return f"value must not be {definition['ne']}"
    choices = definition.get("one_of")
    if choices and value not in choices:
        return f"expected one of: {', '.join(str(choice) for choice in choices)}"
    between = definition.get("between")
    if between and not between[0] <= value <= between[1]:
        return f"value should be between {between[0]} and {between[1]}"
    if "len_min" in definition and len(value) < definition["len_min"]:
        return f"length must be at least {definition['len_min']}"
    wanted = definition.get("match_any")
    if wanted and not any(re.search(_regex(pattern), value) for pattern in wanted["patterns"]):
        return str(wanted.get("err") or "invalid value")
    return None


def _regex(pattern: str) -> str:
    """A Lua pattern of the plain kind that our schemas have, as a regular expression."""
    return re.sub(r"%(.)", lambda found: re.escape(found[1]), pattern)


# Entity checks. `broken`: paths that have been complained about.


def _mutually_required(names: list[str], entity: Json, path: str, broken: set[str]) -> Iterator[Problem]:
    given = [name for name in names if _get(entity, name) not in (None, "")]
    if given and len(given) < len(names):
        yield path, f"all or none of these fields must be set: {', '.join(repr(name) for name in names)}"


def _one_of_them(names: list[str], entity: Json, path: str, broken: set[str]) -> Iterator[Problem]:
    if not any(_get(entity, name) not in (None, "", [], {}) for name in names):
        told = ", ".join(repr(name) for name in names)
        yield path, f"at least one of these fields must be non-empty: {told}"


def _conditional(argument: Json, entity: Json, path: str, broken: set[str]) -> Iterator[Problem]:
    held, then = argument["if_field"], argument["then_field"]
    if _below(path, held) in broken or _below(path, then) in broken:
        return
    condition, value = _get(entity, held), _get(entity, then)
    if condition is None and value is not None:
        yield _below(path, held), "field required for entity check"
    if condition is None or _wrong(argument["if_match"], condition):
        return
    match = argument["then_match"]
    message = _REQUIRED if value is None and match.get("required") else None
    if value is not None:
        message = _wrong(match, value)
    if message:
        yield _below(path, then), str(argument.get("then_err") or message)


def _at_least_one(argument: Json, entity: Json, path: str, broken: set[str]) -> Iterator[Problem]:
    condition = _get(entity, argument["if_field"])
    if condition is None or _wrong(argument["if_match"], condition):
        return
    names = argument["then_at_least_one_of"]
    if not any(_get(entity, name) not in (None, "", [], {}) for name in names):
        yield path, str(argument["then_err"]).replace("%s", ", ".join(repr(name) for name in names))


_CHECKS: Final[dict[str, Callable[[Any, Json, str, set[str]], Iterator[Problem]]]] = {
    "mutually_required": _mutually_required,
    "at_least_one_of": _one_of_them,
    "conditional": _conditional,
    "conditional_at_least_one_of": _at_least_one,
}


def _get(entity: Any, name: str) -> Any:
    for part in name.split("."):
        entity = entity.get(part) if isinstance(entity, dict) else None
    return entity


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
