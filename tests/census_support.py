"""The types in which providers' SDKs describe their answers: what they hold by name, and examples of them.

An SDK's types know of members and events that no recording has. Each of them is to be in a table of ours (the
census), with what is made of it; and examples of all of them are read by what reads the real ones.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel


def names(*roots: Any) -> set[str]:
    """Every member of every class that these types are made of ("Choice.index"), and every value of a member
    that has only some ("Choice.finish_reason=stop")."""
    found: set[str] = set()
    seen: set[Any] = set()
    waiting = list(roots)
    while waiting:
        one = waiting.pop()
        for cls in _classes(one):
            if cls in seen:
                continue
            seen.add(cls)
            for name, annotation in fields(cls).items():
                found.add(f"{cls.__name__}.{name}")
                found |= {f"{cls.__name__}.{name}={value}" for value in literals(annotation)}
                waiting.append(annotation)
    return found


def unlisted(found: set[str], table: Mapping[str, str]) -> list[str]:
    """Names that no pattern of the table matches."""
    return sorted(name for name in found if not any(fnmatchcase(name, pattern) for pattern in table))


def kinds(union: Any, discriminator: str = "type") -> dict[str, Any]:
    """The classes of a union by the value of their discriminator."""
    found = {}
    for cls in _classes(union):
        for value in literals(fields(cls).get(discriminator)):
            found[str(value)] = cls
    return found


def fields(cls: Any) -> dict[str, Any]:
    """A class's members by the name they have in JSON."""
    if dataclasses.is_dataclass(cls):
        hints = typing.get_type_hints(cls)
        return {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    return {
        (info.serialization_alias or info.alias or name): info.annotation
        for name, info in cls.model_fields.items()
    }


def literals(annotation: Any) -> list[Any]:
    """The values of a type that has only some."""
    origin = get_origin(annotation)
    if origin is Literal:
        return list(get_args(annotation))
    if origin in (Union, types.UnionType, Annotated) or _is_alias(annotation) or _is_alias(origin):
        return [value for one in _arguments(annotation) for value in literals(one)]
    return []


def example(annotation: Any, depth: int = 6) -> Any:
    """JSON of this type, with all of its optional members; texts are "x"."""
    if annotation is None or annotation is type(None):
        return None
    if _is_class(annotation):
        members = fields(annotation)
        return {name: example(one, depth - 1) for name, one in members.items()} if depth > 0 else {}
    values = literals(annotation)
    if values:
        return values[0]
    origin = get_origin(annotation)
    if origin in (list, tuple, typing.Sequence):
        return [example(_arguments(annotation)[0], depth)] if _arguments(annotation) else []
    if origin is dict:
        return {"x": example(_arguments(annotation)[1], depth)}
    if origin in (Union, types.UnionType, Annotated) or _is_alias(annotation) or _is_alias(origin):
        return example(next(one for one in _arguments(annotation) if one is not type(None)), depth)
    return {str: "x", int: 1, float: 1.0, bool: True, list: [], dict: {}}.get(annotation, "x")


def examples(union: Any, discriminator: str = "type") -> dict[str, Any]:
    """One of each of a union's classes."""
    return {
        kind: {**example(cls), discriminator: kind} for kind, cls in kinds(union, discriminator).items()
    }


def _classes(annotation: Any) -> Iterator[Any]:
    if _is_class(annotation):
        yield annotation
    else:
        for one in _arguments(annotation):
            yield from _classes(one)


def _arguments(annotation: Any) -> tuple[Any, ...]:
    if _is_alias(get_origin(annotation)):
        return get_args(annotation)
    if _is_alias(annotation):
        return (annotation.__value__,)
    if get_origin(annotation) is Annotated:
        return get_args(annotation)[:1]
    if get_origin(annotation) is Literal:
        return ()
    return tuple(one for one in get_args(annotation) if not isinstance(one, (str, int)))


def _is_alias(annotation: Any) -> bool:
    """A TypeAliasType."""
    return hasattr(annotation, "__value__")


def _is_class(annotation: Any) -> bool:
    return isinstance(annotation, type) and (
        dataclasses.is_dataclass(annotation) or issubclass(annotation, BaseModel)
    )
