"""OpenAI's file, batch and list objects.

Source: https://platform.openai.com/docs/api-reference/files/object, …/batch/object; recordings
openai/files/005, 006, 009, openai/batches/001, 003.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from ...core.json import Json
from .ids import Part, batch_id, file_id
from .lines import ENDPOINT

Status = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]
WINDOW: Final = "24h"
_ENDED: Final = frozenset({"failed", "completed", "expired", "cancelled"})
_MOMENTS: Final = {
    "failed": "failed_at", "completed": "completed_at", "expired": "expired_at", "cancelled": "cancelled_at",
}  # fmt: skip
"""Status in which a batch has ended → the member that says when."""


@dataclass(slots=True)
class Stored:
    """A file at the provider."""

    name: str
    size: int | None = None
    """Bytes at the provider; None where it does not tell."""
    created: int = 0
    """Unix seconds."""
    expires: int = 0
    filename: str = ""
    part: Part = "in"
    batch: bool = True
    """It is a batch's; else another's file in the same account."""


@dataclass(slots=True)
class State:
    """A batch at the provider."""

    name: str
    status: Status
    created: int = 0
    """Unix seconds, as all times here; 0 where the provider does not tell."""
    began: int = 0
    ended: int = 0
    expires: int = 0
    cancelling: int = 0
    total: int = 0
    completed: int = 0
    failed: int = 0
    input: str = ""
    """Name of the input file at the provider."""
    model: str = ""
    output: bool = False
    """There is an output file."""
    errors: bool = False
    """There is an error file."""
    problem: str = ""
    """Why it failed."""
    metadata: Json = field(default_factory=dict)
    endpoint: str = ENDPOINT


def file_object(form: str, stored: Stored) -> Json:
    """OpenAI's file object."""
    purpose = "user_data" if not stored.batch else "batch" if stored.part == "in" else "batch_output"
    return {
        "id": file_id(form, stored.part, stored.name),
        "object": "file",
        # Clients' types want a number.
        "bytes": stored.size or 0,
        "created_at": stored.created,
        "expires_at": stored.expires or None,
        "filename": stored.filename,
        "purpose": purpose,
        "status": "processed",
        "status_details": None,
    }


def batch_object(form: str, state: State) -> Json:
    """OpenAI's batch object."""
    made: Json = {
        "id": batch_id(form, state.name),
        "object": "batch",
        "endpoint": state.endpoint,
        "model": state.model or None,
        "errors": None,
        "input_file_id": file_id(form, "in", state.input) if state.input else "",
        "completion_window": WINDOW,
        "status": state.status,
        "output_file_id": file_id(form, "out", state.name) if state.output else None,
        "error_file_id": file_id(form, "err", state.name) if state.errors else None,
        "created_at": state.created,
        "in_progress_at": state.began or None,
        "expires_at": state.expires or None,
        "finalizing_at": None,
        "completed_at": None,
        "failed_at": None,
        "expired_at": None,
        "cancelling_at": state.cancelling or None,
        "cancelled_at": None,
        "request_counts": {"total": state.total, "completed": state.completed, "failed": state.failed},
        "metadata": state.metadata or None,
    }
    if state.status in _ENDED:
        made[_MOMENTS[state.status]] = state.ended or None
    if state.problem:
        error = {"code": "batch_failed", "message": state.problem, "line": None, "param": None}
        made["errors"] = {"object": "list", "data": [error]}
    return made


def list_object(data: list[Json], more: bool) -> Json:
    """OpenAI's list, which goes on behind its last member's id."""
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": more,
    }


def deleted_object(id: str) -> Json:
    """What OpenAI answers when a file was deleted."""
    return {"id": id, "object": "file", "deleted": True}
