"""A chat completion as a response object.

Source: https://platform.openai.com/docs/api-reference/responses/object.
"""

from __future__ import annotations

from typing import Any, Final

from ...core.call import Call
from ...core.json import Json
from ...core.usage import Usage, UsageSource
from ..openai.custom_tools import custom_input
from ..pivot import integer, items, number, obj, objects, text
from .carried import packed
from .searches import search_items

_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Chat's finish reason → why a response is incomplete."""


def response_of(answer: Json, call: Call) -> Json:
    """The whole response."""
    choice = next(iter(objects(answer.get("choices"))), {})
    message = obj(choice.get("message"))
    output: list[Json] = []
    thinking = objects(message.get("thinking_blocks"))
    said = text(message.get("reasoning_content"))
    if said or thinking:
        output.append(reasoning_item(call.new_id("rs_"), said, thinking))
    output += search_items(message, call)
    content = content_parts(message, obj(choice.get("logprobs")))
    if content:
        output.append(message_item(call.new_id("msg_"), content, extra=message.get("extra_content")))
    customs, taken = custom_names(call), set[str]()
    for one in objects(message.get("tool_calls")):
        output.append(call_item(one, call, customs, taken))
    reported = answer.get("usage")
    usage = call.usage if call.usage.source is not UsageSource.NONE else Usage.from_openai(reported)
    response = skeleton(
        call,
        identity(text(answer.get("id")), call),
        text(answer.get("model")) or call.model,
        integer(answer.get("created")) or call.created,
    )
    end(response, output, text(choice.get("finish_reason")), usage)
    tier = answer.get("service_tier")
    if isinstance(tier, str):
        response["service_tier"] = tier
    return response


def identity(answered: str, call: Call) -> str:
    """A response's id out of the provider's own."""
    if answered.startswith("resp_"):
        return answered
    return f"resp_{answered}" if answered else call.new_id("resp_")


def skeleton(call: Call, id: str, model: str, created: int) -> Json:
    """A response that has just begun. Repeats of the request what the API repeats."""
    asked = call.echo
    reasoning = obj(asked.get("reasoning"))
    given_text = obj(asked.get("text"))
    options = call.options
    return {
        "id": id,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "max_tool_calls": asked.get("max_tool_calls"),
        "model": model,
        "output": [],
        "parallel_tool_calls": asked.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "prompt_cache_key": asked.get("prompt_cache_key"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "safety_identifier": asked.get("safety_identifier"),
        "store": False,
        "temperature": number(asked.get("temperature", options.temperature)),
        "text": {"format": {"type": "text"}, **given_text},
        "tool_choice": asked.get("tool_choice", "auto"),
        "tools": items(asked.get("tools")),
        "top_logprobs": integer(asked.get("top_logprobs")) or 0,
        "top_p": number(asked.get("top_p", options.top_p)),
        "truncation": "disabled",
        "usage": None,
        "user": asked.get("user"),
        "metadata": obj(asked.get("metadata")),
    }


def end(response: Json, output: list[Json], finish_reason: str, usage: Usage) -> None:
    """Make it a whole response, in place."""
    reason = _INCOMPLETE.get(finish_reason)
    response["status"] = "incomplete" if reason else "completed"
    if reason:
        response["incomplete_details"] = {"reason": reason}
        for item in output[-1:]:
            if "status" in item and item["type"] != "web_search_call":
                item["status"] = "incomplete"
    response["output"] = output
    response["usage"] = usage_of(usage)


def usage_of(usage: Usage) -> Json:
    """https://platform.openai.com/docs/api-reference/responses/object#responses/object-usage"""
    extra = usage.reasoning_tokens or 0 if usage.reasoning_is_extra else 0
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens or 0,
            "cache_write_tokens": usage.cache_write_tokens or 0,
        },
        "output_tokens": usage.completion_tokens + extra,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens or 0},
        "total_tokens": usage.total,
    }


def reasoning_item(id: str, said: str, thinking: list[Json]) -> Json:
    """Readable reasoning is its summary; what must come back unchanged is its encrypted content."""
    item: Json = {"id": id, "type": "reasoning", "summary": []}
    if said:
        item["summary"] = [{"type": "summary_text", "text": said}]
    if thinking:
        item["encrypted_content"] = packed(thinking)
    return item


def message_item(id: str, content: list[Json], *, status: str = "completed", extra: Any = None) -> Json:
    item: Json = {"id": id, "type": "message", "status": status, "role": "assistant", "content": content}
    if extra is not None:
        item["extra_content"] = extra
    return item


def content_parts(message: Json, logprobs: Json) -> list[Json]:
    """The text and the refusal of an answer."""
    parts: list[Json] = []
    content = message.get("content")
    said = content if isinstance(content, str) else ""
    if isinstance(content, list):
        said = "".join(text(part.get("text")) for part in objects(content))
    if said:
        notes = [annotation(note) for note in objects(message.get("annotations"))]
        parts.append(text_part(said, notes, objects(logprobs.get("content"))))
    refusal = text(message.get("refusal"))
    if refusal:
        parts.append({"type": "refusal", "refusal": refusal})
    return parts


def text_part(said: str, annotations: list[Json], logprobs: list[Json]) -> Json:
    return {"type": "output_text", "text": said, "annotations": annotations, "logprobs": logprobs}


def annotation(note: Json, before: int = 0) -> Json:
    """Chat nests what the Responses API has flat. `before`: characters of the answer's text that stand in
    earlier items; where a note belongs is counted in its own."""
    kind = text(note.get("type"))
    inner = note.get(kind)
    flat = {"type": kind, **inner} if isinstance(inner, dict) else note
    if before:
        places = {name: integer(flat.get(name)) for name in ("start_index", "end_index")}
        told = {name: max(place - before, 0) for name, place in places.items() if place is not None}
        flat = {**flat, **told}
    return flat


def custom_names(call: Call) -> frozenset[str]:
    """Names of the tools that take free text."""
    top = objects(call.echo.get("tools"))
    tools = [one for tool in top for one in (tool, *objects(tool.get("tools")))]
    return frozenset(text(tool.get("name")) for tool in tools if tool.get("type") == "custom")


def namespace_of(name: str, call: Call) -> str:
    """The namespace that a tool belongs to; "" for none."""
    for space in objects(call.echo.get("tools")):
        if any(tool.get("name") == name for tool in objects(space.get("tools"))):
            return text(space.get("name"))
    return ""


def call_item(one: Json, call: Call, customs: frozenset[str], taken: set[str]) -> Json:
    """A tool call. `taken`: the ids of the answer's calls so far. Clients tell calls apart by them (OpenAI's
    SDK refuses two with one id), so of two with the same id the second gets one of its own."""
    function = obj(one.get("function"))
    name = text(function.get("name"))
    arguments = function.get("arguments")
    given = arguments if isinstance(arguments, str) else ""
    call_id = text(one.get("id"))
    if not call_id or call_id in taken:
        call_id = call.new_id("call_")
    taken.add(call_id)
    item: Json
    if name in customs:
        item = {
            "id": call.new_id("ctc_"), "type": "custom_tool_call", "status": "completed", "call_id": call_id,
            "name": name, "input": custom_input(given),
        }  # fmt: skip
    else:
        item = {
            "id": call.new_id("fc_"), "type": "function_call", "status": "completed", "call_id": call_id,
            "name": name, "arguments": given or "{}",
        }  # fmt: skip
    if namespace := namespace_of(name, call):
        item["namespace"] = namespace
    if one.get("extra_content") is not None:
        item["extra_content"] = one["extra_content"]
    return item
