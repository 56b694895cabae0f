"""OpenAI chunks as streamGenerateContent's elements: server-sent events, or one JSON array.

Source: https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent. A function call comes
in one piece, so its fragments are gathered; finish reasons and usage come in the last elements.
"""

from __future__ import annotations

from typing import Final

from ...core.call import Call
from ...core.errors import ApiError
from ...core.json import Json, dumps
from ...core.usage import Usage, UsageSource
from ..citations import Citations
from ..pivot import integer, obj, objects, text
from .client_answer import (
    call_part,
    candidate,
    error_body,
    finish_reason,
    grounding,
    identity,
    parts_of,
    signature_of,
    usage_metadata,
)

SSE: Final = "text/event-stream"
JSON_ARRAY: Final = "application/json"
_SAID: Final = ("content", "refusal", "extra_content", "images")


class GenerateEncoder:
    """See `formats.base.StreamEncoder`."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._array = call.native is not None and call.native.json_array
        self.content_type = JSON_ARRAY if self._array else SSE
        self._begun = False
        self._identity: Json = {}
        self._choices: dict[int, _Choice] = {}
        self._usage: Usage | None = None
        self._beside: list[Json] = []
        """What was cited beside the choices."""

    def encode(self, chunk: Json) -> bytes:
        if not self._identity:
            self._identity = identity(chunk, self._call)
        if isinstance(chunk.get("usage"), dict):
            self._usage = Usage.from_openai(chunk["usage"])
        if "citations" in chunk or "search_results" in chunk:
            self._beside = [{name: chunk.get(name) for name in ("citations", "search_results")}]
        made = []
        for given in objects(chunk.get("choices")):
            index = integer(given.get("index")) or 0
            choice = self._choices.setdefault(index, _Choice())
            parts = choice.take(obj(given.get("delta")))
            if given.get("finish_reason") is not None:
                choice.finish = finish_reason(
                    given["finish_reason"], {"provider_specific_fields": choice.own}
                )
            if parts:
                made.append(candidate(index, parts, None))
        return self._element({"candidates": made}) if made else b""

    def finish(self) -> bytes:
        usage = self._call.usage
        if usage.source is UsageSource.NONE:
            usage = self._usage or usage
        last = [
            candidate(index, choice.rest(), choice.finish or "STOP", self._grounding(choice))
            for index, choice in sorted(self._choices.items())
        ]
        element: Json = {"candidates": last or [candidate(0, [], "STOP")]}
        if usage.source is not UsageSource.NONE:
            element["usageMetadata"] = usage_metadata(usage)
        if not self._identity:
            self._identity = identity({}, self._call)
        return self._element(element) + (b"]" if self._array else b"")

    def _grounding(self, choice: _Choice) -> Json | None:
        for chunk in self._beside:
            choice.citations.beside(chunk)
        return grounding(choice.citations.all(), {"content": "".join(choice.said)})

    def error(self, error: ApiError) -> bytes:
        if not self._array:
            return b"data: %b\r\n\r\n" % dumps(error_body(error))
        # Where bytes passed through, the array was begun by the provider.
        begun = self._begun or bool(self._call.output_bytes)
        return b"%b%b]" % (b",\r\n" if begun else b"[", dumps(error_body(error)))

    def _element(self, element: Json) -> bytes:
        data = dumps({**element, **self._identity})
        if not self._array:
            return b"data: %b\r\n\r\n" % data
        lead = b",\r\n" if self._begun else b"["
        self._begun = True
        return lead + data


class _Choice:
    """One choice's answer on its way."""

    def __init__(self) -> None:
        self.finish: str | None = None
        self.own: Json = {}
        """What a provider said that OpenAI's form has no place for."""
        self.citations = Citations()
        self.said: list[str] = []
        """The text, to find what is cited in it."""
        self._calls: dict[int, Json] = {}
        self._thinking = False

    def take(self, delta: Json) -> list[Json]:
        """The parts that this piece completes."""
        own = obj(delta.get("provider_specific_fields"))
        self.own.update(own)
        parts: list[Json] = []
        if words := text(delta.get("reasoning_content")):
            parts.append({"text": words, "thought": True})
            self._thinking = True
        if blocks := objects(delta.get("thinking_blocks")):
            made = parts_of({"thinking_blocks": blocks})
            if self._thinking:
                # The words have been said; the signature alone is new, and holds the whole block.
                made = [{**part, "text": ""} for part in made]
            parts += made
            self._thinking = False
        if words := text(delta.get("content")):
            self.said.append(words)
        if "annotations" in delta:
            self.citations.said(delta)
        said: Json = {key: delta[key] for key in _SAID if key in delta}
        if own.get("parts"):
            said["provider_specific_fields"] = own
        parts += parts_of(said)
        for fragment in objects(delta.get("tool_calls")):
            self._fragment(fragment)
        return parts

    def _fragment(self, fragment: Json) -> None:
        index = integer(fragment.get("index"))
        if index is None:
            index = max(self._calls, default=-1) + (1 if fragment.get("id") else 0)
        call = self._calls.setdefault(max(index, 0), {"id": "", "name": "", "arguments": [], "signature": ""})
        function = obj(fragment.get("function"))
        call["id"] = call["id"] or text(fragment.get("id"))
        call["name"] += text(function.get("name"))
        call["signature"] = call["signature"] or signature_of(fragment)
        arguments = function.get("arguments")
        call["arguments"].append(arguments if isinstance(arguments, str) else dumps(obj(arguments)).decode())

    def rest(self) -> list[Json]:
        """The calls, whole now."""
        return [
            call_part(
                call["id"],
                {"name": call["name"], "arguments": "".join(call["arguments"])},
                call["signature"],
            )
            for _, call in sorted(self._calls.items())
        ]
