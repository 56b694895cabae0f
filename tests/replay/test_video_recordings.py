"""Recorded video jobs, asked for and read again through OpenAI's videos API."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from recordings_support import load_recording, recorded
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
