"""generateContent as clients speak it, to and from OpenAI's form.

Source: https://ai.google.dev/api/generate-content. JSON of Google's may name its members in either case style
(https://protobuf.dev/programming-guides/json/); both are read. What the target cannot take is noted on the
call.
"""

from __future__ import annotations

from typing import Any, Final

from ...core.call import Call
from ...core.errors import ApiError, BadRequest
from ...core.json import Json, dumps_text
from ..base import StreamEncoder
from ..pivot import integer, items, obj, objects, text, tool_call
from .client_answer import error_body, generate_answer
from .client_schema import json_schema
from .client_stream import GenerateEncoder
from .signatures import unpack

_SAMPLING: Final = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "candidateCount": "n",
    "seed": "seed",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "maxOutputTokens": "max_tokens",
    "stopSequences": "stop",
    "responseLogprobs": "logprobs",
    "logprobs": "top_logprobs",
}
"""`generationConfig` field → OpenAI field of the same meaning."""
_CONFIG_HANDLED: Final = frozenset(
    {
        *_SAMPLING, "responseMimeType", "responseSchema", "responseJsonSchema", "thinkingConfig",
        "responseModalities",
    }
)  # fmt: skip
_HANDLED: Final = frozenset(
    {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "model", "serviceTier"}
)
_NO_TOP_K: Final = frozenset({"openai", "azure"})
_CHOICES: Final = {"AUTO": "auto", "ANY": "required", "NONE": "none", "VALIDATED": "auto"}
_LEVELS: Final = {"MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high"}
_EFFORT_BY_BUDGET: Final = ((0, "none"), (1024, "low"), (8192, "medium"))
"""Thinking budgets up to these tokens → `reasoning_effort`, above them "high": Google's own mapping,
https://ai.google.dev/gemini-api/docs/openai#thinking."""
_TIERS: Final = {"standard": "default", "flex": "flex", "priority": "priority"}
_AUDIO: Final = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mp3": "mp3", "audio/mpeg": "mp3"}
_SILENT_CONFIG: Final = ("TEXT",)


class GenerateClient:
    """See `formats.base.ClientFormat`."""

    name = "gemini"

    def request(self, body: Json, call: Call) -> Json:
        return _Request(call).read(body)

    def response(self, answer: Json, call: Call) -> Json:
        return generate_answer(answer, call)

    def stream(self, call: Call) -> StreamEncoder:
        return GenerateEncoder(call)

    def error(self, error: ApiError) -> Json:
        return error_body(error)


class _Request:
    """One generateContent request on its way into OpenAI's form."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._ids: dict[str, list[str]] = {}
        """Ids of calls without a result yet, by the function's name."""
        self._count = 0

    def read(self, body: Json) -> Json:
        out: Json = {"messages": self._system(member(body, "systemInstruction"))}
        contents = body.get("contents")
        if isinstance(contents, dict):
            contents = [contents]
        if not isinstance(contents, list) or not contents:
            raise BadRequest("contents is not specified", param="contents")
        for index, content in enumerate(contents):
            if not isinstance(content, dict):
                raise BadRequest(f"contents[{index}] must be an object", param=f"contents[{index}]")
            out["messages"] += self._content(content, f"contents[{index}]")
        self._config(obj(member(body, "generationConfig")), out)
        self._tools(body, out)
        tier = text(member(body, "serviceTier")).lower()
        if tier in _TIERS:
            out["service_tier"] = _TIERS[tier]
        for name, value in body.items():
            if camel(name) not in _HANDLED and value not in (None, [], {}):
                self._call.drop(name)
        return out

    # ---- messages

    def _system(self, instruction: Any) -> list[Json]:
        if isinstance(instruction, str):
            words = instruction
        else:
            words = "\n".join(text(part.get("text")) for part in _several(obj(instruction).get("parts")))
        return [{"role": "system", "content": words}] if words.strip() else []

    def _content(self, content: Json, where: str) -> list[Json]:
        parts = _several(content.get("parts"))
        role = content.get("role")
        if isinstance(role, str):
            role = role.lower()
        if role in ("model", "assistant"):
            return [self._answer(parts)]
        if role == "system":
            return self._system({"parts": parts})
        if role not in (None, "", "user", "function", "tool"):
            raise BadRequest(f"{where}.role: please use a valid role: user, model", param=f"{where}.role")
        return self._user(parts)

    def _user(self, parts: list[Json]) -> list[Json]:
        """Results of functions first, as messages of their own, then what the user says."""
        messages: list[Json] = []
        said: list[Json] = []
        for part in parts:
            result = member(part, "functionResponse")
            if isinstance(result, dict):
                messages.append(self._result(result, said))
            else:
                said += self._part(part)
        if said or not messages:
            plain = len(said) == 1 and said[0]["type"] == "text"
            messages.append({"role": "user", "content": said[0]["text"] if plain else said})
        return messages

    def _result(self, result: Json, media: list[Json]) -> Json:
        name = text(result.get("name"))
        # Some clients answer with a call's id in the place of its name: then the order tells.
        waiting = self._ids.get(name) or next(filter(None, self._ids.values()), [])
        identity = text(result.get("id"))
        if not identity:
            identity = waiting[0] if waiting else self._new_id()
        if identity in waiting:
            waiting.remove(identity)
        response = result.get("response")
        only = obj(response)
        # {"output": "…"} and {"result": "…"} are how Google's SDKs wrap a text.
        words = next((only[key] for key in ("output", "result") if len(only) == 1 and key in only), response)
        for part in _several(result.get("parts")):
            media += self._part(part)
        for key in ("willContinue", "scheduling"):
            if member(result, key) is not None:
                self._call.drop(f"contents.parts.functionResponse.{key}")
        content = words if isinstance(words, str) else dumps_text(words)
        return {"role": "tool", "tool_call_id": identity, "content": content}

    def _answer(self, parts: list[Json]) -> Json:
        message: Json = {"role": "assistant", "content": None}
        said: list[str] = []
        reasoning: list[str] = []
        calls: list[Json] = []
        thinking: list[Json] = []
        signature = ""
        for part in parts:
            signed = text(member(part, "thoughtSignature"))
            block = unpack(signed) if signed else None
            if block is not None:
                thinking.append(block)
                continue
            function = member(part, "functionCall")
            if isinstance(function, dict):
                calls.append(self._function_call(function, signed))
            elif part.get("thought") is True:
                reasoning.append(text(part.get("text")))
            elif isinstance(part.get("text"), str):
                said.append(part["text"])
                signature = signed or signature
            else:
                for made in self._part(part):
                    self._call.drop(f"contents.parts.{made['type']}")
        if said or not calls:
            message["content"] = "".join(said)
        if thinking:
            # They hold the words too, which a stream has told before.
            message["thinking_blocks"] = thinking
            reasoning = [text(block.get("thinking")) for block in thinking]
        if words := "".join(reasoning):
            message["reasoning_content"] = words
        if calls:
            message["tool_calls"] = calls
        if signature:
            self._sign(message, signature)
        return message

    def _function_call(self, function: Json, signature: str) -> Json:
        name = text(function.get("name"))
        identity = text(function.get("id")) or self._new_id()
        self._ids.setdefault(name, []).append(identity)
        made = tool_call(name, obj(function.get("args")), identity)
        if signature:
            self._sign(made, signature)
        return made

    def _sign(self, holder: Json, signature: str) -> None:
        if self._call.provider == "gemini":
            holder["extra_content"] = {"google": {"thought_signature": signature}}
        else:
            self._call.drop("contents.parts.thoughtSignature")

    def _part(self, part: Json) -> list[Json]:
        """A part that is said or shown."""
        if isinstance(part.get("text"), str):
            return [{"type": "text", "text": part["text"]}]
        blob = obj(member(part, "inlineData"))
        if blob:
            return [_media(text(member(blob, "mimeType")), text(blob.get("data")), blob)]
        file = obj(member(part, "fileData"))
        if file:
            return [_file(text(member(file, "mimeType")), text(member(file, "fileUri")))]
        for name in part:
            if camel(name) not in ("thought", "thoughtSignature"):
                self._call.drop(f"contents.parts.{camel(name)}")
        return []

    def _new_id(self) -> str:
        self._count += 1
        return f"call_{self._count}"

    # ---- everything else

    def _config(self, config: Json, out: Json) -> None:
        for name, value in config.items():
            own = camel(name)
            if value is None:
                continue
            if own == "topK" and self._call.provider in _NO_TOP_K:
                self._call.drop("generationConfig.topK")
            elif own == "topK":
                out["top_k"] = int(value) if isinstance(value, float) and value.is_integer() else value
            elif own in _SAMPLING:
                out[_SAMPLING[own]] = value
            elif own not in _CONFIG_HANDLED:
                self._call.drop(f"generationConfig.{own}")
        modalities = _words(member(config, "responseModalities"))
        if any(name not in _SILENT_CONFIG for name in modalities):
            self._call.drop("generationConfig.responseModalities")
        self._format(config, out)
        self._thinking(obj(member(config, "thinkingConfig")), out)

    def _format(self, config: Json, out: Json) -> None:
        schema = member(config, "responseJsonSchema")
        if not isinstance(schema, dict):
            given = member(config, "responseSchema")
            schema = json_schema(given) if isinstance(given, dict) else None
        kind = text(member(config, "responseMimeType"))
        if schema is not None:
            title = text(schema.get("title"))
            name = title if title.isidentifier() else "answer"
            out["response_format"] = {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}
            if kind not in ("", "application/json"):
                # "text/x.enum": one of the words as it is, where others answer with JSON.
                self._call.drop("generationConfig.responseMimeType")
        elif kind == "application/json":
            out["response_format"] = {"type": "json_object"}
        elif kind not in ("", "text/plain"):
            self._call.drop("generationConfig.responseMimeType")

    def _thinking(self, config: Json, out: Json) -> None:
        level = _LEVELS.get(text(member(config, "thinkingLevel")).upper())
        budget = integer(member(config, "thinkingBudget"))
        if level is not None:
            out["reasoning_effort"] = level
        elif budget is not None and budget >= 0:
            found = (effort for limit, effort in _EFFORT_BY_BUDGET if budget <= limit)
            out["reasoning_effort"] = next(found, "high")

    def _tools(self, body: Json, out: Json) -> None:
        tools: list[Json] = []
        for tool in _several(body.get("tools")):
            for name, value in tool.items():
                if camel(name) == "functionDeclarations":
                    tools += [self._declaration(one) for one in _several(value)]
                elif value is not None:
                    self._call.drop(f"tools.{camel(name)}")
        if tools:
            out["tools"] = tools
        config = obj(member(body, "toolConfig"))
        calling = obj(member(config, "functionCallingConfig"))
        for name in config:
            if camel(name) != "functionCallingConfig":
                self._call.drop(f"toolConfig.{camel(name)}")
        choice = _CHOICES.get(text(calling.get("mode")).upper())
        if choice is None or not tools:
            return
        names = set(_words(member(calling, "allowedFunctionNames")))
        if choice == "required" and len(names) == 1:
            out["tool_choice"] = {"type": "function", "function": {"name": names.pop()}}
            return
        if names:
            out["tools"] = [tool for tool in tools if tool["function"]["name"] in names] or tools
        out["tool_choice"] = choice

    def _declaration(self, declaration: Json) -> Json:
        function: Json = {"name": text(declaration.get("name"))}
        if text(declaration.get("description")):
            function["description"] = declaration["description"]
        schema = member(declaration, "parametersJsonSchema")
        if not isinstance(schema, dict):
            schema = json_schema(declaration.get("parameters"))
        function["parameters"] = schema or {"type": "object", "properties": {}}
        for name in ("response", "responseJsonSchema", "behavior"):
            if member(declaration, name) is not None:
                self._call.drop(f"tools.functionDeclarations.{name}")
        return {"type": "function", "function": function}


def camel(name: str) -> str:
    """A member's name as Google's documentation has it."""
    if "_" not in name:
        return name
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def member(holder: Json, name: str) -> Any:
    """A member by its documented name, or by the same in snake case."""
    if name in holder:
        return holder[name]
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    return holder.get(snake)


def _several(value: Any) -> list[Json]:
    """The objects of a list. Google takes one alone for a list of one, and has it so in examples of its own
    (https://github.com/GoogleCloudPlatform/generative-ai, gemini/getting-started/intro_gemini_curl.ipynb;
    recordings gemini/native-generate/009 and others)."""
    return [value] if isinstance(value, dict) else objects(value)


def _words(value: Any) -> list[str]:
    """The same for texts."""
    return [value] if isinstance(value, str) else [one for one in items(value) if isinstance(one, str)]


def _media(media_type: str, data: str, blob: Json) -> Json:
    if media_type in _AUDIO:
        return {"type": "input_audio", "input_audio": {"data": data, "format": _AUDIO[media_type]}}
    url = f"data:{media_type};base64,{data}"
    if media_type.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    name = text(member(blob, "displayName"))
    return {"type": "file", "file": {"file_data": url, **({"filename": name} if name else {})}}


def _file(media_type: str, uri: str) -> Json:
    if media_type.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": uri}}
    return {"type": "file", "file": {"file_id": uri}}


CLIENT: Final = GenerateClient()
