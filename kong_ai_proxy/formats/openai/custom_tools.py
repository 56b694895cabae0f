"""OpenAI's custom tools, which take free text, at providers that know functions alone.

A custom tool goes out as a function with one text; its calls come back as custom calls. A grammar can only
be told, not enforced. Where bytes pass through (OpenAI, Azure), the provider does all this itself; nobody
else has such tools: https://docs.mistral.ai/api/#tag/chat, https://api-docs.deepseek.com/api/create-chat-completion,
https://docs.x.ai/docs/api-reference#chat-completions, https://docs.ollama.com/api/openai-compatibility,
https://inference-docs.cerebras.ai/api-reference/chat-completions,
https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/api-reference#toolobject,
https://github.com/vllm-project/vllm (ChatCompletionToolsParam).

Source: https://platform.openai.com/docs/api-reference/chat/create (`tools`, custom tool) and openai 2.9,
types/chat/chat_completion_custom_tool_param.py; in streams, where neither has them,
https://github.com/openai/openai-openapi/issues/576.
"""

from __future__ import annotations

from typing import Final

from ...core.call import Call
from ...core.errors import BadRequest
from ...core.json import Json, JSONDecodeError, dumps_text, loads
from ..pivot import integer, obj, objects, text

CUSTOM_INPUT: Final = "input"
"""The one parameter of the function that stands for a custom tool."""
_TOLD: Final = "The input must match this {} grammar:\n{}"


def custom_function(name: str, description: str, syntax: str = "", grammar: str = "") -> Json:
    """The function that stands for a custom tool."""
    if grammar:
        description = f"{description}\n\n{_TOLD.format(syntax, grammar)}".strip()
    function: Json = {"name": name}
    if description:
        function["description"] = description
    function["parameters"] = {
        "type": "object",
        "properties": {CUSTOM_INPUT: {"type": "string"}},
        "required": [CUSTOM_INPUT],
        "additionalProperties": False,
    }
    return {"type": "function", "function": function}


def custom_input(arguments: str) -> str:
    """The free text in the arguments of such a function; the arguments themselves, where a model did not keep
    to the one text."""
    try:
        found = obj(loads(arguments)).get(CUSTOM_INPUT)
    except JSONDecodeError:
        return arguments
    return found if isinstance(found, str) else arguments


# ---- the request


def with_functions(body: Json, special: list[Json], call: Call) -> Json:
    """The request with functions for its custom tools, whose names are noted on the call, and for earlier
    calls of such. The same object where there are none.

    `special`: the messages that are more than a role and a text. Raises BadRequest for a tool without a name.
    """
    if any(map(_calls_custom, special)):
        # Also where the tools are not told again.
        messages = [_message(one) if _calls_custom(one) else one for one in body["messages"]]
        body = {**body, "messages": messages}
    tools = body.get("tools")
    if not isinstance(tools, list) or not any(map(_is_custom, tools)):
        return body
    made: list[Json] = []
    names: set[str] = set()
    for position, tool in enumerate(tools):
        if _is_custom(tool):
            tool = _function(tool, f"tools[{position}]", call)
            names.add(tool["function"]["name"])
        made.append(tool)
    call.custom_tools = frozenset(names)
    out = {**body, "tools": made}
    if isinstance(choice := body.get("tool_choice"), dict):
        out["tool_choice"] = _choice(choice)
    return out


def _is_custom(tool: Json) -> bool:
    return tool.get("type") == "custom"


def _function(tool: Json, where: str, call: Call) -> Json:
    custom = obj(tool.get("custom"))
    name = text(custom.get("name"))
    if not name:
        raise BadRequest(f"Missing required parameter: '{where}.custom.name'.", param=f"{where}.custom.name")
    form = obj(custom.get("format"))
    grammar = obj(form.get("grammar")) if form.get("type") == "grammar" else {}
    if grammar:
        call.drop("tools.custom.format")
    made = custom_function(
        name, text(custom.get("description")), text(grammar.get("syntax")), text(grammar.get("definition"))
    )
    return made | {key: value for key, value in tool.items() if key not in ("type", "custom")}


def _calls_custom(message: Json) -> bool:
    return any(map(_is_custom, objects(message.get("tool_calls"))))


def _message(message: Json) -> Json:
    return {**message, "tool_calls": list(map(_call, objects(message["tool_calls"])))}


def _call(one: Json) -> Json:
    if not _is_custom(one):
        return one
    custom = obj(one.get("custom"))
    function = {
        "name": text(custom.get("name")),
        "arguments": dumps_text({CUSTOM_INPUT: text(custom.get("input"))}),
    }
    return {key: value for key, value in one.items() if key != "custom"} | {
        "type": "function",
        "function": function,
    }


def _choice(choice: Json) -> Json:
    if _is_custom(choice):
        return {"type": "function", "function": {"name": obj(choice.get("custom")).get("name")}}
    allowed = obj(choice.get("allowed_tools"))
    if not any(map(_is_custom, objects(allowed.get("tools")))):
        return choice
    return {**choice, "allowed_tools": {**allowed, "tools": list(map(_choice, objects(allowed["tools"])))}}


# ---- the answer


def with_custom_calls(answer: Json, names: frozenset[str]) -> Json:
    """A whole answer with calls of these functions as custom calls."""
    return {**answer, "choices": [_whole(choice, names) for choice in objects(answer.get("choices"))]}


def _whole(choice: Json, names: frozenset[str]) -> Json:
    message = obj(choice.get("message"))
    if not message.get("tool_calls"):
        return choice
    calls = []
    for one in objects(message["tool_calls"]):
        function = obj(one.get("function"))
        name = text(function.get("name"))
        if name in names:
            custom = {"name": name, "input": custom_input(text(function.get("arguments")))}
            one = {key: value for key, value in one.items() if key != "function"}
            one |= {"type": "custom", "custom": custom}
        calls.append(one)
    return {**choice, "message": {**message, "tool_calls": calls}}


class CustomCalls:
    """A stream's chunks with calls of these functions as custom calls. Their input, a text within JSON, is
    told when it is whole: before the finish reason."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._held: dict[tuple[int, int], list[str]] = {}
        """By choice and call: the pieces of the arguments."""

    def restored(self, chunk: Json) -> list[Json]:
        """The chunks that the client gets for this one."""
        made: list[Json] = []
        choices = []
        for choice in objects(chunk.get("choices")):
            at = integer(choice.get("index")) or 0
            ended = choice.get("finish_reason") is not None
            delta = obj(choice.get("delta"))
            if delta.get("tool_calls"):
                fragments = list(
                    filter(None, (self._fragment(at, one) for one in objects(delta["tool_calls"])))
                )
                delta = {key: value for key, value in delta.items() if key != "tool_calls"}
                if fragments:
                    delta["tool_calls"] = fragments
                elif not delta and not ended:
                    continue
                choice = {**choice, "delta": delta}
            if ended and (whole := self._whole(at)):
                told = {
                    "index": at,
                    "delta": {**delta, "tool_calls": [*objects(delta.get("tool_calls")), *whole]},
                }
                made.append({**chunk, "choices": [{**told, "finish_reason": None}]})
                choice = {**choice, "delta": {}}
            choices.append(choice)
        if made and "usage" in chunk:
            made = [{key: value for key, value in one.items() if key != "usage"} for one in made]
        if choices or not chunk.get("choices"):
            made.append({**chunk, "choices": choices})
        return made

    def _fragment(self, choice: int, fragment: Json) -> Json | None:
        """What of a fragment the client gets now."""
        index = integer(fragment.get("index")) or 0
        function = obj(fragment.get("function"))
        held = self._held.get((choice, index))
        name = text(function.get("name"))
        if held is None:
            if name not in self._names:
                return fragment
            self._held[choice, index] = [text(function.get("arguments"))]
            begun = {key: value for key, value in fragment.items() if key != "function"}
            return begun | {"type": "custom", "custom": {"name": name, "input": ""}}
        held.append(text(function.get("arguments")))
        return None

    def _whole(self, choice: int) -> list[Json]:
        mine = [key for key in self._held if key[0] == choice]
        return [
            {"index": key[1], "custom": {"input": custom_input("".join(self._held.pop(key)))}} for key in mine
        ]
