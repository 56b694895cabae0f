"""Gemini's generateContent answer → OpenAI's chat completion, whole or piece by piece.

Sources: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse; for the numbers of enums
google/ai/generativelanguage/v1beta/generative_service.proto and google/cloud/aiplatform/v1/content.proto.
"""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.json import Json, dumps_text
from ..json_mode import JSON_TOOL
from ..pivot import (
    completion,
    integer,
    joined_base64,
    not_an_answer,
    number,
    obj,
    objects,
    text,
    tool_call,
    unix_time,
    utf8_size,
)
from .errors import api_error, error_object
from .grounding import Said, url_citations
from .media import image_extension
from .partial_calls import PartialCall, is_partial
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
    "ESCALATION": "content_filter",
    "PUP_LIMITED_DISABLED": "content_filter",
    "CONTINUATION": "length",
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

_SPECIFIC = (
    "groundingMetadata", "citationMetadata", "urlContextMetadata", "finishMessage", "avgLogprobs",
    "continuationToken",
)  # fmt: skip
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
        self._audio_id = ""
        self._partial: PartialCall | None = None
        """A call whose arguments are still coming."""
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
            said = candidate.get(key)
            # Later pieces may have an empty object where an earlier one said it all.
            if said is not None and (said != {} or key not in self._specific):
                known = self._specific.get(key)
                self._specific[key] = _all_citations(known, said) if key == "citationMetadata" else said
        if any(rating.get("blocked") for rating in objects(candidate.get("safetyRatings"))):
            self._specific["safetyRatings"] = candidate["safetyRatings"]
        reason = candidate.get("finishReason")
        if reason is not None:
            self.reason = self._reason_name(reason)
        return delta

    def last(self) -> Json:
        """The delta of what is known only at the end: signature, citations, the provider's own members."""
        delta: Json = {}
        self._end_partial(delta)
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
        called = self._calls or self._partial is not None
        return "tool_calls" if called and reason == "stop" else reason

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
        if isinstance(call, dict) and (self._partial is not None or is_partial(call)):
            self._take_partial(call, signature, delta)
            return
        if isinstance(call, dict) and call.get("name") == JSON_TOOL:
            # See `json_beside_tools`: this call is the answer.
            call, said = None, dumps_text(obj(call.get("args")))
        if isinstance(call, dict):
            if call:
                self._take_call(call, signature, delta)
        elif isinstance(said, str):
            key = "reasoning_content" if part.get("thought") is True else "content"
            if said:
                delta[key] = delta[key] + said if key in delta else said
                self._call.output_bytes += utf8_size(said)
                if key == "content":
                    self._said.add(said)
            self._signature = signature or self._signature
        elif part.get("thought") is not True and self._take_media(part, signature, delta):
            pass
        elif part.keys() == {"thoughtSignature"}:
            self._signature = signature or self._signature
        elif part:
            # Code that ran at Google, its result, files: kept as it is, and sent back with the message.
            self._parts.append(part)

    def _take_partial(self, call: Json, signature: str, delta: Json) -> None:
        if self._partial is not None and not self._partial.is_of(call):
            self._end_partial(delta)
            self._take_part({"functionCall": call, "thoughtSignature": signature}, delta)
            return
        self._partial = self._partial or PartialCall()
        if self._partial.take(call, signature):
            self._end_partial(delta)

    def _end_partial(self, delta: Json) -> None:
        partial, self._partial = self._partial, None
        if partial is not None:
            self._take_part(partial.part(), delta)

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

    def _take_media(self, part: Json, signature: str, delta: Json) -> bool:
        blob = obj(part.get("inlineData"))
        words = text(obj(part.get("audioTranscription")).get("text"))
        image = image_extension(blob, self._images)
        if image is not None:
            if signature:
                image["extra_content"] = {"google": {"thought_signature": signature}}
            delta.setdefault("images", []).append(image)
            self._images += 1
            return True
        if text(blob.get("mimeType")).startswith("audio/"):
            # One sound, in however many parts: a client joins them by their id.
            self._audio_id = self._audio_id or self._call.new_id("audio_")
            data, before = text(blob.get("data")), obj(delta.get("audio"))
            delta["audio"] = {
                "id": self._audio_id,
                "data": joined_base64([before["data"], data]) if before else data,
                "transcript": text(before.get("transcript")) + words,
            }
            return True
        return False


def chat_completion(body: Json, call: Call, vertex: bool) -> Json:
    """A whole answer. Raises ApiError for what is none (502), or an error in spite of its status."""
    if (error := error_object(body)) is not None:
        raise api_error(error)
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
    delta = state.take(candidate)
    calls = delta.pop("tool_calls", [])
    delta |= state.last()
    calls += delta.pop("tool_calls", [])
    logprobs = delta.pop("logprobs", None)
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


def _all_citations(known: Any, new: Any) -> Any:
    """Citations that came piece by piece, or all of them again."""
    if not isinstance(known, dict) or not isinstance(new, dict):
        return new
    merged: Json = {**known, **new}
    for key, more in new.items():
        before = known.get(key)
        if isinstance(before, list) and isinstance(more, list):
            merged[key] = before + [one for one in more if one not in before]
    return merged


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
