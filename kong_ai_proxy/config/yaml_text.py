"""YAML's nodes and data, read by libyaml where PyYAML has it: several times as fast as in Python alone."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

_Read = TypeVar("_Read")
_PARSER: Final = getattr(getattr(yaml, "cyaml", None), "CParser", None)
"""None where PyYAML was built without libyaml."""
_BOM: Final = "\ufeff"
_RESOLVERS: Final = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
"""YAML as Kong reads it: what looks like a date is text."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class _PlainLoader(yaml.SafeLoader):
    """Python alone."""


_PlainLoader.yaml_implicit_resolvers = _RESOLVERS


def _fast(parser: Any) -> Any:
    class FastLoader(Composer, parser, SafeConstructor, Resolver):  # type: ignore[misc]
        """libyaml's parser, and Python's composer: libyaml's own recurses in C, and a file that is deep
        enough ends the process."""

        def __init__(self, stream: str) -> None:
            parser.__init__(self, stream)
            Composer.__init__(self)
            SafeConstructor.__init__(self)
            Resolver.__init__(self)

    FastLoader.yaml_implicit_resolvers = _RESOLVERS
    return FastLoader


_FAST: Final = _fast(_PARSER) if _PARSER is not None else None


def load(text: str) -> tuple[yaml.Node | None, Any]:
    """The node and the data of a text's one document; None and None of an empty one.

    Raises yaml.YAMLError, ValueError and RecursionError, with the same words whether there is libyaml or not:
    what it refuses is read again in Python. It takes tabs within a plain text, as Kong does, where Python
    alone refuses them.
    """
    return _read(text, _whole)


def compose(text: str) -> yaml.Node | None:
    """The node alone. Raises as `load` does."""
    return _read(text, _node)


def _read(text: str, what: Callable[[Any], _Read]) -> _Read:
    with without_collector():
        # libyaml does not count a byte order mark as a character: places would be wrong by one.
        if _FAST is not None and not text.startswith(_BOM) and not _SURROGATE.search(text):
            try:
                return _loaded(_FAST, text, what)
            except (yaml.YAMLError, ValueError, RecursionError):
                pass
        return _loaded(_PlainLoader, text, what)


def _loaded(loader_class: Any, text: str, what: Callable[[Any], _Read]) -> _Read:
    loader = loader_class(text)
    try:
        return what(loader)
    finally:
        loader.dispose()


def _node(loader: Any) -> yaml.Node | None:
    node: yaml.Node | None = loader.get_single_node()
    return node


def _whole(loader: Any) -> tuple[yaml.Node | None, Any]:
    node = _node(loader)
    return node, loader.construct_document(node) if node is not None else None


@contextmanager
def without_collector() -> Iterator[None]:
    """Nothing of what is made is garbage yet: looking for some takes most of a large file's time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
