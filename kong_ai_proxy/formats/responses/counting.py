"""A chat request as the Responses API counts its tokens.

Source: https://platform.openai.com/docs/api-reference/responses/input-tokens, recordings
openai/responses-manage/009 and /011.
"""

from __future__ import annotations

from typing import Any, Final

from ...core.json import Json
from ..pivot import content_text, obj, objects, text

_SAME: Final = ("model", "parallel_tool_calls")


def input_tokens_request(chat: Json) -> Json:
    """What is asked about. What Responses cannot hold (sound) is left out."""
    out: Json = {name: chat[name] for name in _SAME if chat.get(name) is not None}
    out["input"] = [item for message in objects(chat.get("messages")) for item in _items(message)]
    if tools := [_tool(obj(tool["function"])) for tool in objects(chat.get("tools")) if "function" in tool]:
        out["tools"] = tools
        if (choice := _choice(chat.get("tool_choice"))) is not None:
            out["tool_choice"] = choice
    if effort := chat.get("reasoning_effort"):
        out["reasoning"] = {"effort": effort}
    shape = {"format": _format(obj(chat.get("response_format"))), "verbosity": chat.get("verbosity")}
    if wanted := {name: value for name, value in shape.items() if value}:
        out["text"] = wanted
    return out


def _items(message: Json) -> list[Json]:
    role, content = text(message.get("role")), message.get("content")
    if role == "tool":
        answered = text(message.get("tool_call_id"))
        return [{"type": "function_call_output", "call_id": answered, "output": content_text(content)}]
    if role != "assistant":
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else objects(content)
        return [{"role": role, "content": [made for part in parts if (made := _part(part))]}]
    items: list[Json] = []
    if said := content_text(content) or text(message.get("refusal")):
        items.append({"role": "assistant", "content": said})
    for call in objects(message.get("tool_calls")):
        function = obj(call.get("function"))
        items.append(
            {
                "type": "function_call",
                "call_id": text(call.get("id")),
                "name": text(function.get("name")),
                "arguments": text(function.get("arguments")),
            }
        )
    return items


def _part(part: Json) -> Json | None:
    kind = part.get("type")
    if kind == "text":
        return {"type": "input_text", "text": text(part.get("text"))}
    if kind == "image_url":
        image = obj(part.get("image_url"))
        return {
            "type": "input_image",
            "image_url": text(image.get("url")),
            "detail": text(image.get("detail")) or "auto",
        }
    if kind == "file":
        file = obj(part.get("file"))
        names = ("file_data", "file_id", "filename")
        return {"type": "input_file", **{name: file[name] for name in names if file.get(name) is not None}}
    return None


def _tool(function: Json) -> Json:
    return {
        "type": "function",
        "name": text(function.get("name")),
        "description": function.get("description"),
        "parameters": function.get("parameters") or {"type": "object", "properties": {}},
        "strict": function.get("strict") is True,
    }


def _choice(choice: Any) -> Any:
    name = obj(obj(choice).get("function")).get("name")
    if name is not None:
        return {"type": "function", "name": name}
    return choice if choice in ("auto", "none", "required") else None


def _format(wanted: Json) -> Json | None:
    if wanted.get("type") == "json_object":
        return {"type": "json_object"}
    schema = wanted.get("json_schema")
    return {"type": "json_schema", **schema} if isinstance(schema, dict) else None
