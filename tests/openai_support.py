"""Recordings of OpenAI-shaped answers, read a second time and plainly, and calls to replay them with."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from recordings_support import index, load_recording

from kong_ai_proxy.config.models import Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.formats.openai.client import CLIENT
from kong_ai_proxy.providers import provider

OWN = (
    "azure",
    "cerebras",
    "dashscope",
    "databricks",
    "deepseek",
    "huggingface",
    "mistral",
    "openai",
    "vllm",
    "xai",
)
"""Providers with a file of their own in this family. The others' OpenAI-shaped answers are replayed as users
reach them: `provider: openai` with an `upstream_url`."""

_ROUTES = {"chat": "llm/v1/chat", "completions": "llm/v1/completions", "embeddings": "llm/v1/embeddings"}

NOT_THIS_API = (
    # The organisation's usage report and stored completions: other APIs under similar names.
    "openai/chat-store/",
    "openai/completions/007-",
    "openai/embeddings/005-",
)


def make_call(
    name: str = "openai",
    operation: str = "chat",
    model: str = "test-model",
    *,
    options: Any = None,
    **given: Any,
) -> Call:
    """A call to a provider as the exchange would make it."""
    target = Target.model_validate(
        {
            "model": {"provider": name, "name": model or None, "options": options or {}},
            "route_type": _ROUTES[operation],
        }
    )
    request = given.pop("request", None) or ClientRequest("POST", "/", "", {})
    return Call(target, target.model.options, model, operation, request, **given)


def operation_of(recording_id: str) -> str:
    return recording_id.split("/")[1].partition("-")[0]


def call_for(recording: dict[str, Any], **given: Any) -> Call:
    """The call that a recording answers."""
    name = recording["id"].split("/")[0]
    options = None
    if name not in OWN:
        name, options = "openai", {"upstream_url": "https://compatible.example/v1/chat/completions"}
    operation = operation_of(recording["id"])
    model = recording["model"] or "test-model"
    return make_call(name, operation, model, options=options, stream=bool(recording["stream"]), **given)


def adapter_for(call: Call) -> Any:
    return provider(call.provider).adapter(call)


def family(*, stream: bool, ok: bool = True) -> list[str]:
    """Ids of the OpenAI-shaped recordings of chat, completions and embeddings."""
    found = []
    for entry in index():
        capability = entry["id"].split("/")[1]
        if not capability.startswith(("chat", "completions", "embeddings")):
            continue
        if capability.endswith(("native", "invoke")) or entry["id"].startswith(NOT_THIS_API):
            continue
        if bool(entry["stream"]) is stream and (entry["status"] == 200) is ok:
            found.append(entry["id"])
    return found


def stream_bytes(recording: dict[str, Any]) -> bytes:
    """A recorded stream as it went over the wire. Recordings above the HTTP client are framed anew."""
    body = recording["response"]["body"]
    if recording["stream"] == "decoded-chunks":
        return b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in body) + b"data: [DONE]\n\n"
    return body.encode()


# The plain reading: nothing here comes from the package.


@dataclass
class Read:
    """What a client must get to know."""

    content: dict[int, str] = field(default_factory=dict)
    reasoning: dict[int, str] = field(default_factory=dict)
    refusal: dict[int, str] = field(default_factory=dict)
    tools: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    finish: dict[int, str] = field(default_factory=dict)
    usage: dict[str, Any] | None = None
    model: str = ""


_FINISH = {"tool_call": "tool_calls", "eos_token": "stop", "stop_sequence": "stop"}


def read_answer(body: dict[str, Any]) -> Read:
    read = Read(usage=body.get("usage"), model=body["model"])
    for position, choice in enumerate(body["choices"]):
        at = choice.get("index", position)
        _read_message(read, at, choice.get("message") or {"content": choice.get("text")})
        read.finish[at] = _FINISH.get(choice["finish_reason"], choice["finish_reason"])
    return read


def read_stream(raw: bytes) -> Read:
    read = Read()
    for line in raw.decode().replace("\r\n", "\n").split("\n"):
        if not line.startswith("data:") or line[5:].strip() in ("", "[DONE]"):
            continue
        chunk = json.loads(line[5:])
        if chunk.get("usage"):
            read.usage = chunk["usage"]
        read.model = chunk.get("model") or read.model
        for choice in chunk.get("choices") or []:
            _read_message(read, choice["index"], choice.get("delta") or {"content": choice.get("text")})
            if choice.get("finish_reason"):
                read.finish[choice["index"]] = _FINISH.get(choice["finish_reason"], choice["finish_reason"])
    return read


def _read_message(read: Read, at: int, message: dict[str, Any]) -> None:
    content = message.get("content")
    if isinstance(content, list):
        for part in content:
            if part["type"] == "thinking":
                thought = "".join(item["text"] for item in part["thinking"])
                read.reasoning[at] = read.reasoning.get(at, "") + thought
            else:
                read.content[at] = read.content.get(at, "") + part["text"]
    elif content:
        read.content[at] = read.content.get(at, "") + content
    thought = message.get("reasoning_content") or message.get("reasoning")
    if thought:
        read.reasoning[at] = read.reasoning.get(at, "") + thought
    if message.get("refusal"):
        read.refusal[at] = read.refusal.get(at, "") + message["refusal"]
    for fragment in message.get("tool_calls") or []:
        tools = read.tools.setdefault(at, [])
        function = fragment.get("function") or {}
        known = next(
            (
                tool
                for tool in tools
                if fragment.get("index") is not None and tool["index"] == fragment["index"]
            ),
            None,
        )
        if known is None or (fragment.get("id") and fragment["id"] != known["id"]):
            known = {"index": fragment.get("index"), "id": fragment.get("id"), "name": "", "arguments": ""}
            tools.append(known)
        known["name"] = function.get("name") or known["name"]
        known["arguments"] += function.get("arguments") or ""


def same_tools(ours: list[dict[str, Any]], recorded: list[dict[str, Any]]) -> bool:
    """Names and arguments (as JSON) the same, ids the same where there were any, indexes dense."""
    if len(ours) != len(recorded):
        return False
    for one, other in zip(ours, recorded, strict=True):
        if one["name"] != other["name"] or (other["id"] and one["id"] != other["id"]) or not one["id"]:
            return False
        if one["arguments"] != other["arguments"] and json.loads(one["arguments"]) != json.loads(
            other["arguments"] or "{}"
        ):
            return False
    return True


def shown(ours: dict[str, Any] | None, recorded: dict[str, Any] | None) -> bool:
    """Whether usage is what the provider reported: each of its numbers, unchanged."""
    if recorded is None:
        return ours is None
    return ours is not None and all(
        ours[name] == value for name, value in recorded.items() if value is not None
    )


def replayed(recording_id: str, **given: Any) -> tuple[dict[str, Any], Call]:
    recording = load_recording(recording_id)
    return recording, call_for(recording, **given)


def encode_all(items: list[Any], call: Call) -> bytes:
    """Chunks as our OpenAI client format sends them, with the end of a complete stream."""
    encoder = CLIENT.stream(call)
    return b"".join(encoder.encode(item) for item in items) + encoder.finish()
