"""OpenAI's other APIs: responses, assistants, files, batches, audio, images, videos; Azure's paths of them.

Nothing is stored: a file's id tells its size (`file-<bytes>`), so uploads can be checked and downloads of any
size asked for. Wire format: https://platform.openai.com/docs/api-reference and the recordings openai/*.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any, Final

from ...core.json import Json, dumps
from ..answers import Answer, Step
from ..received import Received
from .images import xai_edit
from .openai import CREATED, _authorised, error

PATH: Final = re.compile(
    r"^(?:/v1|/openai(?:/v1)?(?:/deployments/[^/]+)?)"
    r"/(?P<api>responses|assistants|threads|files|batches|audio|images|videos)(?P<rest>/.*)?$"
)
_PIECE: Final = bytes(range(256)) * 256
_PIXEL: Final = base64.b64encode(b"\x89PNG mock").decode()
_MODEL_PART: Final = re.compile(rb'name="?model"?\r\n\r\n([^\r]*)\r\n')
_STREAM_PART: Final = re.compile(rb'name="?stream"?\r\n\r\n(?:true|True|1)\r\n')
_AUDIO_USAGE: Final[Json] = {
    "type": "tokens",
    "input_tokens": 17,
    "input_token_details": {"text_tokens": 2, "audio_tokens": 15},
    "output_tokens": 10,
    "total_tokens": 27,
}
_IMAGE_USAGE: Final[Json] = {
    "input_tokens": 22,
    "input_tokens_details": {"text_tokens": 22, "image_tokens": 0},
    "output_tokens": 100,
    "output_tokens_details": {"image_tokens": 100, "text_tokens": 0},
    "total_tokens": 122,
}


def respond(received: Received) -> Answer:
    """The answer to any path that `PATH` matches."""
    refusal = _authorised(received, received.path.startswith("/openai/"))
    if refusal:
        return refusal
    match = PATH.match(received.path)
    assert match is not None
    rest = (match["rest"] or "").strip("/")
    parts = rest.split("/") if rest else []
    answer = _APIS[match["api"]](received, parts)
    return answer or error(404, f"Invalid URL ({received.method} {received.path})")


def _responses(received: Received, parts: list[str]) -> Answer | None:
    match received.method, parts:
        case "POST", []:
            body = received.json
            said = body.get("input")
            text = f"You said: {said}"
            if body.get("stream"):
                return Answer.stream(_response_events(_response(body, text), text))
            return Answer.json(_response(body, text))
        case "GET", [id]:
            return Answer.json({**_response({"model": "gpt-4o"}, "stored"), "id": id})
        case "DELETE", [id]:
            return Answer.json({"id": id, "object": "response", "deleted": True})
        case "POST", [id, "cancel"]:
            return Answer.json({**_response({"model": "gpt-4o"}, ""), "id": id, "status": "cancelled"})
        case "GET", [_, "input_items"]:
            return _list([{"id": "msg_1", "type": "message", "role": "user", "content": []}])
    return None


def _response(body: Json, text: str) -> Json:
    item = {
        "id": "msg_mock",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
    }
    return {
        "id": "resp_mock", "object": "response", "created_at": CREATED, "status": "completed", "error": None,
        "incomplete_details": None, "instructions": None, "metadata": {}, "model": body.get("model"),
        "output": [item], "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": 7, "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
            "output_tokens": 4, "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 11,
        },
    }  # fmt: skip


def _response_events(response: Json, text: str) -> Iterator[Step]:
    item = response["output"][0]
    part = item["content"][0]
    place: Json = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    opened = {**item, "status": "in_progress", "content": []}
    events: list[tuple[str, Json]] = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
        ("response.output_item.added", {"output_index": 0, "item": opened}),
        ("response.content_part.added", {**place, "part": {**part, "text": ""}}),
        *(
            ("response.output_text.delta", {**place, "delta": word, "logprobs": []})
            for word in re.findall(r"\S+\s*", text)
        ),
        ("response.output_text.done", {**place, "text": text, "logprobs": []}),
        ("response.content_part.done", {**place, "part": part}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": response}),
    ]
    for number, (kind, members) in enumerate(events):
        yield _event({"type": kind, **members, "sequence_number": number}, kind)


def _assistants(received: Received, parts: list[str]) -> Answer | None:
    if received.headers.get("openai-beta") != "assistants=v2":
        return error(400, "You must provide the 'OpenAI-Beta' header to access the Assistants API.")
    match received.method, parts:
        case "POST", []:
            return Answer.json(_assistant("asst_1", received.json))
        case "GET", []:
            return _list([_assistant("asst_1", {})])
        case (("GET" | "POST"), [id]):
            return Answer.json(_assistant(id, received.json))
        case "DELETE", [id]:
            return Answer.json({"id": id, "object": "assistant.deleted", "deleted": True})
    return None


def _assistant(id: str, body: Json) -> Json:
    return {
        "id": id, "object": "assistant", "created_at": CREATED, "name": body.get("name"), "description": None,
        "model": body.get("model") or "gpt-4o", "instructions": body.get("instructions"), "tools": [],
        "metadata": {},
    }  # fmt: skip


def _threads(received: Received, parts: list[str]) -> Answer | None:
    if received.headers.get("openai-beta") != "assistants=v2":
        return error(400, "You must provide the 'OpenAI-Beta' header to access the Assistants API.")
    match received.method, parts:
        case "POST", []:
            return Answer.json({"id": "thread_1", "object": "thread", "created_at": CREATED, "metadata": {}})
        case "GET", [id]:
            return Answer.json({"id": id, "object": "thread", "created_at": CREATED, "metadata": {}})
        case "POST", [id, "messages"]:
            return Answer.json(_message(id, received.json))
        case "GET", [id, "messages"]:
            return _list([_message(id, {"content": "hi"})])
        case "POST", [id, "runs"]:
            if received.json.get("stream"):
                return Answer.stream(_run_events(_run(id)))
            return Answer.json(_run(id))
        case "GET", [id, "runs", _]:
            return Answer.json(_run(id))
    return None


def _message(thread: str, body: Json) -> Json:
    return {
        "id": "msg_1", "object": "thread.message", "created_at": CREATED, "thread_id": thread, "role": "user",
        "content": [{"type": "text", "text": {"value": body.get("content"), "annotations": []}}],
        "attachments": [], "metadata": {}, "status": "completed",
    }  # fmt: skip


def _run(thread: str) -> Json:
    return {
        "id": "run_1", "object": "thread.run", "created_at": CREATED, "thread_id": thread,
        "assistant_id": "asst_1", "status": "completed", "model": "gpt-4o", "tools": [], "metadata": {},
        "usage": {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11},
    }  # fmt: skip


def _run_events(run: Json) -> Iterator[Step]:
    yield _event({**run, "status": "queued", "usage": None}, "thread.run.created")
    yield _event(run, "thread.run.completed")
    yield b"event: done\ndata: [DONE]\n\n"


def _files(received: Received, parts: list[str]) -> Answer | None:
    match received.method, parts:
        case "POST", []:
            return Answer.json(_file(f"file-{_file_size(received.body)}"))
        case "GET", []:
            return _list([_file("file-5")])
        case "GET", [id]:
            return Answer.json(_file(id))
        case "DELETE", [id]:
            return Answer.json({"id": id, "object": "file", "deleted": True})
        case "GET", [id, "content"]:
            return _content(int(id.rpartition("-")[2]))
    return None


def _file(id: str) -> Json:
    size = int(id.rpartition("-")[2])
    return {
        "id": id, "object": "file", "bytes": size, "created_at": CREATED, "filename": "mock.jsonl",
        "purpose": "batch", "status": "processed",
    }  # fmt: skip


def _file_size(form: bytes) -> int:
    """Bytes of a form's one file."""
    head = re.search(rb"filename=[^\r]*(?:\r\n[^\r]+)*\r\n\r\n", form)
    if head is None:
        return 0
    boundary = form[: form.index(b"\r\n")]
    return form.index(b"\r\n" + boundary, head.end()) - head.end()


def _content(size: int) -> Answer:
    headers = {"content-type": "application/octet-stream"}
    if size == 777:
        line = {"custom_id": "a", "response": {"body": {"model": "m", "usage": _run("")["usage"]}}}
        return Answer(200, headers, dumps(line) + b"\n")
    headers["content-disposition"] = 'attachment; filename="mock.bin"'
    return Answer(200, headers, steps=list(_pieces(size)))


def _pieces(size: int) -> Iterator[Step]:
    whole, rest = divmod(size, len(_PIECE))
    yield from [_PIECE] * whole
    yield _PIECE[:rest]


def _batches(received: Received, parts: list[str]) -> Answer | None:
    match received.method, parts:
        case "POST", []:
            return Answer.json(_batch("batch_1", received.json, "validating"))
        case "GET", []:
            return _list([_batch("batch_1", {}, "completed")])
        case "GET", [id]:
            return Answer.json(_batch(id, {}, "completed"))
        case "POST", [id, "cancel"]:
            return Answer.json(_batch(id, {}, "cancelling"))
    return None


def _batch(id: str, body: Json, status: str) -> Json:
    return {
        "id": id, "object": "batch", "endpoint": body.get("endpoint") or "/v1/chat/completions",
        "input_file_id": body.get("input_file_id") or "file-5", "completion_window": "24h", "status": status,
        "created_at": CREATED, "output_file_id": "file-777" if status == "completed" else None,
    }  # fmt: skip


def _audio(received: Received, parts: list[str]) -> Answer | None:
    match received.method, parts:
        case "POST", ["speech"]:
            body = received.json
            if body.get("stream_format") == "sse":
                return Answer.stream(
                    [
                        _event({"type": "speech.audio.delta", "audio": _PIXEL}),
                        _event({"type": "speech.audio.done", "usage": _AUDIO_USAGE}),
                    ]
                )
            size = len(str(body.get("input"))) * 1000
            return Answer(200, {"content-type": "audio/mpeg"}, steps=list(_pieces(size)))
        case "POST", ["transcriptions" | "translations"]:
            model = _MODEL_PART.search(received.body)
            said = f"{_file_size(received.body)} bytes by {model[1].decode() if model else 'nobody'}"
            if _STREAM_PART.search(received.body):
                done = {"type": "transcript.text.done", "text": said, "usage": _AUDIO_USAGE}
                return Answer.stream(
                    [
                        _event({"type": "transcript.text.delta", "delta": said}),
                        _event(done),
                        b"data: [DONE]\n\n",
                    ]
                )
            return Answer.json({"text": said, "usage": _AUDIO_USAGE})
    return None


def _images(received: Received, parts: list[str]) -> Answer | None:
    match received.method, parts:
        case "POST", ["edits"] if str(received.json.get("model")).startswith("grok"):
            return xai_edit(received.json)
        case "POST", ["generations" | "edits"]:
            picture = {"b64_json": _PIXEL}
            return Answer.json({"created": CREATED, "data": [picture], "usage": _IMAGE_USAGE})
    return None


def _videos(received: Received, parts: list[str]) -> Answer | None:
    match received.method, parts:
        case "POST", [] | ["edits" | "extensions"] | [_, "remix"]:
            return Answer.json(_video("video_1", "queued"))
        case "GET", []:
            return _list([_video("video_1", "completed")])
        case "GET", [id]:
            return Answer.json(_video(id, "completed"))
        case "DELETE", [id]:
            return Answer.json({"id": id, "object": "video.deleted", "deleted": True})
        case "GET", [_, "content"]:
            return Answer(200, {"content-type": "video/mp4"}, steps=list(_pieces(200_000)))
    return None


def _video(id: str, status: str) -> Json:
    return {
        "id": id, "object": "video", "created_at": CREATED, "status": status, "model": "sora-2",
        "progress": 100 if status == "completed" else 0, "seconds": "4", "size": "720x1280",
    }  # fmt: skip


def _list(found: list[Json]) -> Answer:
    ends: Json = {"first_id": found[0]["id"], "last_id": found[-1]["id"]}
    return Answer.json({"object": "list", "data": found, "has_more": False, **ends})


def _event(data: Any, name: str = "") -> bytes:
    return (b"event: %b\n" % name.encode() if name else b"") + b"data: %b\n\n" % dumps(data)


_APIS: Final = {
    "responses": _responses,
    "assistants": _assistants,
    "threads": _threads,
    "files": _files,
    "batches": _batches,
    "audio": _audio,
    "images": _images,
    "videos": _videos,
}
