"""A whole answer of an OpenAI-compatible provider, brought to OpenAI's own form.

Source: https://platform.openai.com/docs/api-reference/chat/object; the deviations, where they are mended.
"""

from __future__ import annotations

from typing import Any, Final

from ...core.call import Call
from ...core.json import Json, dumps_text
from ..pivot import integer, items, not_an_answer, obj, objects, text, utf8_size
from .dialect import FINISH_REASONS, NO_REASONS, Dialect
from .errors import error_in
from .parts import Parts, take_reasoning
from .usage import note_tier, note_usage, shown_usage, usage_in

_MESSAGE_TYPES: Final[dict[str, type]] = {
    "refusal": str,
    "annotations": list,
    "audio": dict,
    "function_call": dict,
}
"""Members of a message that clients read without looking twice; of another type they are left out."""


def chat_answer(body: Any, call: Call, dialect: Dialect) -> Json:
    """A chat completion. Raises ApiError for an error that came with a 200, 502 for what is no answer."""
    return _answer(body, call, dialect, "chat.completion", _chat_choice)


def text_answer(body: Any, call: Call, dialect: Dialect) -> Json:
    """A completion (`prompt` in, `text` out)."""
    return _answer(body, call, dialect, "text_completion", _text_choice)


def embeddings_answer(body: Any, call: Call, dialect: Dialect) -> Json:
    """Embeddings. Their usage has no output tokens."""
    out = _checked(body, call)
    if not isinstance(out.get("data"), list):
        raise not_an_answer(call.provider)
    out["object"] = "list"
    out["model"] = call.response_model = text(out.get("model")) or call.model
    data = []
    for index, item in enumerate(objects(out["data"])):
        data.append({**item, "object": "embedding", "index": _index(item, index)})
    out["data"] = data
    usage = out.get("usage")
    if isinstance(usage, dict) and usage:
        note_usage(usage, call, dialect)
        out["usage"] = {**usage, "prompt_tokens": call.usage.prompt_tokens, "total_tokens": call.usage.total}
    else:
        # OpenAI's form requires it.
        out["usage"] = {"prompt_tokens": 0, "total_tokens": 0}
    return out


def finish_reason(reason: Any, choice: Json) -> str:
    """OpenAI's word; the provider's own goes to `native_finish_reason` where it is another."""
    if not isinstance(reason, str) or reason in NO_REASONS:
        return ""
    found = FINISH_REASONS.get(reason) or FINISH_REASONS.get(reason.lower(), "stop")
    if found != reason:
        choice.setdefault("native_finish_reason", reason)
    return found


def call_id(value: Any) -> str:
    """A tool call's id as text; "" where there is none.

    TGI's was a number (v2.0, router/src/lib.rs); Mistral's is the word "null" where a model gave none (the
    default in its SDK's types).
    """
    if isinstance(value, str):
        return "" if value == "null" else value
    return str(value) if integer(value) is not None else ""


def call_list(value: Any) -> list[Any]:
    """`tool_calls` as a list: TGI's streams had the one call there was in its place (v2.0 to v3.0)."""
    return [value] if isinstance(value, dict) else items(value)


def arguments_text(arguments: Any) -> str:
    """Tool arguments as JSON text: some send the object itself, or nothing for "none"."""
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else dumps_text(arguments)


def _checked(body: Any, call: Call) -> Json:
    if not isinstance(body, dict):
        raise not_an_answer(call.provider)
    error = error_in(body, call)
    if error is not None:
        raise error
    return dict(body)


def _answer(body: Any, call: Call, dialect: Dialect, kind: str, read: Any) -> Json:
    out = _checked(body, call)
    if "choices" not in out:
        raise not_an_answer(call.provider)
    out["id"] = call.response_id = text(out.get("id")) or call.new_id(
        "chatcmpl-" if kind == "chat.completion" else "cmpl-"
    )
    out["object"] = kind
    out["created"] = integer(out.get("created")) or call.created
    out["model"] = call.response_model = text(out.get("model")) or call.model
    out["choices"] = [read(choice, index, call) for index, choice in enumerate(objects(out["choices"]))]
    call.finish_reasons = [choice["finish_reason"] for choice in out["choices"]]
    usage = usage_in(out)
    if usage is not None:
        note_usage(usage, call, dialect)
        out["usage"] = shown_usage(usage)
    else:
        out.pop("usage", None)
    note_tier(out, call)
    if not isinstance(out.get("system_fingerprint", ""), str):
        del out["system_fingerprint"]
    return out


def _chat_choice(choice: Json, position: int, call: Call) -> Json:
    out = dict(choice)
    message = _message(_said_in(out), call)
    out["index"] = _index(choice, position)
    out["message"] = message
    called = bool(message.get("tool_calls"))
    reason = finish_reason(choice.get("finish_reason"), out) or ("tool_calls" if called else "stop")
    out["finish_reason"] = "tool_calls" if called and reason == "function_call" else reason
    _mend_logprobs(out)
    return out


def _text_choice(choice: Json, position: int, call: Call) -> Json:
    out = dict(choice)
    out["index"] = _index(choice, position)
    out["text"] = text(choice.get("text"))
    out["finish_reason"] = finish_reason(choice.get("finish_reason"), out) or "stop"
    _mend_logprobs(out)
    call.output_bytes += utf8_size(out["text"])
    return out


def _mend_logprobs(choice: Json) -> None:
    """OpenAI's form always has the member."""
    if not isinstance(choice.get("logprobs"), dict):
        choice["logprobs"] = None


def _said_in(choice: Json) -> Any:
    """The message, taken out of a choice. In its place Mistral may have several (`messages`), of which the
    assistant's are one answer; others have what a stream has (`delta`), or text alone."""
    delta, several = choice.pop("delta", None), choice.pop("messages", None)
    message = choice.get("message")
    if isinstance(message, dict):
        return message
    if isinstance(several, list):
        own = [one for one in objects(several) if one.get("role") in (None, "assistant")]
        content = [part for one in own for part in _parts(one.get("content"))]
        calls = [one for message in own for one in call_list(message.get("tool_calls"))]
        return {"content": content, "tool_calls": calls}
    return delta if isinstance(delta, dict) else {"content": choice.get("text")}


def _parts(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [content]


def _message(message: Any, call: Call) -> Json:
    out = {name: value for name, value in obj(message).items() if value is not None}
    out["role"] = "assistant"
    content = out.get("content")
    reasoning = take_reasoning(out)
    if isinstance(content, list):
        parts = Parts(content)
        content = parts.text if parts.text or not parts.refusal else None
        reasoning = reasoning or parts.reasoning
        for name, found in (("refusal", parts.refusal), ("thinking_blocks", parts.thinking)):
            if found:
                out.setdefault(name, found)
        if parts.others:
            out["provider_specific_fields"] = {
                **obj(out.get("provider_specific_fields")),
                "content_blocks": parts.others,
            }
    out["content"] = content if isinstance(content, str) else None
    for name, kind in _MESSAGE_TYPES.items():
        if not isinstance(out.get(name, kind()), kind):
            del out[name]
    if reasoning:
        out["reasoning_content"] = reasoning
    calls = [_tool_call(item, call) for item in objects(call_list(out.pop("tool_calls", None)))]
    if "function_call" in out and call.client_format != "openai":
        # The form before tools, which no other format knows.
        calls.append(_tool_call({"function": out.pop("function_call")}, call))
    if calls:
        out["tool_calls"] = calls
    for name in ("content", "reasoning_content", "refusal"):
        call.output_bytes += utf8_size(text(out.get(name)))
    return out


def _tool_call(item: Json, call: Call) -> Json:
    out = {name: value for name, value in item.items() if name != "index"}
    out["id"] = call_id(item.get("id")) or call.new_id("call_")
    function = item.get("function")
    if isinstance(function, dict):
        out["type"] = "function"
        arguments = arguments_text(function.get("arguments")) or "{}"
        out["function"] = {**function, "name": text(function.get("name")), "arguments": arguments}
        call.output_bytes += utf8_size(arguments)
    elif isinstance(custom := item.get("custom"), dict):
        out["type"] = "custom"
        out["custom"] = {**custom, "name": text(custom.get("name")), "input": text(custom.get("input"))}
        call.output_bytes += utf8_size(out["custom"]["input"])
    else:
        out["type"] = "function"
        out["function"] = {"name": "", "arguments": "{}"}
    return out


def _index(item: Json, position: int) -> int:
    index = integer(item.get("index"))
    return position if index is None else index
