"""OpenAI's deprecated `functions` towards clients that still speak it: tools inside, function calls outside.

Where bytes pass through (OpenAI, Azure) the provider does this itself.

Source: https://platform.openai.com/docs/api-reference/chat/create (`functions`, `function_call`).
"""

from __future__ import annotations

from typing import Final

from ...core.call import Call
from ...core.json import Json
from ..pivot import modern_messages, obj, objects, speak_of_functions

_LEGACY_MEMBERS: Final = frozenset({"functions", "function_call"})


def with_tools(body: Json, special: list[Json], call: Call) -> Json:
    """The request with its functions as tools; noted on the call. The same object where there are none.

    `special`: the messages that are more than a role and a text.
    """
    functions = objects(body.get("functions"))
    if not functions and not speak_of_functions(special):
        return body
    out = {name: value for name, value in body.items() if name not in _LEGACY_MEMBERS}
    out["messages"] = modern_messages(body["messages"], call)
    if functions:
        call.legacy_functions = True
        out["tools"] = [{"type": "function", "function": function} for function in functions]
        choice = body.get("function_call")
        if isinstance(choice, dict):
            choice = {"type": "function", "function": {"name": choice.get("name")}}
        if choice is not None:
            out["tool_choice"] = choice
    return out


def with_function_calls(answer: Json) -> Json:
    """An answer or a chunk with its (first) tool call as a function call, as the client knows it."""
    return {**answer, "choices": [_choice(choice) for choice in objects(answer.get("choices"))]}


def _choice(choice: Json) -> Json:
    out = dict(choice)
    for member in ("message", "delta"):
        if isinstance(out.get(member), dict):
            out[member] = _message(out[member])
    if out.get("finish_reason") == "tool_calls":
        out["finish_reason"] = "function_call"
    return out


def _message(message: Json) -> Json:
    out = {name: value for name, value in message.items() if name != "tool_calls"}
    calls = objects(message.get("tool_calls"))
    if calls and not calls[0].get("index"):
        out["function_call"] = obj(calls[0].get("function"))
    return out
