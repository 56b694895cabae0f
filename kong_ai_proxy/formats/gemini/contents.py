"""OpenAI's messages → Gemini's `systemInstruction` and `contents`.

Source: https://ai.google.dev/api/caching#Content and https://ai.google.dev/gemini-api/docs/function-calling.
"""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.errors import BadRequest
from ...core.json import Json
from ..pivot import (
    arguments_object,
    items,
    json_object,
    obj,
    objects,
    plain_parts,
    plain_texts,
    text,
    text_only,
)
from .media import media_part
from .models import needs_signatures, takes_media_in_results

UNSIGNED = "skip_thought_signature_validator"
"""In place of the signature of a function call that another model made, or whose client lost the signature.

Source: https://ai.google.dev/gemini-api/docs/thought-signatures (its FAQ).
"""

_KNOWN_KEYS: dict[str, frozenset[str]] = {
    role: frozenset({"role", "content", *more})
    for role, more in {
        "system": (),
        "developer": (),
        "user": (),
        "assistant": (
            "tool_calls", "function_call", "refusal", "extra_content", "provider_specific_fields", "images",
            # Said by answers, for the client: they do not go back.
            "annotations",
        ),
        "tool": ("tool_call_id",),
        "function": ("name",),
    }.items()
}  # fmt: skip


class ContentsBuilder:
    """Goes through the messages once; results in `system` (parts) and `contents`."""

    def __init__(self, call: Call, vertex: bool) -> None:
        self.system: list[Json] = []
        self.contents: list[Json] = []
        self._call = call
        self._vertex = vertex
        self._needs_signatures = needs_signatures(call.model)
        self._names: dict[str, str] = {}
        """Function names by tool call id: Gemini's results go by the name."""
        self._results: list[Json] | None = None
        """The parts of the turn that collects the results of parallel calls."""
        self._at = 0
        """The place of the message that is being read."""

    def add(self, messages: Any) -> None:
        """Raises BadRequest for what cannot be carried."""
        given = items(messages)
        contents = self.contents
        for index, said in enumerate(plain_texts(given, self._call)):
            message = given[index]
            if said is None:
                self._at = index
                if not isinstance(message, dict):
                    raise BadRequest("a message must be an object", param=self._where)
                self._add(message)
                continue
            self._results = None
            if said:
                role = "user" if message["role"] == "user" else "model"
                contents.append({"role": role, "parts": [{"text": said}]})
        if contents:
            return
        if self.system and not any(obj(message).get("role") == "user" for message in given):
            # Gemini refuses a request that has nothing but instructions.
            self.contents.append({"role": "user", "parts": self.system})
            self.system = []
        else:
            # As recorded: gemini/native-generate-tools/001.
            self.contents.append({"role": "user", "parts": [{"text": ""}]})

    @property
    def _where(self) -> str:
        return f"messages.{self._at}"

    def _add(self, message: Json) -> None:
        role = message.get("role")
        known = _KNOWN_KEYS.get(role) if isinstance(role, str) else None
        if known is None:
            raise BadRequest("unknown role of a message", param=f"{self._where}.role")
        if not known.issuperset(message):
            for key in sorted(message.keys() - known):
                if message[key] is not None:
                    self._call.drop(f"messages.{key}")
        content = message.get("content")
        if isinstance(content, list):
            for part in content:
                if isinstance(part, dict) and part.get("cache_control") is not None:
                    self._call.drop("messages.content.cache_control")
        if role in ("tool", "function"):
            self._add_result(message, content)
            return
        self._results = None
        if role == "assistant":
            self._add_answer(message, content)
        elif role == "user":
            if parts := _said(self._parts(content)):
                self.contents.append({"role": "user", "parts": parts})
        else:
            self.system.extend(self._system_parts(content))

    def _system_parts(self, content: Any) -> list[Json]:
        if isinstance(content, str):
            return [{"text": content}] if content else []
        return [{"text": found} for part in items(content) if (found := text_only([part], self._call))]

    def _parts(self, content: Any) -> list[Json]:
        if isinstance(content, str):
            return [{"text": content}]
        parts: list[Json] = []
        given = items(content)
        for index, said in enumerate(plain_parts(given)):
            if said is not None:
                parts.append({"text": said})
                continue
            part = given[index]
            path = f"{self._where}.content.{index}"
            if isinstance(part, str):
                parts.append({"text": part})
                continue
            if not isinstance(part, dict):
                raise BadRequest("a content part must be an object", param=path)
            kind = part.get("type")
            if kind in ("text", "input_text", "output_text") or (kind is None and "text" in part):
                parts.append({"text": text(part.get("text"))})
            elif kind == "refusal":
                parts.append({"text": text(part.get("refusal"))})
            elif (media := media_part(part, self._vertex, path)) is not None:
                if isinstance(source := part.get("image_url"), dict) and source.get("detail") is not None:
                    self._call.drop("messages.content.image_url.detail")
                parts.append(media)
            else:
                raise BadRequest(f"Gemini has no content part of type {kind!r}", param=f"{path}.type")
        return parts

    def _add_answer(self, message: Json, content: Any) -> None:
        """An earlier answer of the model's, with all that it must get back unchanged."""
        said = _said(self._parts(content)) if content else []
        if text(message.get("refusal")):
            said.append({"text": message["refusal"]})
        if "images" in message:
            for index, image in enumerate(objects(message["images"])):
                path = f"{self._where}.images.{index}"
                media = media_part({**image, "type": "image_url"}, self._vertex, path)
                if media is not None:
                    said.append(media)
        calls = self._calls(message)
        if signature := _signature(message):
            # The signature belongs to the last thing said; where nothing was, to an empty text of its own.
            if not said or "text" not in said[-1]:
                said.append({"text": ""})
            said[-1] = {**said[-1], "thoughtSignature": signature}
        parts = said + calls
        if "provider_specific_fields" in message:
            parts = objects(obj(message["provider_specific_fields"]).get("parts")) + parts
        if parts:
            self.contents.append({"role": "model", "parts": parts})

    def _calls(self, message: Json) -> list[Json]:
        calls = objects(message.get("tool_calls"))
        legacy = message.get("function_call")
        if isinstance(legacy, dict):
            calls = [*calls, {"function": legacy}]
        parts: list[Json] = []
        signed = False
        for call in calls:
            function = obj(call.get("function"))
            name, arguments = text(function.get("name")), function.get("arguments")
            if not name:
                custom = obj(call.get("custom"))
                name = text(custom.get("name"))
                if not function:
                    arguments = {"input": text(custom.get("input"))}
            made: Json = {"name": name, "args": arguments_object(arguments)}
            part: Json = {"functionCall": made}
            identity = text(call.get("id"))
            if identity:
                self._names[identity] = name
                if not self._vertex:
                    # Vertex's v1 has no ids: it matches calls and results by name and order.
                    made["id"] = identity
            if signature := _signature(call):
                signed = True
                part["thoughtSignature"] = signature
            parts.append(part)
        if parts and not signed and self._needs_signatures:
            parts[0]["thoughtSignature"] = UNSIGNED
        return parts

    def _add_result(self, message: Json, content: Any) -> None:
        identity = text(message.get("tool_call_id"))
        is_function = message["role"] == "function"
        name = text(message.get("name")) if is_function else self._names.get(identity, "")
        if not name:
            raise BadRequest(
                f"tool_call_id {identity!r} is not the id of a tool call in an earlier message",
                param=f"{self._where}.tool_call_id",
            )
        response, media = self._response(content)
        result: Json = {"name": name, "response": response}
        if identity and not self._vertex:
            result["id"] = identity
        if self._results is None:
            self._results = []
            self.contents.append({"role": "user", "parts": self._results})
        if media and takes_media_in_results(self._call.model) and all("inlineData" in part for part in media):
            result["parts"] = media
            media = []
        # Models before generation 3 take images beside the result only.
        self._results += [{"functionResponse": result}, *media]

    def _response(self, content: Any) -> tuple[Json, list[Json]]:
        """A result's object: the text's own if it is the JSON of one, else under "output", as documented."""
        media: list[Json] = []
        if isinstance(content, str):
            said = content
        else:
            parts = self._parts(content)
            said = "".join(part["text"] for part in parts if "text" in part)
            media = [part for part in parts if "text" not in part]
        found = json_object(said)
        return ({"output": said} if found is None else found), media


def _said(parts: list[Json]) -> list[Json]:
    """Without empty texts: Vertex refuses them ("it has an empty text parameter",
    https://github.com/Portkey-AI/gateway/issues/462), and so did the public API for a time
    (https://github.com/google-gemini/deprecated-generative-ai-python/issues/697)."""
    return [part for part in parts if part.get("text") != ""]


def _signature(holder: Json) -> str:
    if "extra_content" not in holder:
        return ""
    return text(obj(obj(holder["extra_content"]).get("google")).get("thought_signature"))
