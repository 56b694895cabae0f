"""Recorded video jobs, asked for and read again through OpenAI's videos API."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from recordings_support import load_recording, recorded, recordings
from videos_support import Drive

from kong_ai_proxy.formats.videos.ids import Job, encode


@recorded("gemini/video/")
def test_veo(recording_id: str) -> None:
    recording = load_recording(recording_id)
    request, answer = recording["request"], recording["response"]["body"]
    asked: dict[str, Any] | None = None
    rest = ""
    if request["method"] == "POST":
        (instance,) = request["body"]["instances"]
        asked = {"prompt": instance["prompt"], "seconds": request["body"]["parameters"]["durationSeconds"]}
    else:
        model, _, operation = request["url"].partition("/models/")[2].partition("/operations/")
        rest = f"/{encode('veo', Job(f'{model}/{operation}', '4', '1280x720', model, 1))}"
    drive = Drive("gemini", asked, rest, model=recording["model"])
    assert (drive.step.method, drive.url) == (request["method"], request["url"])
    assert drive.step.body == request["body"]
    told = drive.whole(answer, recording["response"]["status"], **recording["response"]["headers"])
    assert told["status"] == ("queued" if asked else "in_progress")
    again = Drive("gemini", rest=f"/{told['id']}", model=recording["model"])
    assert urlsplit(again.url).path == f"/v1beta/{answer['name']}"


@recorded("xai/video/")
def test_xai(recording_id: str) -> None:
    recording = load_recording(recording_id)
    request, answer = recording["request"], recording["response"]["body"]
    name = request["url"].rpartition("/")[2]
    made = encode("xai", Job(name, "", "", "grok-imagine-video", 1))
    drive = Drive("xai", rest=f"/{made}")
    assert (drive.step.method, drive.url) == (request["method"], request["url"])
    told = drive.whole(answer, recording["response"]["status"], **recording["response"]["headers"])
    done = answer["status"] == "done"
    assert told["status"] == ("completed" if done else "in_progress")
    assert told["progress"] == answer["progress"] and told["id"] == made
    if done:
        assert told["seconds"] == str(answer["video"]["duration"])
        content = Drive("xai", rest=f"/{made}/content").answer(answer)
        assert content.url == answer["video"]["url"] and not content.step.credentials


DASHSCOPE = {"dashscope": {"international": False}}


@recorded("dashscope/video/")
def test_dashscope_starts(recording_id: str) -> None:
    recording = load_recording(recording_id)
    request, answer = recording["request"], recording["response"]["body"]
    asked = {"prompt": request["body"]["input"]["prompt"]}
    drive = Drive("dashscope", asked, model=recording["model"], **DASHSCOPE)
    assert (drive.step.method, drive.url) == (request["method"], request["url"])
    assert drive.step.headers == {"x-dashscope-async": request["headers"]["x-dashscope-async"]}
    # Alibaba's SDK adds `extend_prompt` and `function` of its own.
    assert drive.step.body == {**request["body"], "input": asked}
    assert drive.whole(answer)["status"] == "queued"


@recorded(*(one for one in recordings("dashscope/tasks/") if "video" in one))
def test_dashscope_tasks(recording_id: str) -> None:
    recording = load_recording(recording_id)
    request, answer = recording["request"], recording["response"]["body"]
    made = encode("dashscope", Job(request["url"].rpartition("/")[2], "", "", "wanx2.1-t2v-turbo", 1))
    drive = Drive("dashscope", rest=f"/{made}", **DASHSCOPE)
    assert (drive.step.method, drive.url) == (request["method"], request["url"])
    told = drive.whole(answer)
    done = answer["output"]["task_status"] == "SUCCEEDED"
    assert told["status"] == ("completed" if done else "in_progress")
    if done:
        assert (told["seconds"], told["size"]) == ("5", "1280x720")
        looked = parsedate_to_datetime(recording["response"]["headers"]["date"]).timestamp()
        assert 0 <= looked - told["completed_at"] < 10
        content = Drive("dashscope", rest=f"/{made}/content", **DASHSCOPE).answer(answer)
        assert content.url == answer["output"]["video_url"] and not content.step.credentials
