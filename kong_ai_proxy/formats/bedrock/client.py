"""Converse as clients speak it, to and from OpenAI's form.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html. What the target
cannot take is noted on the call.
"""

from __future__ import annotations

from typing import Any, Final

from ...core.call import Call
from ...core.errors import ApiError, BadRequest
from ...core.json import Json, dumps_text
from ..anthropic.client import SWITCHED_BY_EFFORT
from ..base import StreamEncoder
from ..openai.strict import fits_strict
from ..pivot import decoded, integer, obj, objects, text, tool_call
from ..thought_signatures import give_back, google_signature
from .client_answer import converse_answer, error_body
from .client_media import media_part
from .client_stream import ConverseEncoder
from .messages import redacted_block

_INFERENCE: Final = {
    "maxTokens": "max_tokens",
    "temperature": "temperature",
    "topP": "top_p",
    "stopSequences": "stop",
}
_HANDLED: Final = frozenset(
    {
        "messages", "system", "inferenceConfig", "toolConfig", "additionalModelRequestFields",
        "outputConfig", "requestMetadata", "serviceTier",
    }
)  # fmt: skip
_CLAUDE_HOSTS: Final = frozenset({"anthropic", "bedrock", "gemini"})
_NO_TOP_K: Final = frozenset({"openai", "azure"})
_CACHE_HOSTS: Final = frozenset({"anthropic", "bedrock"})
_TAKES_IS_ERROR: Final = frozenset({"anthropic", "bedrock"})
_EFFORT_BY_BUDGET: Final = ((4096, "low"), (12_000, "medium"))
"""Thinking budgets up to these tokens → `reasoning_effort`, above them "high": as for Messages clients."""
_TIERS: Final = frozenset({"default", "flex", "priority"})


class ConverseClient:
    """See `formats.base.ClientFormat`."""

    name = "bedrock"

    def request(self, body: Json, call: Call) -> Json:
        return _Request(call).read(body)

    def response(self, answer: Json, call: Call) -> Json:
        return converse_answer(answer, call)

    def stream(self, call: Call) -> StreamEncoder:
        return ConverseEncoder(call)

    def error(self, error: ApiError) -> Json:
        return error_body(error)


class _Request:
    """One Converse request on its way into OpenAI's form."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._claude = call.provider in _CLAUDE_HOSTS and "claude" in call.model.lower()
        self._claude = self._claude or call.provider == "anthropic"

    def read(self, body: Json) -> Json:
        out: Json = {"messages": self._system(body.get("system"))}
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise BadRequest("messages: at least one message is required", param="messages")
        for index, message in enumerate(messages):
            where = f"messages[{index}]"
            role = message.get("role") if isinstance(message, dict) else None
            if role == "user":
                out["messages"] += self._user(objects(message.get("content")))
            elif role == "assistant":
                out["messages"].append(self._assistant(objects(message.get("content"))))
            else:
                raise BadRequest(f"{where}.role must be user or assistant", param=f"{where}.role")
        for name, value in obj(body.get("inferenceConfig")).items():
            if name in _INFERENCE:
                out[_INFERENCE[name]] = value
            else:
                self._call.drop(f"inferenceConfig.{name}")
        self._tools(obj(body.get("toolConfig")), out)
        self._extra(obj(body.get("additionalModelRequestFields")), out)
        self._output(obj(body.get("outputConfig")), out)
        if obj(body.get("requestMetadata")):
            out["metadata"] = body["requestMetadata"]
        tier = obj(body.get("serviceTier")).get("type")
        if tier in _TIERS:
            out["service_tier"] = tier
        elif tier is not None:
            self._call.drop("serviceTier")
        for name, value in body.items():
            if name not in _HANDLED and value is not None:
                self._call.drop(name)
        return out

    # ---- messages

    def _system(self, system: Any) -> list[Json]:
        parts = self._parts(objects(system), "system")
        if not parts:
            return []
        plain = len(parts) == 1 and parts[0].keys() == {"type", "text"}
        return [{"role": "system", "content": parts[0]["text"] if plain else parts}]

    def _user(self, blocks: list[Json]) -> list[Json]:
        """A user turn: tool results first, as messages of their own, then what the user says."""
        messages: list[Json] = []
        rest: list[Json] = []
        for block in blocks:
            if isinstance(block.get("toolResult"), dict):
                messages.append(self._tool_result(block["toolResult"], rest))
            elif "cachePoint" in block and not rest and messages:
                self._mark(messages[-1], block)
            else:
                self._part(block, rest, "messages.content")
        if rest or not messages:
            plain = len(rest) == 1 and rest[0].keys() == {"type", "text"}
            messages.append({"role": "user", "content": rest[0]["text"] if plain else rest})
        return messages

    def _tool_result(self, result: Json, rest: list[Json]) -> Json:
        said: list[Json] = []
        for block in objects(result.get("content")):
            if "json" in block:
                said.append({"type": "text", "text": dumps_text(block["json"])})
            else:
                self._part(block, said, "messages.content.toolResult.content")
        if self._call.provider not in _CLAUDE_HOSTS:
            # Others take images and files from users only.
            rest += [part for part in said if part.get("type") != "text"]
            said = [part for part in said if part.get("type") == "text"]
        plain = all(part.keys() == {"type", "text"} for part in said)
        message: Json = {
            "role": "tool",
            "tool_call_id": text(result.get("toolUseId")),
            "content": "".join(part["text"] for part in said) if plain else said,
        }
        if result.get("status") == "error":
            if self._call.provider in _TAKES_IS_ERROR:
                message["is_error"] = True
            else:
                self._call.drop("messages.content.toolResult.status")
        return message

    def _assistant(self, blocks: list[Json]) -> Json:
        message: Json = {"role": "assistant", "content": None}
        parts: list[Json] = []
        calls: list[Json] = []
        thinking: list[Json] = []
        reasoning: list[str] = []
        signature = ""
        for block in blocks:
            use, thought = block.get("toolUse"), block.get("reasoningContent")
            if isinstance(use, dict):
                made = tool_call(text(use.get("name")), use.get("input") or {}, text(use.get("toolUseId")))
                calls.append(give_back(made, signature))
                signature = ""
            elif isinstance(thought, dict):
                signature = google_signature(obj(thought.get("reasoningText"))) or signature
                self._reasoning(thought, thinking, reasoning)
            elif "cachePoint" in block and calls:
                self._mark(calls[-1], block)
            else:
                self._part(block, parts, "messages.content")
        if parts:
            plain = len(parts) == 1 and parts[0].keys() == {"type", "text"}
            message["content"] = parts[0]["text"] if plain else parts
        elif not calls:
            message["content"] = ""
        if calls:
            message["tool_calls"] = calls
        if thinking:
            message["thinking_blocks"] = thinking
        if reasoning:
            message["reasoning_content"] = "".join(reasoning)
        return message

    def _reasoning(self, thought: Json, thinking: list[Json], reasoning: list[str]) -> None:
        data = thought.get("redactedContent")
        said = obj(thought.get("reasoningText"))
        if isinstance(data, str) and self._claude:
            thinking.append(redacted_block(data))
        elif isinstance(data, str):
            self._call.drop("messages.content.reasoningContent.redactedContent")
        if not said:
            return
        words, signature = text(said.get("text")), text(said.get("signature"))
        if words:
            reasoning.append(words)
        if google_signature(said):
            return
        if signature and self._claude:
            thinking.append({"type": "thinking", "thinking": words, "signature": signature})
        elif signature:
            self._call.drop("messages.content.reasoningContent.reasoningText.signature")

    def _parts(self, blocks: list[Json], where: str) -> list[Json]:
        parts: list[Json] = []
        for block in blocks:
            self._part(block, parts, where)
        return parts

    def _part(self, block: Json, parts: list[Json], where: str) -> None:
        if isinstance(block.get("text"), str):
            parts.append({"type": "text", "text": block["text"]})
        elif "cachePoint" in block:
            if parts:
                self._mark(parts[-1], block)
        elif isinstance(guarded := obj(obj(block.get("guardContent")).get("text")).get("text"), str):
            if obj(obj(block["guardContent"]).get("text")).get("qualifiers"):
                self._call.drop(f"{where}.guardContent.qualifiers")
            parts.append({"type": "text", "text": guarded})
        elif "citationsContent" in block:
            cited = obj(block["citationsContent"])
            if cited.get("citations"):
                self._call.drop(f"{where}.citationsContent.citations")
            parts += [
                {"type": "text", "text": text(one.get("text"))} for one in objects(cited.get("content"))
            ]
        elif "searchResult" in block:
            found = obj(block["searchResult"])
            words = [text(found.get("title")), text(found.get("source"))]
            words += [text(one.get("text")) for one in objects(found.get("content"))]
            parts.append({"type": "text", "text": "\n".join(filter(None, words))})
        elif (media := media_part(block, self._call, where)) is not None:
            parts.append(media)
        else:
            for name in block:
                self._call.drop(f"{where}.{name}")

    def _mark(self, holder: Json, block: Json) -> None:
        """A cache point as a breakpoint on what it follows."""
        if self._call.provider not in _CACHE_HOSTS and not self._claude:
            self._call.drop("cachePoint")
            return
        mark: Json = {"type": "ephemeral"}
        ttl = obj(block.get("cachePoint")).get("ttl")
        if isinstance(ttl, str):
            mark["ttl"] = ttl
        holder["cache_control"] = mark

    # ---- everything else

    def _tools(self, config: Json, out: Json) -> None:
        tools: list[Json] = []
        for tool in objects(config.get("tools")):
            spec = tool.get("toolSpec")
            if isinstance(spec, dict):
                tools.append(self._tool(spec))
            elif "cachePoint" in tool:
                if tools:
                    self._mark(tools[-1], tool)
            else:
                for name in tool:
                    self._call.drop(f"toolConfig.tools.{name}")
        if not tools:
            return
        out["tools"] = tools
        choice = obj(config.get("toolChoice"))
        if "any" in choice:
            out["tool_choice"] = "required"
        elif "auto" in choice:
            out["tool_choice"] = "auto"
        elif "tool" in choice:
            out["tool_choice"] = {"type": "function", "function": {"name": obj(choice["tool"]).get("name")}}

    def _tool(self, spec: Json) -> Json:
        function: Json = {"name": text(spec.get("name"))}
        if text(spec.get("description")):
            function["description"] = spec["description"]
        schema = obj(spec.get("inputSchema")).get("json")
        function["parameters"] = schema if isinstance(schema, dict) else {"type": "object", "properties": {}}
        if spec.get("strict") is not None:
            if self._claude or not spec["strict"] or fits_strict(function["parameters"]):
                function["strict"] = spec["strict"]
            else:
                self._call.drop("toolConfig.tools.toolSpec.strict")
        return {"type": "function", "function": function}

    def _extra(self, extra: Json, out: Json) -> None:
        """Fields of the model's own, as far as others know them."""
        for name, value in extra.items():
            if name == "top_k" and self._call.provider not in _NO_TOP_K:
                out["top_k"] = value
            elif name == "reasoning_effort":
                out["reasoning_effort"] = value
            elif name in ("thinking", "reasoning_config"):
                self._thinking(obj(value), out)
            elif name == "reasoningConfig":
                if obj(value).get("type") == "disabled":
                    self._unthinking(out)
                else:
                    out["reasoning_effort"] = obj(value).get("maxReasoningEffort") or "medium"
            elif self._claude:
                out[name] = value
            else:
                self._call.drop(f"additionalModelRequestFields.{name}")

    def _thinking(self, thinking: Json, out: Json) -> None:
        if self._claude:
            out["thinking"] = thinking
            return
        if thinking.get("type") == "disabled":
            self._unthinking(out)
        budget = integer(thinking.get("budget_tokens"))
        if thinking.get("type") == "enabled" and budget is not None:
            out["reasoning_effort"] = next((name for at, name in _EFFORT_BY_BUDGET if budget <= at), "high")

    def _unthinking(self, out: Json) -> None:
        if self._claude:
            out["thinking"] = {"type": "disabled"}
        elif self._call.provider in SWITCHED_BY_EFFORT:
            out["reasoning_effort"] = "none"

    def _output(self, config: Json, out: Json) -> None:
        form = obj(config.get("textFormat"))
        given = obj(obj(form.get("structure")).get("jsonSchema"))
        if form.get("type") == "json_schema" and given:
            schema = {"name": text(given.get("name")) or "answer", "schema": _schema(given.get("schema"))}
            if text(given.get("description")):
                schema["description"] = given["description"]
            strict = self._claude or fits_strict(schema["schema"])
            out["response_format"] = {"type": "json_schema", "json_schema": {**schema, "strict": strict}}
        for name, value in config.items():
            if name == "effort":
                out["reasoning_effort"] = value
            elif name != "textFormat":
                self._call.drop(f"outputConfig.{name}")


def _schema(schema: Any) -> Any:
    """Converse has it as JSON text."""
    if not isinstance(schema, str):
        return obj(schema)
    found = decoded(schema.encode("utf-8", "replace"))
    if not isinstance(found, dict):
        raise BadRequest("outputConfig.textFormat: the schema is not JSON", param="outputConfig.textFormat")
    return found


CLIENT: Final = ConverseClient()
