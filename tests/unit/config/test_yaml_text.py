"""YAML by libyaml is the same as YAML by Python: data, places and errors."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kong_ai_proxy.config import check, yaml_text
from kong_ai_proxy.config.entries import Entry, UnreadableFile, read
from kong_ai_proxy.config.yaml_text import compose, load
from kong_ai_proxy.migrate.edits import Source

ROOT = Path(__file__).resolve().parents[3]
needs_libyaml = pytest.mark.skipif(yaml_text._FAST is None, reason="PyYAML without libyaml")

READABLE = {
    "example": (ROOT / "kong.yml.example").read_text(),
    "characters": 'é: "😀" # ü\nb: [ñ, {c: "\\u00e9"}]\n',
    "line ends": "a: 1\r\nb:\r\n- x\r\n- |\r\n  two\r\n  lines\r\nc: >-\r\n  t\r\n",
    "anchors": "a: &x {b: 1}\nc: *x\nd:\n  <<: *x\n  e: !!str 5\n",
    "scalars": "a: 2026-01-01\nb: yes\nc: ~\nd: 0x1F\ne: 'it''s'\nf:\ng: 1e3\n? h\n: i\n",
    "empty": "# nothing\n",
    "mark": "\ufeffa: 1\n",
}
UNREADABLE = [
    "a: b: c",
    "a: [1, 2",
    "a: *nowhere",
    "a: &x 1\nb: &x 2\n*x : 1\n'",
    "a: 1\n b: 2\n- c",
    "a: 1\n---\nb: 2\n",
    "a: \x00",
    "a: 'never ends",
    "\tb: 1",
    "a: !!python/name:os.system x",
    "a: \ud800",
    "{" * 400,
]


def nodes(root: yaml.Node | None) -> Iterator[tuple[Any, ...]]:
    """All that a file's readers look at."""
    open_nodes = [root] if root is not None else []
    seen: set[int] = set()
    while open_nodes:
        node = open_nodes.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        start, end = node.start_mark, node.end_mark
        place = (type(node).__name__, node.tag, start.index, start.line, start.column)
        if isinstance(node, yaml.ScalarNode):
            yield (*place, node.value, node.style or None, None if node.style in ("|", ">") else end.index)
            continue
        # A block's own end is not looked at: it is where the next thing begins.
        flow = bool(node.flow_style)
        yield (*place, len(node.value), flow, end.index if flow or not node.value else None)
        for item in node.value:
            open_nodes += item if isinstance(item, tuple) else [item]


@needs_libyaml
@pytest.mark.parametrize("name", READABLE)
def test_libyaml_and_python_see_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = READABLE[name]
    (root, data), alone = load(text), compose(text)
    monkeypatch.setattr(yaml_text, "_FAST", None)
    plain, same = load(text)
    assert data == same
    assert list(nodes(root)) == list(nodes(plain))
    assert list(nodes(alone)) == list(nodes(compose(text)))


@needs_libyaml
@pytest.mark.parametrize("text", UNREADABLE)
def test_errors_have_the_same_words(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnreadableFile) as fast:
        read(text)
    monkeypatch.setattr(yaml_text, "_FAST", None)
    with pytest.raises(UnreadableFile) as plain:
        read(text)
    assert (str(fast.value), fast.value.line) == (str(plain.value), plain.value.line)


@needs_libyaml
def test_tabs_within_a_text_are_taken_as_kong_does() -> None:
    assert read("a: b\tc").data == {"a": "b\tc"}


@pytest.mark.parametrize("text", ["a: " + "[" * 5_000 + "]" * 5_000, "- " * 5_000, "a: " + "{a: " * 5_000])
def test_a_file_too_deep_is_refused(text: str) -> None:
    with pytest.raises(UnreadableFile, match="RecursionError"):
        read(text)


def test_the_collector_works_again_afterwards() -> None:
    with pytest.raises(UnreadableFile):
        read("a: [")
    assert gc.isenabled()
    gc.disable()
    try:
        load("a: 1")
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_each_entry_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's time goes with its length, not with the square of it."""
    count = 50
    looked: list[Entry] = []
    original = check._is_filter

    def counted(entry: Entry) -> bool:
        looked.append(entry)
        return original(entry)

    monkeypatch.setattr(check, "_is_filter", counted)
    plugins = "".join(f"- {{name: kong-ai-proxy, route: r{number}}}\n" for number in range(count))
    routes = "".join(f"- {{name: r{number}, service: s}}\n" for number in range(count))
    document = read(f"services:\n- {{name: s, url: http://x}}\nroutes:\n{routes}plugins:\n{plugins}")
    check.check(document)
    assert len(looked) == count
    places = [(entry.route, entry.service) for entry in document.entries()]
    assert [(route[0], service[0]) for route, service in places if route and service] == [
        (("routes", number), ("services", 0)) for number in range(count)
    ]


def test_a_change_within_what_goes_is_left_out() -> None:
    source = Source("a: {b: 1, c: 2}\nd: 3\n")
    inner = source.node(("a", "b"))
    assert inner is not None
    source.replace(inner, "long")
    assert source.remove(("a",))
    assert source.result() == "d: 3\n"
