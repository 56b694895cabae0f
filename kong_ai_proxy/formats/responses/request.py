"""A Responses request as a chat request.

Source: https://platform.openai.com/docs/api-reference/responses/create and
https://platform.openai.com/docs/guides/migrate-to-responses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ...core.call import Call
from ...core.errors import BadRequest
from ...core.json import Json
from ..openai.custom_tools import custom_function
from ..pivot import items, merged_body, obj, objects, text
from ..system_first import system_first
from .history import History

_STORED: Final = ("previous_response_id", "conversation", "prompt")
"""What refers to things that are stored at OpenAI."""
_SAME: Final = (
    "model", "temperature", "top_p", "parallel_tool_calls", "user", "metadata", "service_tier", "stream",
    "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "top_k", "seed", "stop",
    "presence_penalty", "frequency_penalty",
)  # fmt: skip
_READ: Final = frozenset({
    *_SAME, *_STORED, "background", "include", "input", "instructions", "max_output_tokens", "reasoning",
    "store", "stream_options", "text", "tool_choice", "tools", "top_logprobs", "truncation",
})  # fmt: skip
_ECHOED: Final = (
    "instructions", "max_output_tokens", "metadata", "parallel_tool_calls", "reasoning", "temperature",
    "text", "tool_choice", "tools", "top_p", "user", "top_logprobs", "max_tool_calls", "prompt_cache_key",
    "safety_identifier",
)  # fmt: skip
"""What an answer repeats of its request."""
_LOGPROBS: Final = "message.output_text.logprobs"
_SOURCES: Final = "web_search_call.action.sources"
_INCLUDED: Final = frozenset({_LOGPROBS, "reasoning.encrypted_content"})
_REASONING: Final = frozenset({"effort", "summary", "generate_summary"})
"""Of `reasoning`: readable reasoning comes as a summary without being asked for."""
_SEARCHES: Final = frozenset({"web_search", "web_search_preview", "web_search_2025_08_26"})
_SEARCHING: Final = frozenset({"gemini", "anthropic", "azure"})
"""Providers whose adapters know chat's `web_search_options`. Of Azure only Claude is asked over chat."""
_SEARCH_OPTIONS: Final = ("search_context_size", "user_location", "filters")


def chat_request(body: Json, call: Call) -> Json:
    """See the module. Raises BadRequest for what only a store, or OpenAI's own tools, could serve."""
    body = merged_body(body)
    _check_stateless(body)
    call.echo = {name: body[name] for name in _ECHOED if body.get(name) is not None}
    for name in body.keys() - _READ:
        if body[name] is not None:
            call.drop(name)
    chat: Json = {name: body[name] for name in _SAME if body.get(name) is not None}
    chat["messages"] = _messages(body, call)
    if body.get("max_output_tokens") is not None:
        chat["max_completion_tokens"] = body["max_output_tokens"]
    _tools(body, chat, call)
    _text(body, chat)
    _reasoning(body, chat, call)
    _logprobs(body, chat, call)
    if body.get("store") is True:
        call.drop("store")
    if body.get("truncation") not in (None, "disabled"):
        call.drop("truncation")
    return chat


def _check_stateless(body: Json) -> None:
    for name in _STORED:
        if body.get(name) is not None:
            raise BadRequest(
                f"{name} is not supported for this provider: it stores no responses; send the whole "
                "conversation as input",
                param=name,
                code="unsupported_parameter",
            )
    if body.get("background"):
        raise BadRequest(
            "background is not supported for this provider: it stores no responses",
            param="background",
            code="unsupported_parameter",
        )


def _messages(body: Json, call: Call) -> list[Json]:
    history = History(call)
    instructions = body.get("instructions")
    if isinstance(instructions, str) and instructions:
        history.add({"role": "system", "content": instructions})
    elif isinstance(instructions, list):
        for position, item in enumerate(instructions):
            history.item(item, f"instructions[{position}]")
    given = body.get("input")
    if isinstance(given, str):
        history.add({"role": "user", "content": given})
    elif isinstance(given, list):
        for position, item in enumerate(given):
            history.item(item, f"input[{position}]")
    elif given is None:
        raise BadRequest(
            "Missing required parameter: 'input'.", param="input", code="missing_required_parameter"
        )
    else:
        raise BadRequest("input must be a string or an array", param="input")
    messages = system_first(history.finish(), call.provider)
    if not messages:
        raise BadRequest("input must not be empty", param="input")
    return messages


def _tools(body: Json, chat: Json, call: Call) -> None:
    tools = body.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise BadRequest("tools must be an array", param="tools")
    made: list[Json] = []
    for position, tool in enumerate(items(tools)):
        where = f"tools[{position}]"
        if not isinstance(tool, dict):
            raise BadRequest(f"{where} must be a JSON object", param=where)
        kind = text(tool.get("type"))
        if kind in _MADE:
            made.append(_MADE[kind](tool, where, call))
        elif kind == "namespace":
            made += _namespace(tool, where, call)
        elif kind in _SEARCHES and call.provider in _SEARCHING:
            chat["web_search_options"] = _search(tool, where, call)
        else:
            raise BadRequest(
                f"tools of type {kind or 'unknown'!r} are not supported by provider {call.provider}",
                param=f"{where}.type",
                code="unsupported_tool",
            )
    if made:
        chat["tools"] = made
        if any(tool.get("type") == "namespace" for tool in items(tools)):
            _check_names(made)
    given = body.get("tool_choice")
    choice = _tool_choice(given)
    if choice is not None and made:
        chat["tool_choice"] = choice
    if "web_search_options" in chat:
        if not _may_search(given):
            del chat["web_search_options"]
        elif given not in (None, "auto") and not made:
            call.drop("tool_choice")
        elif choice is not None and obj(obj(choice).get("allowed_tools")).get("tools") == []:
            # The search alone is allowed: nothing in chat says so.
            call.drop("tool_choice.tools")


def _search(tool: Json, where: str, call: Call) -> Json:
    for name in sorted(tool.keys() - {"type", *_SEARCH_OPTIONS}):
        if tool[name] is not None and not (name == "external_web_access" and tool[name] is True):
            call.drop(f"{where}.{name}")
    return {name: tool[name] for name in _SEARCH_OPTIONS if tool.get(name)}


def _may_search(choice: Any) -> bool:
    """Chat's options stand beside its tools, so that what chooses among tools does not reach them."""
    if obj(choice).get("type") == "allowed_tools":
        return any(text(tool.get("type")) in _SEARCHES for tool in objects(choice.get("tools")))
    return bool(choice != "none")


def _namespace(tool: Json, where: str, call: Call) -> list[Json]:
    """The tools of a namespace beside all others; an answer's calls say where they belong
    (openai 3.54: responses/namespace_tool.py)."""
    made = []
    for position, one in enumerate(items(tool.get("tools"))):
        at = f"{where}.tools[{position}]"
        make = _MADE.get(text(obj(one).get("type")))
        if make is None:
            raise BadRequest(f"{at} must be a function or a custom tool", param=at, code="unsupported_tool")
        made.append(make(one, at, call))
    return made


def _check_names(made: list[Json]) -> None:
    """Chat knows a tool by its name alone."""
    seen: set[str] = set()
    for tool in made:
        name = tool["function"]["name"]
        if name in seen:
            raise BadRequest(f"two tools have the name {name!r}", param="tools", code="unsupported_tool")
        seen.add(name)


def _function(tool: Json, where: str, call: Call) -> Json:
    # Chat's own form, with `function` inside, is what many clients send by mistake.
    inner = obj(tool.get("function")) or tool
    if not text(inner.get("name")):
        raise BadRequest(f"{where} has no name", param=f"{where}.name")
    names = ("name", "description", "parameters", "strict")
    function = {name: inner[name] for name in names if inner.get(name) is not None}
    for name in sorted(inner.keys() - {*names, "type", "function", "cache_control"}):
        if inner[name] is not None:
            call.drop(f"tools.{name}")
    made: Json = {"type": "function", "function": function}
    if tool.get("cache_control") is not None:
        made["cache_control"] = tool["cache_control"]
    return made


def _custom(tool: Json, where: str, call: Call) -> Json:
    """A tool that takes free text is a function with one text. A grammar can only be told, not enforced."""
    if not text(tool.get("name")):
        raise BadRequest(f"{where} has no name", param=f"{where}.name")
    form = obj(tool.get("format"))
    grammar = form if form.get("type") == "grammar" else {}
    return custom_function(
        tool["name"],
        text(tool.get("description")),
        text(grammar.get("syntax")),
        text(grammar.get("definition")),
    )


_MADE: Final[dict[str, Callable[[Json, str, Call], Json]]] = {"function": _function, "custom": _custom}


def _tool_choice(choice: Any) -> Any:
    if not isinstance(choice, dict):
        return choice
    kind = choice.get("type")
    if kind in ("function", "custom"):
        name = choice.get("name") or obj(choice.get("function")).get("name")
        return {"type": "function", "function": {"name": name}}
    if kind == "allowed_tools":
        tools = [
            {"type": "function", "function": {"name": tool.get("name")}}
            for tool in objects(choice.get("tools"))
            if text(tool.get("type")) not in _SEARCHES
        ]
        return {
            "type": "allowed_tools",
            "allowed_tools": {"mode": choice.get("mode") or "auto", "tools": tools},
        }
    raise BadRequest("tool_choice names no tool that is supported", param="tool_choice")


def _text(body: Json, chat: Json) -> None:
    given = obj(body.get("text"))
    if given.get("verbosity") is not None:
        chat["verbosity"] = given["verbosity"]
    form = obj(given.get("format"))
    kind = form.get("type")
    if kind == "json_object":
        chat["response_format"] = {"type": "json_object"}
    elif kind == "json_schema":
        names = ("name", "description", "schema", "strict")
        schema = {name: form[name] for name in names if form.get(name) is not None}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind not in (None, "text"):
        raise BadRequest(f"text.format of type {kind!r} is not supported", param="text.format.type")


def _reasoning(body: Json, chat: Json, call: Call) -> None:
    reasoning = obj(body.get("reasoning"))
    for name in sorted(reasoning.keys() - _REASONING):
        if reasoning[name] is not None:
            call.drop(f"reasoning.{name}")
    if reasoning.get("effort") is not None:
        chat["reasoning_effort"] = reasoning["effort"]


def _logprobs(body: Json, chat: Json, call: Call) -> None:
    included = items(body.get("include"))
    top = body.get("top_logprobs")
    if _LOGPROBS in included or top:
        chat["logprobs"] = True
        if top:
            chat["top_logprobs"] = top
    for name in included:
        if name == _SOURCES and "web_search_options" in chat and call.provider != "gemini":
            continue  # told unasked
        if isinstance(name, str) and name not in _INCLUDED:
            call.drop(f"include.{name}")
