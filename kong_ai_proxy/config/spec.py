"""The models as plain facts about fields: what the generators, the parser and the checker go by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from annotated_types import Ge, Le, MinLen
from pydantic.fields import FieldInfo

from .models import Record

Kind = Literal["string", "integer", "number", "boolean", "record", "array", "object"]

_SCALARS: dict[Any, Kind] = {str: "string", int: "integer", float: "number", bool: "boolean"}


@dataclass(slots=True)
class Spec:
    """One field, or the elements of an array."""

    name: str
    kind: Kind
    required: bool = False
    nullable: bool = False
    default: Any = None
    """As JSON; None where there is none. Of a record: None."""
    choices: tuple[str, ...] = ()
    minimum: int | float | None = None
    maximum: int | float | None = None
    min_length: int | None = None
    referenceable: bool = False
    encrypted: bool = False
    description: str = ""
    record: type[Record] | None = None
    element: Spec | None = None
    expanded: bool = False
    """A record that is there, with its defaults, also when it is not given."""

    @property
    def fields(self) -> tuple[Spec, ...]:
        return fields_of(self.record) if self.record else ()


@dataclass(slots=True)
class _Facts:
    """What annotations say besides the type."""

    metadata: list[Any] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    nullable: bool = False


@cache
def fields_of(model: type[Record]) -> tuple[Spec, ...]:
    """The fields of a record, in alphabetical order."""
    return tuple(_spec(name, model.model_fields[name]) for name in sorted(model.model_fields))


def walk(model: type[Record], path: str = "") -> Iterator[tuple[str, Spec]]:
    """Every field below a record with its dotted path; the elements of an array are `path[]`."""
    for spec in fields_of(model):
        yield from _walk(f"{path}.{spec.name}" if path else spec.name, spec)


def _walk(path: str, spec: Spec) -> Iterator[tuple[str, Spec]]:
    yield path, spec
    if spec.record:
        yield from walk(spec.record, path)
    if spec.element:
        yield from _walk(f"{path}[]", spec.element)


def _spec(name: str, info: FieldInfo) -> Spec:
    facts = _Facts(list(info.metadata))
    if isinstance(info.json_schema_extra, dict):
        facts.extra.update(cast("dict[str, Any]", info.json_schema_extra))
    annotation = _unwrap(info.annotation, facts)
    spec = _typed(name, annotation, facts)
    spec.required = info.is_required()
    spec.description = info.description or ""
    if not spec.required:
        default = info.get_default(call_default_factory=True, validated_data={})
        if isinstance(default, Record):
            spec.expanded = True
        else:
            spec.default = default
    return spec


def _typed(name: str, annotation: Any, facts: _Facts) -> Spec:
    spec = Spec(name, "string", nullable=facts.nullable)
    for item in facts.metadata:
        if isinstance(item, Ge):
            spec.minimum = cast("float", item.ge)
        elif isinstance(item, Le):
            spec.maximum = cast("float", item.le)
        elif isinstance(item, MinLen):
            spec.min_length = item.min_length
    spec.referenceable = bool(facts.extra.get("x-referenceable"))
    spec.encrypted = bool(facts.extra.get("x-encrypted"))

    origin = get_origin(annotation)
    if origin is Literal:
        spec.choices = get_args(annotation)
    elif origin is list:
        spec.kind = "array"
        inner = _Facts()
        spec.element = _typed(name, _unwrap(get_args(annotation)[0], inner), inner)
    elif origin is dict:
        spec.kind = "object"
    elif isinstance(annotation, type) and issubclass(annotation, Record):
        spec.kind = "record"
        spec.record = annotation
    else:
        spec.kind = _SCALARS[annotation]
    return spec


def _unwrap(annotation: Any, facts: _Facts) -> Any:
    """Take `Annotated` and `| None` off, noting what they say."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *extras = get_args(annotation)
            for item in extras:
                _note(item, facts)
        elif origin in (Union, UnionType):
            facts.nullable = True
            (annotation,) = (arg for arg in get_args(annotation) if arg is not NoneType)
        else:
            return annotation


def _note(item: Any, facts: _Facts) -> None:
    if isinstance(item, FieldInfo):
        facts.metadata.extend(item.metadata)
        if isinstance(item.json_schema_extra, dict):
            facts.extra.update(cast("dict[str, Any]", item.json_schema_extra))
    else:
        facts.metadata.append(item)
