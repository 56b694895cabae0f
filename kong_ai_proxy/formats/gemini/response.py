"""Gemini's generateContent answer → OpenAI's chat completion, whole or piece by piece.

Sources: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse; for the numbers of enums
google/ai/generativelanguage/v1beta/generative_service.proto and google/cloud/aiplatform/v1/content.proto.
"""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.json import Json, dumps_text
from ..anthropic.json_mode import JSON_TOOL
from ..pivot import (
    completion,
    integer,
    not_an_answer,
    number,
    obj,
    objects,
    text,
    tool_call,
    unix_time,
    utf8_size,
)
from .grounding import Said, url_citations
from .media import image_extension
from .usage import UsageReader

_FINISH_REASONS = {
    "FINISH_REASON_UNSPECIFIED": "stop",
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "IMAGE_OTHER": "stop",
    "NO_IMAGE": "stop",
    "OTHER": "stop",
    "MALFORMED_FUNCTION_CALL": "stop",
    "MALFORMED_RESPONSE": "stop",
    "UNEXPECTED_TOOL_CALL": "stop",
    "TOO_MANY_TOOL_CALLS": "stop",
    "MISSING_THOUGHT_SIGNATURE": "stop",
}
"""`stop` becomes `tool_calls` where there are calls. What OpenAI has no word for is kept beside it, as it is.
"""

_PLAIN = frozenset({"STOP", "MAX_TOKENS"})

_PUBLIC_NUMBERS = (
    "FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "LANGUAGE",
    "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL", "IMAGE_SAFETY",
    "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "IMAGE_PROHIBITED_CONTENT", "IMAGE_OTHER", "NO_IMAGE",
    "IMAGE_RECITATION",
)  # fmt: skip
_VERTEX_NUMBERS = (
    "FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "BLOCKLIST",
    "PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL", "MODEL_ARMOR",
)  # fmt: skip

_SPECIFIC = ("groundingMetadata", "citationMetadata", "urlContextMetadata", "finishMessage", "avgLogprobs")
"""Members of a candidate that are handed on as they are, in `provider_specific_fields`."""

_ANSWER_KEYS = frozenset({"candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId"})


class Candidate:
    """What one candidate of an answer has said so far."""

    def __init__(self, call: Call, index: int, vertex: bool) -> None:
        self.index = index
        self.reason = ""
        self._call = call
        self._vertex = vertex
        self._calls = 0
        self._images = 0
        self._signature = ""
        self._said = Said()
        self._parts: list[Json] = []
        self._specific: Json = {}

    def take(self, candidate: Json) -> Json:
        """The delta for what this piece adds; empty if nothing. Logprobs stand under "logprobs"."""
        delta: Json = {}
        for part in objects(obj(candidate.get("content")).get("parts")):
            self._take_part(part, delta)
        chosen = candidate.get("logprobsResult")
        if isinstance(chosen, dict):
            delta["logprobs"] = _logprobs(chosen)
        for key in _SPECIFIC:
            if candidate.get(key) is not None:
                self._specific[key] = candidate[key]
        if any(rating.get("blocked") for rating in objects(candidate.get("safetyRatings"))):
            self._specific["safetyRatings"] = candidate["safetyRatings"]
        reason = candidate.get("finishReason")
        if reason is not None:
            self.reason = self._reason_name(reason)
        return delta

    def last(self) -> Json:
        """The delta of what is known only at the end: signature, citations, the provider's own members."""
        delta: Json = {}
        if self._signature:
            delta["extra_content"] = {"google": {"thought_signature": self._signature}}
        found = url_citations(self._specific, self._said)
        if found:
            delta["annotations"] = found
        if self.reason and self.reason not in _PLAIN:
            self._specific["finishReason"] = self.reason
        if self._parts:
            self._specific["parts"] = self._parts
        if self._specific:
            delta["provider_specific_fields"] = self._specific
        return delta

    def finish_reason(self) -> str:
        """OpenAI's word. Gemini says STOP for a turn that calls functions."""
        reason = _FINISH_REASONS.get(self.reason, "stop")
        return "tool_calls" if self._calls and reason == "stop" else reason

    def _reason_name(self, reason: Any) -> str:
        if isinstance(reason, str):
            return reason
        names = _VERTEX_NUMBERS if self._vertex else _PUBLIC_NUMBERS
        at = integer(reason)
        return names[at] if at is not None and 0 <= at < len(names) else "OTHER"

    def _take_part(self, part: Json, delta: Json) -> None:
        signature = text(part.get("thoughtSignature"))
        call: Any = part.get("functionCall")
        said: Any = part.get("text")
        if isinstance(call, dict) and call.get("name") == JSON_TOOL:
            # See `json_beside_tools`: this call is the answer.
            call, said = None, dumps_text(obj(call.get("args")))
        if isinstance(call, dict):
            self._take_call(call, signature, delta)
        elif isinstance(said, str):
            key = "reasoning_content" if part.get("thought") is True else "content"
            if said:
                delta[key] = delta[key] + said if key in delta else said
                self._call.output_bytes += utf8_size(said)
                if key == "content":
                    self._said.add(said)
            self._signature = signature or self._signature
        elif part.get("thought") is not True and self._take_media(
            obj(part.get("inlineData")), signature, delta
        ):
            pass
        elif part:
            # Code that ran at Google, its result, files: kept as it is, and sent back with the message.
            self._parts.append(part)

    def _take_call(self, call: Json, signature: str, delta: Json) -> None:
        arguments = dumps_text(obj(call.get("args")))
        made = tool_call(
            text(call.get("name")), arguments, text(call.get("id")) or self._call.new_id("call_")
        )
        if signature:
            made["extra_content"] = {"google": {"thought_signature": signature}}
        delta.setdefault("tool_calls", []).append({"index": self._calls, **made})
        self._calls += 1
        self._call.output_bytes += len(arguments)

    def _take_media(self, blob: Json, signature: str, delta: Json) -> bool:
        image = image_extension(blob, self._images)
        if image is not None:
            if signature:
                image["extra_content"] = {"google": {"thought_signature": signature}}
            delta.setdefault("images", []).append(image)
            self._images += 1
            return True
        if text(blob.get("mimeType")).startswith("audio/") and "audio" not in delta:
            delta["audio"] = {
                "id": self._call.new_id("audio_"),
                "data": text(blob.get("data")),
                "transcript": "",
            }
            return True
        return False


def chat_completion(body: Json, call: Call, vertex: bool) -> Json:
    """A whole answer. Raises ApiError (502) for what is none."""
    if not isinstance(body, dict) or not body.keys() & _ANSWER_KEYS:
        raise not_an_answer("Gemini")
    reader = UsageReader()
    reader.take(body.get("usageMetadata"))
    call.usage = reader.usage()
    choices = []
    for position, candidate in enumerate(objects(body.get("candidates"))):
        index = integer(candidate.get("index"))
        state = Candidate(call, position if index is None else index, vertex)
        choices.append(_choice(state, candidate, call))
    if not choices:
        choices.append(blocked_choice(body.get("promptFeedback")))
    return completion(call, choices, **identity(body))


def identity(body: Json) -> dict[str, Any]:
    """id, model and time of an answer, as far as it says."""
    return {
        "id": text(body.get("responseId")),
        "model": text(body.get("modelVersion")),
        "created": unix_time(body.get("createTime")),
    }


def blocked_choice(feedback: Any) -> Json:
    """The choice of an answer without candidates: the prompt was blocked, or the answer is empty."""
    feedback = obj(feedback)
    message: Json = {"role": "assistant", "content": None, "refusal": None}
    blocked = feedback.get("blockReason") is not None
    if blocked:
        message["refusal"] = text(feedback.get("blockReasonMessage")) or None
        message["provider_specific_fields"] = {"promptFeedback": feedback}
    return {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": "content_filter" if blocked else "stop",
    }


def _choice(state: Candidate, candidate: Json, call: Call) -> Json:
    delta = {**state.take(candidate), **state.last()}
    logprobs = delta.pop("logprobs", None)
    calls = delta.pop("tool_calls", [])
    finish_reason = state.finish_reason()
    content = delta.pop("content", None if calls or finish_reason == "content_filter" else "")
    message: Json = {"role": "assistant", "content": content, "refusal": None, **delta}
    if calls:
        message["tool_calls"] = [
            {key: value for key, value in one.items() if key != "index"} for one in calls
        ]
    if "audio" in message:
        message["audio"]["expires_at"] = call.created
    return {"index": state.index, "message": message, "logprobs": logprobs, "finish_reason": finish_reason}


def _logprobs(result: Json) -> Json:
    top = [objects(entry.get("candidates")) for entry in objects(result.get("topCandidates"))]
    content = []
    for position, chosen in enumerate(objects(result.get("chosenCandidates"))):
        others = top[position] if position < len(top) else []
        content.append({**_token(chosen), "top_logprobs": [_token(other) for other in others]})
    return {"content": content, "refusal": None}


def _token(entry: Json) -> Json:
    token = text(entry.get("token"))
    return {
        "token": token,
        "logprob": number(entry.get("logProbability")) or 0.0,
        "bytes": list(token.encode("utf-8", "replace")),
    }
