"""Whatever an images request holds, and whatever a provider answers: the client gets images or an ApiError.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from images_support import PICTURE, asks, replies

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.json import dumps
from kong_ai_proxy.formats.steps import Asked, FilePart, Whole
from kong_ai_proxy.providers import provider

VERTEX = {"gemini": {"api_endpoint": "h.example", "project_id": "p", "location_id": "l"}}
MODELS: list[tuple[str, str, dict[str, Any]]] = [
    ("gemini", "gemini-2.5-flash-image", {}),
    ("gemini", "gemini-3-pro-image-preview", VERTEX),
    ("gemini", "imagen-4.0-generate-001", {}),
    ("gemini", "imagen-3.0-capability-001", VERTEX),
    ("bedrock", "amazon.nova-canvas-v1:0", {}),
    ("bedrock", "stability.sd3-5-large-v1:0", {}),
    ("bedrock", "us.stability.stable-image-inpaint-v1:0", {}),
    ("dashscope", "qwen-image", {}),
    ("dashscope", "qwen-image-edit-plus", {}),
    ("dashscope", "wan2.2-t2i-flash", {}),
    ("dashscope", "wanx2.1-imageedit", {}),
    ("xai", "grok-imagine-image", {}),
]
WORDS = st.text(max_size=4)
NUMBERS = st.integers(-2, 12)
VALID = {
    "prompt": st.text(min_size=1, max_size=8),
    "n": st.integers(1, 3),
    "size": st.sampled_from(["auto", "256x256", "1024x1024", "1792x1024", "1024x1536", "3840x2160"]),
    "quality": st.sampled_from(["auto", "low", "medium", "high", "standard", "hd"]),
    "background": st.sampled_from(["auto", "opaque", "transparent"]),
    "output_format": st.sampled_from(["png", "jpeg", "webp"]),
    "output_compression": st.integers(0, 100),
    "response_format": st.sampled_from(["url", "b64_json"]),
    "moderation": st.sampled_from(["low", "auto"]),
    "partial_images": st.integers(0, 3),
    "style": st.sampled_from(["vivid", "natural"]),
    "stream": st.booleans(),
    "user": WORDS,
    "seed": st.integers(0, 2**31),
    "negative_prompt": WORDS,
    "aspect_ratio": st.sampled_from(["auto", "1:1", "21:9"]),
}
ODD = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
OWN = st.sampled_from(
    ["generationConfig", "parameters", "input", "imageGenerationConfig", "taskType", "textToImageParams",
     "image", "images", "mask", "function", "safetySettings", "extra_body", "strength", *VALID]
)  # fmt: skip
FILES = st.lists(
    st.sampled_from(
        [PICTURE, FilePart("image[]", b""), FilePart("mask", b"\x89PNG\r\n\x1a\n"), FilePart("x", b"1")]
    ),
    max_size=3,
)
PIXEL = "iVBORw0KGgoAAAANSUhEUg=="
MEMBERS = st.sampled_from(
    ["candidates", "content", "parts", "inlineData", "mimeType", "data", "finishReason", "promptFeedback",
     "predictions", "bytesBase64Encoded", "images", "error", "finish_reasons", "output", "choices", "message",
     "image", "results", "url", "task_status", "task_id", "usage", "b64_json", "code"]
)  # fmt: skip
ANSWERS = st.recursive(
    st.none()
    | NUMBERS
    | st.sampled_from(["", PIXEL, "image/png", "SUCCEEDED", "RUNNING", "https://a.aliyuncs.com/1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(MEMBERS, inner, max_size=4),
    max_leaves=12,
)


def run(asked: Asked, answers: list[Any]) -> Whole | None:
    """The client's answer; None where the provider has not answered to all that was asked."""
    translation = provider(asked.call.provider).steps(asked.call)
    assert translation is not None
    steps = translation(asked)
    step = next(steps)
    for reply in replies(*answers):
        assert step.path and step.method in ("GET", "POST")
        if step.body is not None:
            dumps(step.body)
        try:
            step = steps.send(reply)
        except StopIteration as end:
            assert isinstance(end.value, Whole)
            return end.value
    return None


@given(st.sampled_from(MODELS), st.fixed_dictionaries({}, optional=VALID), FILES, ANSWERS)
def test_valid_requests(which: Any, body: dict[str, Any], files: list[FilePart], answer: Any) -> None:
    name, model, options = which
    asked = asks(name, model, body, *files, **options)
    if asked.call.operation == "image.generations" and name == "xai":
        return
    try:
        made = run(asked, [answer] * 4)
    except ApiError as error:
        assert error.status in (400, 502, 504)
        return
    if made is not None:
        assert isinstance(made.body, dict) and made.body["data"]
        assert asked.call.usage.images == len(made.body["data"])
        dumps(made.body)


@given(st.sampled_from(MODELS), st.dictionaries(OWN, ODD, max_size=4), st.booleans())
def test_odd_requests(which: Any, body: dict[str, Any], form: bool) -> None:
    name, model, options = which
    asked = asks(name, model, {"prompt": "x", **body}, *([PICTURE] if form else []), **options)
    if asked.call.operation == "image.generations" and name == "xai":
        return
    try:
        assert run(asked, []) is None
    except ApiError as error:
        assert error.status == 400
        assert error.param is not None
