"""Messages as clients speak it, to and from OpenAI's form.

What only Claude understands rides along where the target is a Claude; elsewhere it is translated as far as
OpenAI's form goes, and what is left is noted on the call as dropped.
Source: https://platform.claude.com/docs/en/api/messages/create.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from ...core.call import Call
from ...core.errors import ApiError, BadRequest
from ...core.json import Json, JSONDecodeError, dumps_text, loads
from ...core.usage import Usage, UsageSource
from .. import thought_signatures
from ..base import StreamEncoder
from ..citations import citations_of
from ..openai.strict import fits_strict
from ..pivot import content_text, integer, items, obj, objects, text
from ..system_first import system_first
from .blocks import tool_extras
from .client_stream import MessagesEncoder
from .client_words import (
    own_blocks,
    page_citation,
    stop_reason,
    stop_sequence,
    without_made_citations,
)
from .errors import write_error
from .usage import write_usage

_CLAUDE_HOSTS: Final = frozenset({"anthropic", "bedrock", "gemini"})
_TAKES_IS_ERROR: Final = frozenset({"anthropic", "bedrock", "gemini"})
_TAKES_MEDIA_RESULTS: Final = frozenset({"anthropic", "bedrock", "gemini"})
"""Providers whose adapters can put images and files into a tool's result."""
_TAKES_PARTS: Final = _CLAUDE_HOSTS | {"openai", "azure", "databricks", "dashscope", "xai", "vllm"}
"""Providers that take several text parts in any message. Others (DeepSeek, local servers) may want one."""
_NO_TOP_K: Final = frozenset({"openai", "azure"})

_SAME: Final = ("model", "max_tokens", "temperature", "top_p", "stream")
_SILENT: Final = frozenset({"anthropic_version", "anthropic_beta", "betas"})
_TRANSLATED: Final = frozenset(
    {
        "messages", "system", "tools", "tool_choice", "stop_sequences", "top_k", "metadata", "service_tier",
        "thinking", "output_config", "output_format", *_SAME, *_SILENT,
    }
)  # fmt: skip
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}
_SERVICE_TIERS: Final = {"auto": "auto", "standard_only": "default"}
_EFFORT_BY_BUDGET: Final = ((4096, "low"), (12_000, "medium"))
"""Thinking budgets up to these tokens → `reasoning_effort`; above them "high"."""
_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


SWITCHED_BY_EFFORT: Final = frozenset({"bedrock", "cohere", "gemini", "ollama"})
"""Providers at which models that think unasked can be told not to by the effort "none". DeepSeek has a member
for it (https://api-docs.deepseek.com/guides/thinking_mode); most OpenAI models refuse the word."""


class MessagesClient:
    """See `formats.base.ClientFormat`."""

    name = "anthropic"

    def request(self, body: Json, call: Call) -> Json:
        return _Request(call).read(body)

    def response(self, answer: Json, call: Call) -> Json:
        return write_message(answer, call)

    def stream(self, call: Call) -> StreamEncoder:
        return MessagesEncoder(call)

    def error(self, error: ApiError) -> Json:
        return write_error(error)


class _Request:
    """One Messages request on its way into OpenAI's form."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._provider = call.provider
        self._claude = call.provider == "anthropic" or (
            call.provider in _CLAUDE_HOSTS and "claude" in call.model.lower()
        )

    def read(self, body: Json) -> Json:
        out: Json = {name: body[name] for name in _SAME if body.get(name) is not None}
        messages = self._system(body.get("system")) + self._messages(body.get("messages"))
        out["messages"] = system_first(messages, self._provider)
        if body.get("tools"):
            out["tools"] = [
                tool
                for index, given in enumerate(items(body["tools"]))
                if (tool := self._tool(given, index)) is not None
            ]
            if not out["tools"]:
                del out["tools"]
        self._tool_choice(body.get("tool_choice"), out)
        if body.get("stop_sequences"):
            out["stop"] = body["stop_sequences"]
        if body.get("top_k") is not None:
            if self._provider in _NO_TOP_K:
                self._call.drop("top_k")
            else:
                out["top_k"] = body["top_k"]
        metadata = obj(body.get("metadata"))
        if text(metadata.get("user_id")):
            out["user"] = metadata["user_id"]
        tier = text(body.get("service_tier"))
        if tier:
            out["service_tier"] = _SERVICE_TIERS.get(tier, tier)
        self._output(body, out)
        for name, value in body.items():
            if name in _TRANSLATED or value is None:
                continue
            if self._claude:
                out[name] = value
            else:
                self._call.drop(name)
        return out

    def _output(self, body: Json, out: Json) -> None:
        """Structured output, effort and thinking."""
        config = dict(obj(body.get("output_config")))
        form = obj(config.pop("format", None)) or obj(body.get("output_format"))
        if form.get("type") == "json_schema" and isinstance(form.get("schema"), dict):
            name = text(form["schema"].get("title"))
            out["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": name if name.isidentifier() else "answer",
                    "schema": form["schema"],
                    "strict": self._claude or fits_strict(form["schema"]),
                },
            }
        thinking = obj(body.get("thinking"))
        effort = _EFFORTS.get(text(config.get("effort")))
        budget = integer(thinking.get("budget_tokens"))
        if effort is None and thinking.get("type") == "enabled" and budget is not None:
            effort = next((name for limit, name in _EFFORT_BY_BUDGET if budget <= limit), "high")
        if thinking.get("type") == "disabled" and not self._claude:
            if self._provider in SWITCHED_BY_EFFORT:
                # Claude's effort is of all that it writes, others' of their thinking alone.
                effort = "none"
            elif self._provider == "deepseek":
                out["thinking"] = {"type": "disabled"}
        if self._claude:
            if config:
                out["output_config"] = config
            if thinking:
                out["thinking"] = thinking
        else:
            if self._call.provider == "gemini" and budget is not None and thinking.get("type") == "enabled":
                out["thinking"] = thinking  # where it is a budget too, it need not be an effort
            for name in config.keys() - {"effort"}:
                self._call.drop(f"output_config.{name}")
        if effort is not None:
            out["reasoning_effort"] = effort

    # ---- messages

    def _system(self, system: Any) -> list[Json]:
        if isinstance(system, str):
            return [{"role": "system", "content": system}] if system else []
        parts: list[Json] = []
        for block in objects(system):
            if block.get("type") == "text":
                parts += self._part(block, "system")
            else:
                self._call.drop(f"system.{block.get('type')}")
        if not parts:
            return []
        return [{"role": "system", "content": self._flat(parts)}]

    def _messages(self, messages: Any) -> list[Json]:
        if not isinstance(messages, list) or not messages:
            raise BadRequest("messages: at least one message is required", param="messages")
        out: list[Json] = []
        for index, message in enumerate(messages):
            where = f"messages.{index}"
            role = message.get("role") if isinstance(message, dict) else None
            if role == "user":
                out += self._user(message.get("content"), where)
            elif role == "assistant":
                out.append(self._assistant(message.get("content"), where))
            elif role == "system":
                out += self._system(message.get("content"))
            else:
                raise BadRequest(f"{where}.role: must be user or assistant", param=where)
        return out

    def _user(self, content: Any, where: str) -> list[Json]:
        """A user turn: tool results first, as messages of their own, then what the user says."""
        if isinstance(content, str):
            return [{"role": "user", "content": content}]
        blocks = self._content(content, where)
        out: list[Json] = []
        rest: list[Json] = []
        for block in blocks:
            if block.get("type") == "tool_result":
                message, media = self._tool_result(block, where)
                out.append(message)
                rest += media
            else:
                rest += self._part(block, where)
        if rest or not out:
            out.append(
                {"role": "user", "content": rest if self._provider in _TAKES_PARTS else self._flat(rest)}
            )
        return out

    def _tool_result(self, block: Json, where: str) -> tuple[Json, list[Json]]:
        """The tool message, and media that this provider takes from users only."""
        message: Json = {"role": "tool", "tool_call_id": text(block.get("tool_use_id"))}
        content = block.get("content")
        media: list[Json] = []
        if isinstance(content, list):
            parts: list[Json] = []
            for inner in objects(content):
                parts += self._part(inner, where)
            if self._provider not in _TAKES_MEDIA_RESULTS:
                media = [part for part in parts if part.get("type") != "text"]
                parts = [part for part in parts if part.get("type") == "text"]
            message["content"] = self._flat(parts) or ""
        else:
            message["content"] = text(content)
        if block.get("is_error") is True:
            if self._provider in _TAKES_IS_ERROR:
                message["is_error"] = True
            else:
                self._call.drop("messages.content.is_error")
        if isinstance(block.get("cache_control"), dict):
            message["cache_control"] = block["cache_control"]
        return message, media

    def _assistant(self, content: Any, where: str) -> Json:
        message: Json = {"role": "assistant", "content": None}
        if isinstance(content, str):
            message["content"] = content
            return message
        parts: list[Json] = []
        calls: list[Json] = []
        thinking: list[Json] = []
        reasoning: list[str] = []
        signature = ""
        for block in self._content(content, where):
            kind = block.get("type")
            if kind == "tool_use":
                calls.append(thought_signatures.give_back(_tool_call(block), signature))
                signature = ""
            elif kind in ("thinking", "redacted_thinking"):
                reasoning.append(text(block.get("thinking")))
                if found := thought_signatures.google_signature(block):
                    signature = found
                else:
                    thinking.append(block)
            else:
                # Blocks of tools that the provider runs stay among the texts, where they stood.
                parts += self._part(block, where)
        if parts:
            message["content"] = self._flat(parts)
        if calls:
            message["tool_calls"] = calls
        if thinking:
            if self._provider in _CLAUDE_HOSTS:
                message["thinking_blocks"] = thinking
            else:
                self._note_signed(thinking)
        if words := "".join(reasoning):
            message["reasoning_content"] = words
        if message["content"] is None and not calls:
            message["content"] = ""
        return message

    def _flat(self, parts: list[Json]) -> str | list[Json]:
        """One plain text as a text; several as one where the provider wants that."""
        if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
            return str(parts[0]["text"])
        if self._provider in _TAKES_PARTS or any(part["type"] != "text" for part in parts):
            return parts
        if any("cache_control" in part for part in parts):
            self._call.drop("messages.content.cache_control")
        return "\n\n".join(part["text"] for part in parts)

    def _note_signed(self, thinking: list[Json]) -> None:
        """What only the Claude that signed it can read."""
        for block in thinking:
            if block.get("type") == "redacted_thinking":
                self._call.drop("messages.content.redacted_thinking")
            elif block.get("signature"):
                self._call.drop("messages.content.thinking.signature")

    def _content(self, content: Any, where: str) -> list[Json]:
        if not isinstance(content, list):
            raise BadRequest(f"{where}.content: must be text or a list of blocks", param=where)
        return objects(content)

    def _part(self, block: Json, where: str) -> list[Json]:
        kind = block.get("type")
        if kind == "text":
            part: Json = {"type": "text", "text": text(block.get("text"))}
            block = without_made_citations(block)
            if block.get("citations"):
                if self._claude:
                    part["citations"] = block["citations"]
                else:
                    self._call.drop("messages.content.citations")
            return [_marked(part, block)]
        if kind in ("image", "document"):
            return self._media(block, where)
        if kind == "search_result" and not self._claude:
            found = [text(block.get("title")), text(block.get("source")), content_text(block.get("content"))]
            return [_marked({"type": "text", "text": "\n".join(filter(None, found))}, block)]
        if self._claude:
            return [block]
        self._call.drop(f"messages.content.{kind}")
        return []

    def _media(self, block: Json, where: str) -> list[Json]:
        source = obj(block.get("source"))
        kind = source.get("type")
        if kind == "base64":
            url = f"data:{text(source.get('media_type'))};base64,{text(source.get('data'))}"
        elif kind == "url":
            url = text(source.get("url"))
        elif kind == "text":
            data = base64.b64encode(text(source.get("data")).encode()).decode()
            url = f"data:text/plain;base64,{data}"
        elif self._claude:
            return [block]
        elif kind == "content":
            parts: list[Json] = []
            inner = source.get("content")
            for one in [{"type": "text", "text": inner}] if isinstance(inner, str) else objects(inner):
                parts += self._part(one, where)
            return parts
        else:
            raise BadRequest(
                f"{where}: provider {self._provider} takes no {block['type']} by {kind}", param=where
            )
        if block["type"] == "image":
            return [_marked({"type": "image_url", "image_url": {"url": url}}, block)]
        file: Json = {"file_data": url}
        if text(block.get("title")):
            file["filename"] = block["title"]
        part: Json = {"type": "file", "file": file}
        for name in ("citations", "context"):
            if block.get(name) is not None:
                if self._provider in _CLAUDE_HOSTS:
                    part[name] = block[name]
                else:
                    self._call.drop(f"messages.content.{name}")
        return [_marked(part, block)]

    # ---- tools

    def _tool(self, tool: Any, index: int) -> Json | None:
        if not isinstance(tool, dict):
            raise BadRequest(f"tools.{index}: must be an object", param=f"tools.{index}")
        if tool.get("type") not in (None, "custom"):
            if self._claude:
                return tool
            self._call.drop(f"tools[{index}]")
            return None
        if not text(tool.get("name")):
            raise BadRequest(f"tools.{index}.name: Field required", param=f"tools.{index}")
        function: Json = {"name": tool["name"]}
        if text(tool.get("description")):
            function["description"] = tool["description"]
        schema = tool.get("input_schema")
        function["parameters"] = schema if isinstance(schema, dict) else {"type": "object", "properties": {}}
        if tool.get("strict") is not None:
            if self._claude or not tool["strict"] or fits_strict(function["parameters"]):
                function["strict"] = tool["strict"]
            else:
                self._call.drop("tools.strict")
        out: Json = {"type": "function", "function": function}
        for name in tool.keys() - {"type", "name", "description", "input_schema", "strict"}:
            if self._claude or name == "cache_control":
                out[name] = tool[name]
            else:
                self._call.drop(f"tools.{name}")
        return out

    def _tool_choice(self, choice: Any, out: Json) -> None:
        if not isinstance(choice, dict):
            return
        kind = choice.get("type")
        if "tools" not in out:
            if kind in ("any", "tool"):
                self._call.drop("tool_choice")
            return
        if kind == "tool":
            out["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
        elif str(kind) in _CHOICES:
            out["tool_choice"] = _CHOICES[str(kind)]
        else:
            raise BadRequest("tool_choice.type: is unknown", param="tool_choice")
        if choice.get("disable_parallel_tool_use") is True:
            out["parallel_tool_calls"] = False


def _tool_call(block: Json) -> Json:
    call: Json = {
        "id": text(block.get("id")),
        "type": "function",
        "function": {"name": text(block.get("name")), "arguments": dumps_text(block.get("input") or {})},
    }
    call.update(tool_extras(block))
    return _marked(call, block)


def _marked(part: Json, block: Json) -> Json:
    if isinstance(block.get("cache_control"), dict):
        part["cache_control"] = block["cache_control"]
    return part


def _thought(block: Json) -> Json:
    """A thinking block as clients read it: with a signature, be it empty. Models other than Claude sign none
    (recording bedrock/converse-tools/023), and strict clients want the member (`ThinkingBlock` in
    https://platform.claude.com/docs/en/api/messages/create)."""
    if block.get("type") != "thinking" or isinstance(block.get("signature"), str):
        return block
    return {**block, "signature": ""}


def write_message(answer: Json, call: Call) -> Json:
    """An OpenAI answer as a message."""
    choice = next(iter(objects(answer.get("choices"))), {})
    message = obj(choice.get("message"))
    own = obj(message.get("provider_specific_fields"))
    content = [_thought(block) for block in objects(message.get("thinking_blocks"))]
    reasoning = text(message.get("reasoning_content"))
    if reasoning and not content:
        content.append({"type": "thinking", "thinking": reasoning, "signature": ""})
    content = [*content, *own_blocks(own)]
    if words := content_text(message.get("content")) or text(message.get("refusal")):
        block: Json = {"type": "text", "text": words}
        if cited := citations_of(message, answer):
            block["citations"] = list(map(page_citation, cited))
        content.append(block)
    calls = objects(message.get("tool_calls"))
    for one in calls:
        function = obj(one.get("function"))
        extra = obj(one.get("extra_content"))
        thought_signatures.sign(content, extra)
        content.append(
            {
                "type": "tool_use",
                "id": text(one.get("id")) or call.new_id("toolu_"),
                "name": text(function.get("name")),
                "input": _input(function.get("arguments")),
                **obj(extra.get("anthropic")),
            }
        )
    usage = call.usage
    if usage.source is UsageSource.NONE:
        usage = Usage.from_openai(answer.get("usage"))
    return {
        "id": message_id(text(answer.get("id")), call),
        "type": "message",
        "role": "assistant",
        "model": text(answer.get("model")) or call.model,
        "content": content,
        "stop_reason": stop_reason(choice.get("finish_reason"), own, bool(calls)),
        "stop_sequence": stop_sequence(own),
        "usage": write_usage(usage),
    }


def message_id(identity: str, call: Call) -> str:
    """An id as Anthropic's clients know them."""
    if identity.startswith("msg_"):
        return identity
    return f"msg_{identity}" if identity else call.new_id("msg_")


def _input(arguments: Any) -> Json:
    if isinstance(arguments, dict):
        return arguments
    try:
        found = loads(text(arguments) or "{}")
    except JSONDecodeError:
        return {"arguments": arguments}
    return found if isinstance(found, dict) else {"arguments": found}


CLIENT: Final = MessagesClient()
