"""A YAML (or JSON) text that is changed where it must be and stays as it is elsewhere, comments included."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import yaml

from ..config.entries import Path
from ..config.yaml_text import compose

_DECK: Final = re.compile(r"\$\{\{[^}\n]*\}\}")
_MERGE: Final = "<<"
_PROPERTIES: Final = re.compile(r"(?:[&!][^\s,\[\]{}]*\s+)*")


class Source:
    """The text, where everything in it stands, and the changes to make. Positions are those of the original
    text until `result`. Raises yaml.YAMLError for what is no YAML."""

    def __init__(self, text: str) -> None:
        self._text = text
        # decK's `${{ env "X" }}` need not be YAML; something of the same length keeps all places.
        readable = _DECK.sub(lambda found: "x" * len(found[0]), text)
        self._root = compose(readable)
        self._edits: dict[tuple[int, int], str] = {}

    def node(self, path: Path) -> yaml.Node | None:
        """What is at a path; through aliases and merged maps too."""
        node = self._root
        for part in path:
            if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                node = node.value[part] if 0 <= part < len(node.value) else None
            elif isinstance(node, yaml.MappingNode):
                node = _member(node, str(part))
            else:
                return None
        return node

    def text_of(self, node: yaml.Node) -> str:
        """As it was written."""
        return self._text[self._start(node) : self._end(node)]

    def result(self) -> str:
        """The text with all changes."""
        parts, done = [], 0
        for (start, end), replacement in sorted(self._edits.items()):
            if start < done:
                continue  # within what goes as a whole
            parts += [self._text[done:start], replacement]
            done = end
        return "".join([*parts, self._text[done:]])

    # Changes. Making the same one twice (by an alias) makes it once.

    def replace(self, node: yaml.Node, value: Any) -> None:
        """A scalar, by another one."""
        self._edits[self._start(node), self._end(node)] = _scalar(value)

    def set(self, path: Path, name: str, value: Any) -> None:
        """A member of the map at a path: replaced where it is, else added behind its first plain member."""
        mapping = self.node(path)
        if not isinstance(mapping, yaml.MappingNode):
            return
        own = _own(mapping, name)
        if own is not None:
            self.replace(own, value)
        else:
            self._insert(mapping, name, _scalar(value))

    def remove(self, path: Path) -> bool:
        """The member at a path, its comment at the end of the line included. False where there is none of
        its own: it may come from a merged map."""
        holder = self.node(path[:-1])
        if not isinstance(holder, yaml.MappingNode):
            return False
        pairs = holder.value
        for place, (key, value) in enumerate(pairs):
            if key.value == path[-1]:
                after = pairs[place + 1][0] if place + 1 < len(pairs) else None
                before = pairs[place - 1][1] if place else None
                self._cut(holder, key, value, before, after)
                return True
        return False

    def prepend(self, path: Path, name: str, item: Mapping[str, Any], lines: str) -> None:
        """An item at the beginning of a list that is a member of the map at a path, which is made where there
        is none. `lines`: the item as YAML of a block list whose dash is in the first column."""
        holder = self.node(path)
        if not isinstance(holder, yaml.MappingNode):
            return
        items = _own(holder, name)
        flow = json.dumps(item, ensure_ascii=False)
        if isinstance(items, yaml.SequenceNode) and items.value and not items.flow_style:
            start = self._start(items)
            column = start - self._text.rfind("\n", 0, start) - 1
            self._add(start, start, _indented(lines, column, first=False))
        elif isinstance(items, yaml.SequenceNode) and items.value:
            start = self._start(items) + 1
            self._add(start, start, f"{flow}, ")
        elif items is not None:
            self._edits[self._start(items), self._end(items)] = f"[{flow}]"
        elif holder.flow_style or not holder.value:
            self._insert(holder, name, f"[{flow}]")
        else:
            column = holder.value[0][0].start_mark.column
            self._insert(holder, name, "\n" + _indented(lines, column).rstrip("\n"))

    def dedented(self, node: yaml.Node) -> str:
        """A node's text, a block's lines moved to the left by where it began. Empty where an alias of
        something elsewhere is its end."""
        start, end = self._start(node), self._end(node)
        if isinstance(node, yaml.CollectionNode) and node.flow_style:
            return self._text[start:end]
        text = self._text[start : self._line_end(end)] if end > start else ""
        if not text:
            return ""
        column = start - self._text.rfind("\n", 0, start) - 1
        lines = text.splitlines(keepends=True)
        return "".join([lines[0], *(_moved_left(line, column) for line in lines[1:])])

    def add_block(self, path: Path, names: Sequence[str], text: str) -> bool:
        """A member at the end of the map at a path, below as many maps as there are names. `text`: the member
        as YAML, in the first column. False where that cannot be: a member of the first name is there already,
        or the map is written in one line and the text in several."""
        mapping = self.node(path)
        if not isinstance(mapping, yaml.MappingNode) or _own(mapping, names[0]) is not None:
            return False
        flow = text.lstrip().startswith("{")
        if mapping.flow_style or not mapping.value:
            if not flow or not mapping.value:
                return False
            inner = text.strip()
            for name in reversed(names[1:]):
                inner = f"{{{name}: {inner}}}"
            end = self._end(mapping.value[-1][1])
            self._add(end, end, f", {names[0]}: {inner}")
            return True
        column = mapping.value[0][0].start_mark.column
        end = self._line_end(self._end(mapping))
        head = "".join(f"\n{' ' * (column + 2 * depth)}{name}:" for depth, name in enumerate(names))
        if flow:
            body = " " + text.strip()
        else:
            body = "\n" + _indented(text.rstrip("\n") + "\n", column + 2 * len(names)).rstrip("\n")
        self._add(end, end, head + body)
        return True

    def remove_item(self, path: Path) -> None:
        """An item of a list; the list itself where nothing else is, or will be, in it."""
        holder = self.node(path[:-1])
        index = path[-1]
        if not isinstance(holder, yaml.SequenceNode) or not isinstance(index, int):
            return
        items = holder.value
        item = items[index]
        start = self._start(holder)
        filled = (start, start) in self._edits or (start + 1, start + 1) in self._edits
        if len(items) == 1 and not filled:
            self.remove(path[:-1])
        elif holder.flow_style and index + 1 < len(items):
            self._edits[self._start(item), self._start(items[index + 1])] = ""
        elif holder.flow_style:
            self._edits[self._end(items[index - 1]) if index else self._start(item), self._end(item)] = ""
        else:
            dash = self._dash(item)
            if index + 1 < len(items):
                self._edits[dash, self._dash(items[index + 1])] = ""
            else:
                begin = self._text.rfind("\n", 0, dash) + 1 if index else dash
                self._edits[begin, min(self._line_end(self._end(item)) + 1, len(self._text))] = ""

    # How.

    def _dash(self, item: yaml.Node) -> int:
        return self._text.rfind("-", 0, int(item.start_mark.index))

    def _add(self, start: int, end: int, text: str) -> None:
        self._edits[start, end] = self._edits.get((start, end), "") + text

    def _insert(self, mapping: yaml.MappingNode, name: str, value: str) -> None:
        if not mapping.value:
            start = self._start(mapping)
            self._edits[start, mapping.end_mark.index] = f"{{{json.dumps(name)}: {value}}}"
            return
        key, value_before = next(
            (pair for pair in mapping.value if isinstance(pair[1], yaml.ScalarNode)), mapping.value[0]
        )
        end = self._end(value_before)
        if mapping.flow_style:
            shown = json.dumps(name) if key.style == '"' else name
            self._add(end, end, f", {shown}: {value}")
            return
        end = self._line_end(end)
        self._add(
            end, end, f"\n{' ' * key.start_mark.column}{name}:{'' if value[0] == chr(10) else ' '}{value}"
        )

    def _cut(
        self,
        holder: yaml.MappingNode,
        key: yaml.Node,
        value: yaml.Node,
        before: yaml.Node | None,
        after: yaml.Node | None,
    ) -> None:
        start, end = key.start_mark.index, self._end(value)
        if holder.flow_style:
            if after is not None:
                end = after.start_mark.index
            elif before is not None:
                start = self._end(before)
            self._edits[start, end] = ""
            return
        line = self._text.rfind("\n", 0, start) + 1
        if not self._text[line:start].strip():
            self._edits[line, min(self._line_end(end) + 1, len(self._text))] = ""
        elif after is not None:
            self._edits[start, after.start_mark.index] = ""  # the first member stands behind its item's dash
        else:
            self._edits[start, end] = "{}"

    def _start(self, node: yaml.Node) -> int:
        """Where a node's text begins, behind its anchor and tag."""
        start = int(node.start_mark.index)
        found = _PROPERTIES.match(self._text, start)
        return found.end() if found else start

    def _end(self, node: yaml.Node) -> int:
        """Where a node's text ends. YAML's own mark of a block is where the next thing begins."""
        end = int(node.end_mark.index)
        if isinstance(node, yaml.ScalarNode):
            return len(self._text[:end].rstrip()) if node.style in ("|", ">") else end
        if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
            return end
        last = node.value[-1]
        if isinstance(last, tuple):
            return max(self._end(last[1]), int(last[0].end_mark.index))
        return self._end(last)

    def _line_end(self, index: int) -> int:
        end = self._text.find("\n", index)
        return len(self._text) if end < 0 else end


def _member(mapping: yaml.MappingNode, name: str) -> yaml.Node | None:
    own = _own(mapping, name)
    return own if own is not None else next(_merged(mapping, name), None)


def _own(mapping: yaml.MappingNode, name: str) -> yaml.Node | None:
    """The last one of that name, which counts."""
    found = None
    for key, value in mapping.value:
        if key.value == name:
            found = value
    return found


def _merged(mapping: yaml.MappingNode, name: str) -> Iterator[yaml.Node]:
    for key, value in mapping.value:
        if key.value == _MERGE:
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if isinstance(source, yaml.MappingNode) and (found := _member(source, name)) is not None:
                    yield found


def _scalar(value: Any) -> str:
    """JSON is YAML, and needs no quotes to be weighed."""
    return json.dumps(value, ensure_ascii=False)


def _moved_left(line: str, column: int) -> str:
    return line[min(column, len(line) - len(line.lstrip(" "))) :]


def _indented(lines: str, column: int, *, first: bool = True) -> str:
    """A block of lines moved to the right; what follows goes on in the same column."""
    pad = " " * column
    moved = "".join(pad + line if line.strip() else line for line in lines.splitlines(keepends=True))
    return moved if first else moved.removeprefix(pad) + pad
