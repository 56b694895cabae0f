"""The request in a provider's dialect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from ...core.call import Call
from ...core.json import Json
from ..pivot import merged_body, obj, objects, text, tool_choice
from .dialect import FOREIGN, Dialect
from .messages import dialect_messages, without_member

_DEFAULTS: Final = ("temperature", "top_p", "top_k", "max_tokens")


def request_body(body: Json, call: Call, dialect: Dialect, *, passing: bool = False) -> Json:
    """The provider's request from the client's: chat, completions, embeddings. `body` stays as it is.

    `passing`: the client speaks this provider's own form, so what it refuses is left for it to refuse.
    """
    # OpenAI's SDKs send null for "not set"; others take it for a wrong type.
    out = {name: value for name, value in merged_body(body).items() if value is not None}
    if call.model:
        out["model"] = call.model
    model = text(out.get("model"))
    if call.operation == "embeddings":
        if call.options.embeddings_dimensions is not None:
            out.setdefault("dimensions", call.options.embeddings_dimensions)
    else:
        _add_defaults(out, model, call, dialect)
        _name_limit(out, model, call, dialect)
        _set_stream(out, call, dialect)
    if "messages" in out:
        out["messages"] = dialect_messages(out["messages"], call, dialect)
    if "tools" in out and not dialect.cache_control:
        out["tools"] = without_member(out["tools"], "cache_control", "tools", call)
    if dialect.needs_parameters and isinstance(out.get("tools"), list):
        out["tools"] = [_with_parameters(tool) for tool in out["tools"]]
    if not dialect.allowed_tools:
        _limit_tools(out)
    for name, other in dialect.renamed.items():
        if name in out:
            out.setdefault(other, out.pop(name))
    for name, meanings in dialect.values.items():
        _translate_value(out, name, meanings, call)
    if not passing:
        _drop_refused(out, model, call, dialect)
    return out


def _with_parameters(tool: Any) -> Any:
    """A function that says nothing of parameters has none."""
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or isinstance(function.get("parameters"), dict):
        return tool
    return {**tool, "function": {**function, "parameters": {"type": "object", "properties": {}}}}


def _limit_tools(out: Json) -> None:
    """Give no other tools than those that `tool_choice` allows, for who has no such choice."""
    if obj(out.get("tool_choice")).get("type") != "allowed_tools":
        return
    out["tool_choice"], names = tool_choice(out)
    if names and isinstance(out.get("tools"), list):
        wanted = set(names)
        out["tools"] = [
            tool for tool in objects(out["tools"]) if text(obj(tool.get("function")).get("name")) in wanted
        ]


def _translate_value(out: Json, name: str, meanings: Mapping[str, str | None], call: Call) -> None:
    value = out.get(name)
    if not isinstance(value, str) or value not in meanings:
        return
    meaning = meanings[value]
    if meaning is None:
        del out[name]
        call.drop(name)
    else:
        out[name] = meaning


@lru_cache(256)
def is_reasoning_model(model: str, prefixes: tuple[str, ...]) -> bool:
    """By the model's name: "o3-mini", "gpt-5.1" and "ft:o4-mini:org" are; "gpt-4o" is not."""
    name = _bare(model)
    for prefix in prefixes:
        rest = name.removeprefix(prefix)
        if len(rest) < len(name) and not rest[:1].isalnum():
            return True
    return False


@lru_cache(256)
def refused_fields(model: str, dialect: Dialect) -> Mapping[str, Any]:
    """Field → the one value this model takes: "gpt-5-mini" has a temperature of 1, "gpt-5.1" any."""
    name = _bare(model)
    found: dict[str, Any] = {}
    for refusal in dialect.refusals:
        if re.fullmatch(refusal.models, name):
            found.update(refusal.fields)
    return found


def _bare(model: str) -> str:
    return model.rpartition("/")[2].removeprefix("ft:").lower()


def _set_stream(out: Json, call: Call, dialect: Dialect) -> None:
    """Ask for a stream, and for its usage, as the call has it."""
    if not call.stream:
        out.pop("stream_options", None)
        if out.get("stream"):
            out["stream"] = False
        return
    out["stream"] = True
    if not dialect.stream_options:
        out.pop("stream_options", None)
    elif obj(out.get("stream_options")).get("include_usage") is not True:
        out["stream_options"] = {**obj(out.get("stream_options")), "include_usage": True}


def _add_defaults(out: Json, model: str, call: Call, dialect: Dialect) -> None:
    """`model.options` for what the client left open, but nothing that this model answers with an error."""
    refused = refused_fields(model, dialect)
    for name in _DEFAULTS:
        value = getattr(call.options, name)
        if value is None or name in dialect.rejected or name in refused:
            continue
        if not (name == "max_tokens" and "max_completion_tokens" in out):
            out.setdefault(name, value)


def _name_limit(out: Json, model: str, call: Call, dialect: Dialect) -> None:
    """One name for the limit of output tokens, where only one will do."""
    if call.operation != "chat":
        return
    name = dialect.token_limit
    if is_reasoning_model(model, dialect.reasoning_models):
        name = "max_completion_tokens"
    if name is None:
        return
    old, new = out.pop("max_tokens", None), out.pop("max_completion_tokens", None)
    limit = old if new is None else new
    if limit is not None:
        out[name] = limit


def _drop_refused(out: Json, model: str, call: Call, dialect: Dialect) -> None:
    for name in sorted((dialect.rejected | FOREIGN) & out.keys()):
        del out[name]
        call.drop(name)
    if call.operation == "chat":
        for name, taken in refused_fields(model, dialect).items():
            if name in out and out[name] != taken:
                del out[name]
                call.drop(name)
