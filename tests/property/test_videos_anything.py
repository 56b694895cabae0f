"""Whatever a provider answers about a video, the client gets a Video, a list or an error; nothing crashes."""

from __future__ import annotations

from typing import Any

import pytest
from fuzz_support import examples
from hypothesis import given
from hypothesis import strategies as st
from videos_support import Drive, through

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.json import dumps
from kong_ai_proxy.formats.steps import Streamed, Whole
from kong_ai_proxy.formats.videos.ids import Job, encode

ARN = "arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdefabcde1"
NAMES = {
    "gemini": [("veo", "m/op1")],
    "vertex": [("vertex", "m/op1")],
    "bedrock": [("bedrock", ARN)],
    "huggingface": [
        ("huggingface", name)
        for name in ("fal-ai:fal-ai/m/requests/1", "together:v1", "wavespeed:api/v3/predictions/p/result")
    ],
    "azure": [("sora", "task_01")],
    "xai": [("xai", "id-1")],
    "dashscope": [("dashscope", "id-1")],
}
_MEMBERS = """name done error code message response generateVideoResponse generatedSamples video uri videos
    raiMediaFilteredReasons bytesBase64Encoded invocationArn status submitTime endTime outputDataConfig
    s3OutputDataConfig s3Uri failureMessage clientRequestToken modelArn asyncInvokeSummaries nextToken
    inferenceProviderMapping fal-ai providerId task response_url detail msg id outputs video_url data urls get
    generations n_seconds width height created_at failure_reason has_more
    request_id progress url duration output task_id task_status video_duration video_ratio usage end_time"""
MEMBERS = st.sampled_from(_MEMBERS.split())
WORDS = st.sampled_from(
    f"""{ARN} s3://my-videos/out/abcdefabcde1 Completed COMPLETED completed succeeded failed live QUJD
    text-to-video fal-ai/m https://queue.fal.run/a/b/requests/1 2025-06-01T10:00:00Z""".split()
)
VALUES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8) | WORDS
ANSWERS = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=6),
    max_leaves=20,
)


def written(value: Any) -> bytes:
    """As a provider would write it, which is not always JSON."""
    try:
        return dumps(value)
    except TypeError:
        return repr(value).encode()


ASKED: list[tuple[str, dict[str, Any] | None, str, str, str]] = [
    (kind, body, rest, method, query)
    for kind, names in NAMES.items()
    for form, name in names
    for body, rest, method, query in (
        ({"prompt": "x"}, "", "POST", ""),
        (None, f"/{encode(form, Job(name))}", "GET", ""),
        (None, f"/{encode(form, Job(name))}/content", "GET", ""),
        *(
            [(None, "", "GET", ""), (None, "", "GET", f"after={encode(form, Job(name))}")]
            if kind in ("bedrock", "azure")
            else []
        ),
    )
]


@pytest.mark.parametrize(("kind", "body", "rest", "method", "query"), ASKED)
@examples(5)
@given(answers=st.lists(ANSWERS, min_size=6, max_size=6), status=st.sampled_from([200, 200, 200, 422, 302]))
def test_any_answer(
    kind: str,
    body: dict[str, Any] | None,
    rest: str,
    method: str,
    query: str,
    answers: list[Any],
    status: int,
) -> None:
    drive = Drive(kind, body, rest, method, query=query)
    try:
        for answer in answers:
            streams = drive.step.streams
            passed = status if status in drive.step.passes else 200
            drive.answer(
                b"" if streams and passed == 200 else written(answer), passed, location="https://x.test/y"
            )
            if drive.result is not None:
                break
            assert drive.url.startswith("https://")
    except ApiError as error:
        assert error.status in (400, 404, 502)
        return
    if isinstance(drive.result, Whole):
        found = drive.result.body
        assert isinstance(found, dict) and found["object"] in ("video", "list")
        dumps(found)
        return
    assert isinstance(drive.result, Streamed)
    if drive.result.through is None:
        return
    try:
        through(drive.result, written(answers[0]), lambda size: 7)
    except ApiError as error:
        assert error.status in (400, 502)
