"""Azure's jobs for Sora before version 2."""

from __future__ import annotations

from typing import Any

import pytest
from videos_support import Drive, make_call

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.rest import RestApi, RestCall
from kong_ai_proxy.formats.steps import Streamed, Whole
from kong_ai_proxy.formats.videos.ids import Job, encode
from kong_ai_proxy.providers import provider

HERE = "https://mine.openai.azure.com/openai/v1/video/generations"
ID = encode("sora", Job("task_01"))


def job(status: str = "queued", **more: Any) -> dict[str, Any]:
    return {
        "object": "video.generation.job",
        "id": "task_01",
        "status": status,
        "created_at": 1_748_469_875,
        "finished_at": None,
        "expires_at": None,
        "generations": [],
        "prompt": "a cat",
        "model": "sora-here",
        "n_variants": 1,
        "n_seconds": 5,
        "height": 480,
        "width": 854,
        "failure_reason": None,
        **more,
    }


def test_create() -> None:
    drive = Drive("azure", {"prompt": "a cat", "seconds": "5", "size": "854x480", "n_variants": 2})
    assert drive.url == f"{HERE}/jobs?api-version=preview"
    assert drive.step.body == {
        "model": "sora-here", "prompt": "a cat", "width": 854, "height": 480, "n_seconds": 5, "n_variants": 2,
    }  # fmt: skip
    made = drive.whole(job())
    assert (made["id"], made["status"], made["seconds"], made["size"]) == (ID, "queued", "5", "854x480")
    assert (made["created_at"], made["model"]) == (1_748_469_875, "sora-here")
    assert drive.call.usage.seconds == 10


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("preprocessing", "in_progress"),
        ("running", "in_progress"),
        ("processing", "in_progress"),
        ("something new", "in_progress"),
        ("succeeded", "completed"),
    ],
)
def test_states(status: str, expected: str) -> None:
    drive = Drive("azure", rest=f"/{ID}")
    assert drive.url == f"{HERE}/jobs/task_01?api-version=preview"
    told = drive.whole(job(status, finished_at=1_748_469_999, expires_at=1_748_500_000))
    assert told["status"] == expected
    assert told["completed_at"] == (1_748_469_999 if expected == "completed" else None)
    assert told["expires_at"] == 1_748_500_000


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"failure_reason": "input_moderation"}, ("input_moderation", "input_moderation")),
        ({"error": {"message": "It broke."}}, ("generation_failed", "It broke.")),
        ({}, ("failed", "failed")),
    ],
)
def test_failures(more: dict[str, Any], error: tuple[str, str]) -> None:
    told = Drive("azure", rest=f"/{ID}").whole(job("failed", **more))
    assert (told["error"]["code"], told["error"]["message"]) == error


def test_content() -> None:
    drive = Drive("azure", rest=f"/{ID}/content").answer(job("succeeded", generations=[{"id": "gen_1"}, {}]))
    assert drive.url == f"{HERE}/gen_1/content/video?api-version=preview"
    assert drive.step.streams
    drive.answer(b"")
    assert isinstance(drive.result, Streamed)


@pytest.mark.parametrize("made", [[], None, [{}], [{"id": "../x"}], "?"])
def test_content_that_is_not_named(made: Any) -> None:
    with pytest.raises(ApiError) as caught:
        Drive("azure", rest=f"/{ID}/content").answer(job("succeeded", generations=made))
    assert caught.value.status == 502


def test_delete_and_list() -> None:
    drive = Drive("azure", rest=f"/{ID}", method="DELETE")
    assert drive.step.method == "DELETE"
    assert drive.answer(b"", 204).result == Whole({"id": ID, "object": "video.deleted", "deleted": True})
    listing = Drive("azure", query=f"limit=3&after={ID}")
    assert listing.url == f"{HERE}/jobs?limit=3&after=task_01&api-version=preview"
    listed = listing.whole({"data": [job(), "?"], "has_more": True})
    assert [one["id"] for one in listed["data"]] == [ID] and listed["has_more"]
    with pytest.raises(ApiError) as caught:
        Drive("azure", query="order=asc")
    assert caught.value.param == "order"


@pytest.mark.parametrize("name", [None, "", "a/b", 7])
def test_a_job_without_a_name(name: Any) -> None:
    with pytest.raises(ApiError) as caught:
        Drive("azure", {"prompt": "x"}).answer(job(id=name))
    assert caught.value.status == 502


def test_no_image_to_begin_with() -> None:
    with pytest.raises(ApiError) as caught:
        Drive("azure", {"prompt": "x", "input_reference": "data:image/png;base64,iVBORw=="})
    assert caught.value.param == "input_reference"


@pytest.mark.parametrize(
    ("model", "options", "rest", "translated"),
    [
        ("sora", {}, "", True),
        ("sora-2", {}, "", False),
        ("sora-2", {"upstream_path": "/openai/v1/video/generations/jobs"}, "", True),
        ("x", {"upstream_url": "https://a.test/openai/v1/video/generations/jobs?api-version=v1"}, "", True),
        ("sora", {"upstream_path": "/openai/v1/videos"}, "", False),
        ("", {}, f"/{ID}/content", True),
        ("", {}, "/video_68e1", False),
    ],
)
def test_which_api(model: str, options: dict[str, Any], rest: str, translated: bool) -> None:
    call = make_call("azure", model, **options)
    call.rest = RestCall("video.generations", RestApi(), "videos", rest)
    assert (provider("azure").steps(call) is not None) is translated


def test_a_configured_version_of_the_api_stays() -> None:
    drive = Drive("azure", {"prompt": "x"}, azure_api_version="v1")
    assert drive.url == f"{HERE}/jobs?api-version=v1"
