"""Whatever a client sends to a REST route of a provider with another API is asked there, or refused with a
status of the client's; and it leads to no host but the configured ones, whatever the provider answers."""

from __future__ import annotations

import json
from typing import Any

from exchange_support import first_attempt, proxy
from fuzz_support import examples
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.formats.batches.ids import batch_id, file_id
from kong_ai_proxy.formats.videos.ids import Job, encode

IMAGES, EDITS = "image/v1/images/generations", "image/v1/images/edits"
VIDEOS, FILES, BATCHES = "video/v1/videos/generations", "llm/v1/files", "llm/v1/batches"
VERTEX = {"gemini": {
    "api_endpoint": "us-central1-aiplatform.googleapis.com", "project_id": "p", "location_id": "us-central1",
}}  # fmt: skip
AWS = {"bedrock": {
    "aws_region": "us-east-1", "video_output_s3_uri": "s3://ours/out", "batch_bucket_prefix": "s3://ours/b/",
    "batch_role_arn": "arn:aws:iam::123456789012:role/r",
}}  # fmt: skip
CASES: list[tuple[str, str, list[str | None], dict[str, Any]]] = [
    ("gemini", IMAGES, ["gemini-2.5-flash-image", "imagen-4.0-generate-001", None], {}),
    ("gemini", EDITS, ["gemini-2.5-flash-image", "imagen-3.0-capability-001"], VERTEX),
    ("gemini", VIDEOS, ["veo-3.1-generate-preview", None], {}),
    ("gemini", VIDEOS, ["veo-3.1-generate-001"], VERTEX),
    ("gemini", FILES, ["gemini-2.5-flash", None], {}),
    ("gemini", BATCHES, ["gemini-2.5-flash", None], {}),
    ("gemini", FILES, ["gemini-2.5-flash"], VERTEX),
    ("gemini", BATCHES, ["gemini-2.5-flash", None], VERTEX),
    ("bedrock", IMAGES, ["amazon.nova-canvas-v1:0", "stability.sd3-5-large-v1:0", None], AWS),
    ("bedrock", EDITS, ["amazon.titan-image-generator-v2:0", "stability.stable-image-inpaint-v1:0"], AWS),
    ("bedrock", VIDEOS, ["amazon.nova-reel-v1:1", "luma.ray-v2:0", None], AWS),
    ("bedrock", FILES, ["amazon.nova-lite-v1:0", None], AWS),
    ("bedrock", BATCHES, ["amazon.nova-lite-v1:0", None], AWS),
    ("dashscope", IMAGES, ["qwen-image", "wan2.2-t2i-flash"], {}),
    ("dashscope", EDITS, ["qwen-image-edit", "wanx2.1-imageedit", "wan2.5-i2i-preview"], {}),
    ("dashscope", VIDEOS, ["wan2.5-t2v-preview", None], {}),
    ("xai", EDITS, ["grok-imagine-image", None], {}),
    ("xai", VIDEOS, ["grok-imagine-video", None], {}),
    ("huggingface", VIDEOS, ["owner/model", None], {}),
    ("azure", VIDEOS, ["sora"], {"azure_instance": "ours", "azure_deployment_id": "sora"}),
    ("anthropic", FILES, ["claude-sonnet-4-5", None], {}),
    ("anthropic", BATCHES, ["claude-sonnet-4-5", None], {}),
]
INSTANCES = [
    proxy(provider, model, route_type=route, options=options, max_request_body_size=0)
    for provider, route, models, options in CASES
    for model in models
]
for each in INSTANCES:
    each.extensions.gemini_batch_bucket_prefix = "gs://ours/b/"
OWN = (
    ".googleapis.com", ".amazonaws.com", ".aliyuncs.com", ".x.ai", "huggingface.co", "ours.openai.azure.com",
    "api.anthropic.com", "public.example.com",
)  # fmt: skip

ARN = "arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdefabcde1"
IDS = [
    *(encode(form, Job(name)) for form, name in (
        ("veo", "m/op"), ("vertex", "m/op"), ("bedrock", ARN), ("sora", "t"), ("xai", "x"),
        ("dashscope", "d"),
        ("huggingface", "together:v"), ("veo", "../op"), ("veo", "m/..%2f.."), ("bedrock", f"{ARN}/x"),
        ("dashscope", "../../v1/files"), ("xai", "a\r\nhost: evil"), ("huggingface", "fal-ai:/evil.test"),
    )),
    *(file_id(form, part, name) for form, part, name in (  # type: ignore[arg-type]
        ("anthropic", "in", "msgbatch_1"), ("gemini", "out", "batches/b"), ("gemini", "in", "files/../x"),
        ("bedrock", "err", "abcdefabcde1"), ("bedrock", "in", "../secret"), ("vertex", "in", "a\0b"),
    )),
    *(batch_id(form, name) for form, name in (
        ("anthropic", "msgbatch_1"), ("gemini", "batches/b"), ("bedrock", "abcdefabcde1"), ("vertex", "12"),
        ("vertex", "12/../13"), ("anthropic", "msgbatch_1?limit=1000"),
    )),
    "video_", "file-", "batch_!", "x" * 5000, "%00", "%0d%0a", "..", "%2e%2e%2f", "ä", "http:%2f%2fevil.test",
]  # fmt: skip
PATHS = st.just("/") | st.tuples(
    st.sampled_from(IDS), st.sampled_from(["", "/content", "/cancel", "/remix", "/..", "/x"])
).map("".join)
QUERIES = st.sampled_from(
    [
        "",
        "limit=0",
        "limit=99999999999",
        "limit=%D9%A3",
        "after=x",
        f"after={IDS[0]}",
        "order=up",
        "variant=x",
    ]
)
URLS = [
    "data:image/png;base64,iVBORw0KGgo=",
    "data:,",
    "https://evil.test/a",
    "http://169.254.169.254/",
    "file:///",
]
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.text(max_size=6)
    | st.sampled_from([*URLS, *IDS[:8], "1024x1024", "0x0", "9" * 30, "1280x720", "owner/../x", "m\r\nx"])
)  # fmt: skip
NAMES = st.sampled_from(
    [
        "model",
        "prompt",
        "n",
        "size",
        "quality",
        "background",
        "output_format",
        "output_compression",
        "response_format",
        "seed",
        "mask",
        "image",
        "images",
        "image_url",
        "url",
        "input_reference",
        "seconds",
        "extra_body",
        "parameters",
        "generationConfig",
        "imageConfig",
        "taskType",
        "input",
        "imageGenerationConfig",
        "storageUri",
        "outputDataConfig",
        "fps",
        "aspectRatio",
        "strength",
        "function",
        "stream",
        "partial_images",
        "requests",
        "custom_id",
        "body",
        "messages",
        "content",
        "role",
        "tools",
        "input_file_id",
        "endpoint",
        "completion_window",
        "metadata",
        "purpose",
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)
BODIES = st.fixed_dictionaries(
    {"prompt": st.just("a cat") | VALUES}, optional={"image": st.sampled_from(URLS) | VALUES}
).flatmap(lambda base: st.dictionaries(NAMES, VALUES, max_size=5).map(lambda more: {**more, **base}))
FIELDS = NAMES | st.sampled_from(
    ["image[]", "a[b][c]", "generationConfig[a]", "extra_body[x]", "input_reference[image_url]", "[", "a[]"]
)
FORMS = st.lists(
    st.tuples(FIELDS, st.text(max_size=8) | st.sampled_from(URLS), st.sampled_from(["", "", "file"])),
    max_size=5,
)
LINES = st.lists(VALUES, min_size=1, max_size=3)
ANSWERS = st.sampled_from(
    [
        {}, [], "x", {"url": "http://169.254.169.254/"}, {"name": "files/../../x", "displayName": "["},
        {"name": "models/m/operations/o", "done": True, "response": {"generateVideoResponse": {
            "generatedSamples": [{"video": {"uri": "https://evil.test/v1beta/files/a:download"}}]}}},
        {"status": "done", "video": {"url": "https://evil.test/v.mp4"}},
        {"output": {"task_status": "SUCCEEDED", "task_id": "../x", "video_url": "https://evil.test/"}},
        {"output": {"task_status": "PENDING", "task_id": "../../x?y"}},
        {"status": "completed", "outputs": {"video_url": "https://public.example.com/v.mp4"}},
        {"status": "completed", "outputs": {"video_url": "https://10.0.0.1/v.mp4"}},
        {"status": "Completed", "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://theirs/x"}}},
        {"jobArn": "arn:x/../y", "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://ours/b/../.."}}},
        {"id": "msgbatch_1", "results_url": "https://evil.test/", "ended_at": "2025-01-01T00:00:00Z"},
    ]
)  # fmt: skip


def form_of(fields: list[tuple[str, str, str]], lines: list[Any] | None) -> bytes:
    parts = b""
    for name, value, kind in fields:
        file = '; filename="a"' if kind else ""
        head = f'--B\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n{value}\r\n'
        parts += head.encode("utf-8", "replace")
    if lines is not None:
        data = b"\n".join(json.dumps(each).encode() for each in lines)
        parts += b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        parts += b'--B\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + data + b"\r\n"
    return parts + b"--B--\r\n"


@examples(400)
@given(
    st.sampled_from(INSTANCES),
    st.sampled_from(["POST", "POST", "GET", "DELETE"]),
    PATHS,
    QUERIES,
    st.one_of(BODIES, st.tuples(FORMS, st.none() | LINES)),
    st.lists(ANSWERS, min_size=4, max_size=4),
)
def test_anything(instance: Any, method: str, path: str, query: str, body: Any, answers: list[Any]) -> None:
    if isinstance(body, dict):
        kind, data = "application/json", json.dumps(body).encode()
    else:
        kind, data = "multipart/form-data; boundary=B", form_of(*body)
    request = ClientRequest(method, path, query, {"content-type": kind}, data)
    try:
        _, attempt = first_attempt(instance, request)
        made = attempt.translation.request()
    except ApiError as error:
        assert 400 <= error.status < 500, error
        assert error.message and "\n" not in error.message.strip() and len(error.message) < 4000
        return
    attempt.connected("192.0.2.1", 0.001)
    for answer in answers:
        assert made.url.scheme == "https" and made.url.host.endswith(OWN), made.url
        assert not made.url.path.startswith("//") and "/../" not in made.url.path
        assert not any(each in made.url.target for each in ("\r", "\n", "\0"))
        assert "evil" not in made.url.host and (not made.anonymous or "authorization" not in made.headers)
        raw = json.dumps(answer).encode()
        headers = {"content-type": "application/json"}
        further = attempt.translation.further(200, headers, raw)
        if further is None:
            told = attempt.translation.response(200, headers, raw)
            assert told.status < 500 or told.status in (502, 504)
            if told.status != 200:
                assert isinstance(json.loads(told.body)["error"]["message"], str)
            break
        made = further.request
    attempt.ended()
