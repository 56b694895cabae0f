"""Images by the APIs of Gemini, Imagen, Nova Canvas, Titan, Stability, DashScope and xAI.

A prompt with the word "blocked" is refused as each provider words it; with "slow" in it, a task is
done when it is looked at for the second time. Wire formats: see
`kong_ai_proxy/formats/images/`, and the recordings dashscope/image-generations, dashscope/tasks,
xai/image-edits.
"""

from __future__ import annotations

import base64
import re
import struct
import zlib
from typing import Any, Final

from ...core.json import Json
from ..answers import Answer
from ..received import Received

PATH: Final = re.compile(r"^/api/v1/(services/aigc/[a-z0-9-]+/[a-z-]+|tasks/[\w-]+)$|^/mock-image/")
"""DashScope's, and where the mock's finished images lie."""

_AMAZON: Final = {
    "TEXT_IMAGE": "textToImageParams", "IMAGE_VARIATION": "imageVariationParams",
    "INPAINTING": "inPaintingParams", "OUTPAINTING": "outPaintingParams",
    "BACKGROUND_REMOVAL": "backgroundRemovalParams",
    "COLOR_GUIDED_GENERATION": "colorGuidedGenerationParams",
}  # fmt: skip


def png(width: int = 2, height: int = 2) -> bytes:
    """A black image."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress((b"\x00" + bytes(3 * width)) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


_PICTURE: Final = base64.b64encode(png()).decode()


def generate_content(body: Json, model: str) -> Answer:
    """Gemini's answer where an image is among the modalities."""
    said = " ".join(str(part.get("text", "")) for part in body["contents"][-1]["parts"])
    usage: Json = {
        "promptTokenCount": 6, "candidatesTokenCount": 1290, "thoughtsTokenCount": 20,
        "totalTokenCount": 1316,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 6}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
    }  # fmt: skip
    candidate: Json = {"index": 0, "finishReason": "STOP"}
    if "blocked" in said:
        candidate["finishReason"] = "IMAGE_SAFETY"
        candidate["finishMessage"] = "Unable to show the generated image."
        usage = {"promptTokenCount": 6, "totalTokenCount": 6}
    else:
        parts = [{"text": "Here it is."}, {"inlineData": {"mimeType": "image/png", "data": _PICTURE}}]
        candidate["content"] = {"role": "model", "parts": parts}
    return Answer.json({"candidates": [candidate], "usageMetadata": usage, "modelVersion": model})


def predict(body: Json) -> Answer:
    """Imagen's."""
    parameters = body.get("parameters") or {}
    if "blocked" in body["instances"][0]["prompt"]:
        return Answer.json({"predictions": [{"raiFilteredReason": "Support codes: 56562880"}]})
    made = {"mimeType": "image/png", "bytesBase64Encoded": _PICTURE}
    return Answer.json({"predictions": [made] * int(parameters.get("sampleCount", 4))})


def invoke(body: Json, model: str) -> Answer | None:
    """Bedrock's image models'; None for other models."""
    if "taskType" in body:
        return _amazon(body)
    return _stability(body) if "stability." in model else None


def _amazon(body: Json) -> Answer:
    member = _AMAZON.get(str(body["taskType"]))
    if member is None or member not in body or body.keys() - {"taskType", member, "imageGenerationConfig"}:
        return _invalid("Malformed input request, please reformat your input and try again.")
    if "blocked" in str(body[member].get("text")):
        return _invalid(
            "This request has been blocked by our content filters. "
            "Please adjust your text prompt to submit a new request."
        )
    count = int((body.get("imageGenerationConfig") or {}).get("numberOfImages", 1))
    return Answer.json({"images": [_PICTURE] * count, "error": None})


def _stability(body: Json) -> Answer:
    if "blocked" in str(body.get("prompt")):
        return Answer.json({"finish_reasons": ["Filter reason: prompt"]})
    return Answer.json({"seeds": [body.get("seed", 7)], "finish_reasons": [None], "images": [_PICTURE]})


def _invalid(message: str) -> Answer:
    return Answer.json(
        {"message": message}, 400, {"x-amzn-errortype": "ValidationException:http://internal/"}
    )


def xai_edit(body: Json) -> Answer:
    """xAI's answer to an edit: a URL, or base64."""
    images = [body["image"]] if "image" in body else body.get("images") or []
    if not images or not all(str(image.get("url")).startswith(("data:", "https:")) for image in images):
        return Answer.json({"code": "Client specified an invalid argument", "error": "no image"}, 400)
    wanted = body.get("response_format") == "b64_json"
    made = {"b64_json": _PICTURE} if wanted else {"url": "https://imgen.x.ai/mock.jpeg"}
    data = [{**made, "mime_type": "image/jpeg"}] * int(body.get("n") or 1)
    return Answer.json({"data": data, "usage": {"cost_in_usd_ticks": 700000000}})


def respond(received: Received) -> Answer:
    """DashScope's. A task's id says what becomes of it."""
    path = received.path
    if path.startswith("/mock-image/"):
        if "authorization" in received.headers:
            return Answer(
                400, {"content-type": "application/xml"}, b"<Error><Code>InvalidArgument</Code></Error>"
            )
        return Answer(200, {"content-type": "image/png"}, png())
    if not received.headers.get("authorization", "").startswith("Bearer "):
        return Answer.json({"code": "InvalidApiKey", "message": "No API-key provided."}, 401)
    host = received.headers.get("host", "")
    if path.startswith("/api/v1/tasks/"):
        return _task(path.rpartition("/")[2], host)
    body = received.json
    parameters = body.get("parameters") or {}
    said = _said(body.get("input") or {})
    if path.endswith("/multimodal-generation/generation"):
        if "blocked" in said:
            refused = {
                "code": "DataInspectionFailed",
                "message": "Input data may contain inappropriate content.",
            }
            return Answer.json({**refused, "request_id": "mock"}, 400)
        content = [{"image": _address(host, index)} for index in range(int(parameters.get("n") or 1))]
        choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        usage = {"image_count": len(content), "width": 1328, "height": 1328}
        return Answer.json({"output": {"choices": [choice]}, "usage": usage, "request_id": "mock"})
    if received.headers.get("x-dashscope-async") != "enable":
        message = "current user api does not support synchronous calls."
        return Answer.json({"code": "AccessDenied", "message": message}, 403)
    count = 0 if "blocked" in said else int(parameters.get("n") or 4)
    looks = 2 if "slow" in said else 1
    output = {"task_id": f"task-{count}-{looks}", "task_status": "PENDING"}
    return Answer.json({"output": output, "request_id": "mock"})


_seen: dict[str, int] = {}


def _task(task: str, host: str) -> Answer:
    seen = _seen[task] = _seen.get(task, 0) + 1
    count, looks = (int(part) for part in task.split("-")[1:3])
    output: Json = {"task_id": task, "task_status": "RUNNING"}
    if seen % looks:
        return Answer.json({"output": output, "request_id": "mock"})
    if not count:
        output |= {
            "task_status": "FAILED",
            "code": "DataInspectionFailed",
            "message": "Output data may be bad.",
        }
        return Answer.json({"output": output, "request_id": "mock"})
    results = [{"url": _address(host, index), "actual_prompt": "a cat, painted"} for index in range(count)]
    output |= {"task_status": "SUCCEEDED", "results": results}
    return Answer.json({"output": output, "usage": {"image_count": count}, "request_id": "mock"})


def _address(host: str, index: int) -> str:
    return f"http://{host}/mock-image/{index}.png"


def _said(given: Json) -> str:
    texts: list[Any] = [given.get("prompt")]
    for message in given.get("messages") or []:
        texts += [part.get("text") for part in message["content"]]
    return " ".join(str(text) for text in texts if text)
