"""What a migration has to tell besides its result."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Final, Literal

Kind = Literal["lost", "todo", "changed"]

_TITLES: Final[dict[Kind, str]] = {
    "lost": "Not carried over",
    "todo": "To do",
    "changed": "Changed",
}
"""In the order of urgency."""


@dataclass(frozen=True, slots=True)
class Note:
    """One thing to tell. `line` counts from 1 in the file that was read; 0 is the whole file."""

    kind: Kind
    line: int
    path: str
    """Where it stood, dotted; "" is the whole file."""
    message: str
    """Never quotes a secret."""

    def text(self, file: str) -> str:
        place = f"{file}:{self.line}: " if self.line else ""
        where = f"{self.path}: " if self.path else ""
        return f"{place}{where}{self.message}"


@dataclass(slots=True)
class Report:
    """Notes in the order they were made; the same one is made once."""

    notes: list[Note] = field(default_factory=list)
    _made: set[Note] = field(default_factory=set)

    def add(self, kind: Kind, message: str, *, line: int = 0, path: str = "") -> None:
        note = Note(kind, line, path, message)
        if note not in self._made:
            self._made.add(note)
            self.notes.append(note)

    def lost(self, message: str, *, line: int = 0, path: str = "") -> None:
        """Something the result does not do."""
        self.add("lost", message, line=line, path=path)

    def todo(self, message: str, *, line: int = 0, path: str = "") -> None:
        """Something to do by hand."""
        self.add("todo", message, line=line, path=path)

    def changed(self, message: str, *, line: int = 0, path: str = "") -> None:
        self.add("changed", message, line=line, path=path)

    def of(self, kind: Kind) -> list[Note]:
        return [note for note in self.notes if note.kind == kind]

    def text(self, file: str) -> str:
        """For people."""
        parts: list[str] = []
        for kind, title in _TITLES.items():
            notes = self.of(kind)
            if notes:
                parts.append(f"{title}:\n" + "".join(f"- {note.text(file)}\n" for note in notes))
        return "\n".join(parts)

    def json(self, file: str) -> str:
        """For programs."""
        return json.dumps({"file": file, "notes": [asdict(note) for note in self.notes]}, indent=2) + "\n"
