"""Whatever a configuration holds, parsing it gives a configuration or a ConfigError."""

from __future__ import annotations

from typing import Any

from fuzz_support import examples
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_proxy.config.entries import UnreadableFile, read
from kong_ai_proxy.config.errors import ConfigError
from kong_ai_proxy.config.parse import PLUGINS, parse
from kong_ai_proxy.config.spec import Spec, fields_of
from kong_ai_proxy.config.templates import templates_of

_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("$(headers.x)")
)
_json = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=12,
)


def _value(spec: Spec) -> st.SearchStrategy[Any]:
    """Mostly something that fits the field."""
    if spec.record:
        fitting: st.SearchStrategy[Any] = _record(spec.record)
    elif spec.element:
        fitting = st.lists(st.deferred(lambda: _value(spec.element or spec)), max_size=2)
    elif spec.choices:
        fitting = st.sampled_from(spec.choices)
    elif spec.kind in ("integer", "number"):
        fitting = st.integers(-10, 100000) | st.floats(-10, 1000)
    elif spec.kind == "boolean":
        fitting = st.booleans()
    else:
        fitting = st.text(max_size=10)
    return st.one_of(fitting, fitting, fitting, fitting, _json)


def _record(model: Any) -> st.SearchStrategy[Any]:
    return st.deferred(
        lambda: st.fixed_dictionaries(
            {spec.name: _value(spec) for spec in fields_of(model) if spec.required},
            optional={spec.name: _value(spec) for spec in fields_of(model) if not spec.required},
        )
    )


_configs = {plugin: _record(model) | _json for plugin, model in PLUGINS.items()}


@examples(30)
@given(st.data())
def test_parse_raises_nothing_but_config_errors(data: st.DataObject) -> None:
    plugin = data.draw(st.sampled_from(sorted(PLUGINS)))
    config = data.draw(_configs[plugin])
    try:
        parsed = parse(plugin, config)
    except ConfigError as error:
        assert error.problems
        assert str(error)
    else:
        assert all(templates_of(target) is not None for target in parsed.targets)


@examples(40)
@given(st.text(alphabet="abc:-[]{}&*!|>%@`'\"#\n \t0", max_size=60))
def test_a_file_is_read_or_refused(text: str) -> None:
    try:
        document = read(text)
    except UnreadableFile:
        return
    assert all(line >= 1 for line in document.lines.values())
    list(document.entries())
