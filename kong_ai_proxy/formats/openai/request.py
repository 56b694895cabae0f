"""The request in a provider's dialect."""

from __future__ import annotations

from typing import Any, Final

from ...core.call import Call
from ...core.errors import BadRequest
from ...core.json import Json
from ..pivot import items, merged_body, obj, text
from .dialect import EXTENSIONS, Dialect

_DEFAULTS: Final = ("temperature", "top_p", "top_k", "max_tokens")


def request_body(body: Json, call: Call, dialect: Dialect) -> Json:
    """The provider's request from the client's: chat, completions, embeddings. `body` stays as it is."""
    # OpenAI's SDKs send null for "not set"; others take it for a wrong type.
    out = {name: value for name, value in merged_body(body).items() if value is not None}
    if call.model:
        out["model"] = call.model
    if call.operation == "embeddings":
        _embedding_fields(out, call)
    else:
        _default_fields(out, call)
        _limit_tokens(out, call, dialect)
        set_stream(out, call, dialect)
    if "messages" in out:
        out["messages"] = [_message(message, call, dialect) for message in _messages(out["messages"])]
    if "tools" in out and not dialect.cache_control:
        out["tools"] = _without_cache_control(out["tools"], "tools", call)
    for name, other in dialect.renamed.items():
        if name in out:
            out.setdefault(other, out.pop(name))
    for name in dialect.rejected & out.keys():
        del out[name]
        call.drop(name)
    return out


def set_stream(out: Json, call: Call, dialect: Dialect) -> bool:
    """Ask for a stream, and for its usage, as the call has it; in place. True if anything changed."""
    before = out.get("stream"), out.get("stream_options")
    if call.stream:
        out["stream"] = True
        if dialect.stream_options:
            options = out.get("stream_options")
            if obj(options).get("include_usage") is not True:
                out["stream_options"] = {**obj(options), "include_usage": True}
        else:
            out.pop("stream_options", None)
    else:
        out.pop("stream_options", None)
        if out.get("stream"):
            out["stream"] = False
    return before != (out.get("stream"), out.get("stream_options"))


def limit_name(model: str, dialect: Dialect) -> str | None:
    """What the limit of output tokens must be called for this model; None where both names do."""
    if dialect.reasoning_models and is_reasoning_model(model, dialect):
        return "max_completion_tokens"
    return dialect.token_limit


def is_reasoning_model(model: str, dialect: Dialect) -> bool:
    """By the model's name: "o3-mini", "gpt-5.1" and "ft:o4-mini:org" are; "gpt-4o" is not."""
    name = model.rpartition("/")[2].removeprefix("ft:").lower()
    for prefix in dialect.reasoning_models:
        rest = name.removeprefix(prefix)
        if len(rest) < len(name) and not rest[:1].isalnum():
            return True
    return False


def _limit_tokens(out: Json, call: Call, dialect: Dialect) -> None:
    name = limit_name(text(out.get("model")), dialect) if call.operation == "chat" else None
    if name is None:
        return
    old, new = out.pop("max_tokens", None), out.pop("max_completion_tokens", None)
    limit = old if new is None else new
    if limit is not None:
        out[name] = limit


def _default_fields(out: Json, call: Call) -> None:
    """`model.options` for what the client left open."""
    for name in _DEFAULTS:
        value = getattr(call.options, name)
        if value is not None and not (name == "max_tokens" and "max_completion_tokens" in out):
            out.setdefault(name, value)


def _embedding_fields(out: Json, call: Call) -> None:
    if call.options.embeddings_dimensions is not None:
        out.setdefault("dimensions", call.options.embeddings_dimensions)


def _messages(messages: Any) -> list[Any]:
    if not isinstance(messages, list):
        raise BadRequest("'messages' must be an array", param="messages")
    return messages


def _message(message: Any, call: Call, dialect: Dialect) -> Any:
    """One message, without what this provider does not know. The same object where nothing changes."""
    if not isinstance(message, dict):
        return message
    out = message
    role = message.get("role")
    if isinstance(role, str) and role in dialect.roles:
        out = {**out, "role": dialect.roles[role]}
    foreign = (EXTENSIONS & out.keys()) - dialect.known
    if foreign:
        out = {name: value for name, value in out.items() if name not in foreign}
        if _give_reasoning(out, text(message.get("reasoning_content") or message.get("reasoning")), dialect):
            foreign -= {"reasoning_content", "reasoning"}
        for name in foreign:
            call.drop(f"messages.{name}")
    if not dialect.cache_control:
        if "cache_control" in out:
            out = {name: value for name, value in out.items() if name != "cache_control"}
            call.drop("messages.cache_control")
        content = out.get("content")
        if isinstance(content, list):
            cleaned = _without_cache_control(content, "messages.content", call)
            if cleaned is not content:
                out = {**out, "content": cleaned}
    calls = out.get("tool_calls")
    if isinstance(calls, list) and "extra_content" not in dialect.known:
        stripped = _without(calls, "extra_content", "messages.tool_calls", call)
        if stripped is not calls:
            out = {**out, "tool_calls": stripped}
    return out


def _give_reasoning(out: Json, reasoning: str, dialect: Dialect) -> bool:
    """Hand earlier reasoning back in the way this provider takes it, if it takes it; in place."""
    if not reasoning:
        return False
    if dialect.reasoning_field:
        out.setdefault(dialect.reasoning_field, reasoning)
        return True
    if dialect.thinking_parts:
        content = out.get("content")
        rest = [{"type": "text", "text": content}] if isinstance(content, str) and content else items(content)
        out["content"] = [{"type": "thinking", "thinking": [{"type": "text", "text": reasoning}]}, *rest]
        return True
    return False


def _without_cache_control(parts: Any, where: str, call: Call) -> Any:
    return _without(parts, "cache_control", where, call) if isinstance(parts, list) else parts


def _without(parts: list[Any], name: str, where: str, call: Call) -> list[Any]:
    """The objects without one of their members; the same list where none has it."""
    if not any(isinstance(part, dict) and name in part for part in parts):
        return parts
    call.drop(f"{where}.{name}")
    return [
        {key: value for key, value in part.items() if key != name} if isinstance(part, dict) else part
        for part in parts
    ]
