"""Of several targets, the one is asked for a video that its id is from."""

from __future__ import annotations

from typing import Any

import pytest
from exchange_support import advanced, target_config

from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.exchange.rest_plan import plan_rest
from kong_ai_proxy.formats.videos.ids import FORMS, Job, encode, form_of

ARN = "arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdefabcde1"
VERTEX = {"gemini": {"api_endpoint": "v.test", "project_id": "p", "location_id": "global"}}
BEDROCK = {"bedrock": {"aws_region": "us-east-1", "video_output_s3_uri": "s3://videos"}}
OWN = {"upstream_url": "https://mine.test/v1/videos"}
TARGETS: list[tuple[str, dict[str, Any]]] = [
    ("openai", {}),
    ("azure", {"azure_instance": "i", "azure_deployment_id": "sora"}),
    ("gemini", {}),
    ("gemini", VERTEX),
    ("bedrock", BEDROCK),
    ("huggingface", {}),
    ("huggingface", OWN),
    ("xai", {}),
    ("dashscope", {}),
]
IDS = {
    "video_68e1f0": [0, 1, 6],
    encode("sora", Job("task_1")): [1],
    encode("veo", Job("m/op")): [2],
    encode("vertex", Job("m/op")): [3],
    encode("bedrock", Job(ARN)): [4],
    encode("huggingface", Job("together:x")): [5],
    encode("xai", Job("x")): [7],
    encode("dashscope", Job("x")): [8],
}


def candidates(path: str, targets: list[tuple[str, dict[str, Any]]], method: str = "GET") -> list[int]:
    instance = advanced(
        *(
            target_config(provider, "m", route_type="video/v1/videos/generations", options=options)
            for provider, options in targets
        )
    )
    body = b'{"prompt": "x"}' if method == "POST" else b""
    plan = plan_rest(instance, ClientRequest(method, path, "", {"content-type": "application/json"}, body))
    assert plan is not None
    return plan.candidates


@pytest.mark.parametrize("video_id", IDS)
@pytest.mark.parametrize("action", ["", "/content"])
def test_by_the_id(video_id: str, action: str) -> None:
    assert candidates(f"/videos/{video_id}{action}", TARGETS) == IDS[video_id]


def test_nobody_to_whom_it_belongs() -> None:
    """One of them says so then."""
    veo = encode("veo", Job("m/op"))
    assert candidates(f"/videos/{veo}", TARGETS[:2]) == [0, 1]
    assert candidates(f"/videos/{veo}", TARGETS[:1]) == [0]


def test_everybody_makes_and_lists() -> None:
    assert candidates("/videos", TARGETS, "POST") == list(range(9))
    assert candidates("/videos", TARGETS) == list(range(9))


@pytest.mark.parametrize("rest", ["", "/", "/video_", "/video_!", "/ü", "/video_\x00", "/video_____"])
def test_what_is_no_id_of_ours(rest: str) -> None:
    assert form_of(rest) is None


def test_all_forms_are_known() -> None:
    assert {form_of(f"/{video_id}/content") for video_id in IDS} == {*FORMS, None}
