"""JSON answers from models that have no mode for them.

Emulated: the wanted schema becomes the input of one extra tool that the model must call; its input is the
answer's text. Nothing has to be remembered between request and answer: the tool's name says what it is.
"""

from __future__ import annotations

from typing import Any

from ..core.call import Call
from ..core.json import Json

JSON_TOOL = "json_answer__"
"""Name of the extra tool. Clients' tools are not called like that."""

JSON_OBJECT_INSTRUCTION = (
    "Answer with one valid JSON object and nothing else: no prose before or after it, no code fence."
)
"""For `json_object`, which has no schema: said in the system prompt."""

_TOOL_DESCRIPTION = "Give the final answer with this tool. Call it exactly once, with the whole answer."


def wanted_schema(response_format: Any) -> Json | None:
    """The `json_schema` member of OpenAI's response_format, if it holds a schema."""
    if not isinstance(response_format, dict) or response_format.get("type") != "json_schema":
        return None
    wanted = response_format.get("json_schema")
    return wanted if isinstance(wanted, dict) and isinstance(wanted.get("schema"), dict) else None


def described_schema(wanted: Json) -> Json:
    """The schema, with what the client says of it beside it: OpenAI has the model read that as well
    (https://platform.openai.com/docs/api-reference/chat/create, `response_format`)."""
    schema, own = wanted["schema"], wanted.get("description")
    if not isinstance(own, str) or not own or "description" in schema:
        return dict(schema)
    return {**schema, "description": own}


def drop_description(response_format: Any, call: Call) -> None:
    """Note that what the client says of the schema does not get to the model: where a schema is nothing but a
    grammar."""
    wanted = wanted_schema(response_format)
    if wanted is not None and wanted.get("description"):
        call.drop("response_format.json_schema.description")


def wants_json_object(response_format: Any) -> bool:
    """OpenAI's JSON mode without a schema."""
    if not isinstance(response_format, dict):
        return False
    if response_format.get("type") == "json_object":
        return True
    return response_format.get("type") == "json_schema" and wanted_schema(response_format) is None


def is_object_schema(schema: Json) -> bool:
    """Whether a tool's input can have this schema: inputs are always objects."""
    return schema.get("type") == "object" or (schema.get("type") is None and "properties" in schema)


def tool_description(wanted: Json) -> str:
    """What the extra tool says of itself: the wish to call it, then what the client says of the schema."""
    own = wanted.get("description")
    return f"{_TOOL_DESCRIPTION}\n\n{own}" if isinstance(own, str) and own else _TOOL_DESCRIPTION
