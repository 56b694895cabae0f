"""Providers that make videos in their own ways: Veo, Bedrock with S3, Hugging Face's router, Sora's jobs,
xAI, DashScope.

Forms: see `formats/videos`; the recordings gemini/video. A job is in progress when it is first asked for, and
done afterwards; a prompt with "fail" in it makes one that fails, with "slow" one that never ends. All videos
are `content()`.
"""

from __future__ import annotations

import base64
import itertools
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ...core.json import Json, dumps
from ..answers import Answer
from ..received import Received
from . import bedrock, gemini
from .openai import CREATED, error

_VEO: Final = re.compile(
    r"^(?P<place>.*)/models/(?P<model>[^/:]+)"
    r"(?::(?P<verb>predictLongRunning|fetchPredictOperation)|/operations/(?P<operation>[^/]+))$"
)
_VEO_FILE: Final = re.compile(r"^(?P<moved>/download)?/v1beta/files/(?P<file>[^/:]+):download$")
_INVOKE: Final = re.compile(r"^/async-invoke(?:/(?P<arn>.+))?$")
_S3: Final = re.compile(r"^/(?P<bucket>mock-videos)/(?P<key>.+)$")
_HUB: Final = re.compile(r"^/api/models/(?P<model>.+)$")
_FAL: Final = re.compile(r"/fal-ai/(?P<model>mock/[\w-]+)(?:/requests/(?P<job>[\w-]+)(?P<status>/status)?)?$")
_TOGETHER: Final = re.compile(r"/together/v2/videos(?:/(?P<job>[\w-]+))?$")
_WAVESPEED: Final = re.compile(
    r"/wavespeed/api/v3/(?:predictions/(?P<job>[\w-]+)/result|(?P<model>mock/[\w-]+))$"
)
_CDN: Final = re.compile(r"^/cdn/(?P<job>[\w-]+)\.mp4$")
_SORA: Final = re.compile(
    r"^/openai/v1/video/generations/(?:jobs(?:/(?P<job>[\w-]+))?|(?P<made>[\w-]+)/content/video)$"
)
_XAI: Final = re.compile(r"^/v1/videos/(?:generations|(?P<job>job\d{9}))$")
_WAN: Final = re.compile(r"^/api/v1/services/aigc/video-generation/video-synthesis$")
_WAN_TASK: Final = re.compile(r"^/api/v1/tasks/job\d{9}$")
_LENGTH: Final = 300_000
_ARN: Final = "arn:aws:bedrock:us-east-1:123456789012:async-invoke/"


def content() -> bytes:
    """What every video consists of."""
    return bytes(itertools.islice(itertools.cycle(b"\x00\x00\x00 ftypisom"), _LENGTH))


@dataclass(slots=True)
class _Job:
    id: str
    body: Json
    prompt: str
    asked: int = 0

    def state(self) -> str:
        """Of one more look at it: running, done or failed."""
        self.asked += 1
        if "slow" in self.prompt or self.asked == 1:
            return "running"
        return "failed" if "fail" in self.prompt else "done"


_jobs: dict[str, _Job] = {}
_numbers = itertools.count(1)
_lock = threading.Lock()


def _new(body: Json, prompt: str) -> _Job:
    with _lock:
        job = _Job(f"job{next(_numbers):09d}", body, prompt)
        _jobs[job.id] = job
        return job


def _video(received: Received) -> Answer:
    return Answer(200, {"content-type": "video/mp4"}, steps=[content()])


def _veo(received: Received) -> Answer:
    match = _VEO.match(received.path)
    assert match is not None
    vertex = "/publishers/google" in match["place"]
    if not (received.headers.get("x-goog-api-key") or received.headers.get("authorization")):
        return gemini.error(403, "Method doesn't allow unregistered callers.")
    body = received.json
    if match["verb"] == "predictLongRunning":
        parameters = body.get("parameters") or {}
        if parameters.get("durationSeconds", 8) not in (4, 5, 6, 7, 8):
            return gemini.error(400, "Unsupported output video duration")
        job = _new(body, str(body["instances"][0].get("prompt")))
        place = match["place"].removeprefix("/v1/").removeprefix("/v1beta/").strip("/")
        name = f"models/{match['model']}/operations/{job.id}"
        return Answer.json({"name": f"{place}/{name}" if vertex else name})
    operation = body.get("operationName", "") if vertex else match["operation"]
    found = _jobs.get(str(operation).rpartition("/")[2])
    if found is None:
        return gemini.error(404, "Operation not found")
    done: Json = {"name": operation, "done": True}
    match found.state():
        case "running":
            return Answer.json({"name": operation})
        case "failed":
            return Answer.json({**done, "error": {"code": 3, "message": "The prompt was not understood."}})
    if vertex:
        made = {"bytesBase64Encoded": base64.b64encode(content()).decode(), "mimeType": "video/mp4"}
        return Answer.stream(
            [dumps({**done, "response": {"raiMediaFilteredCount": 0, "videos": [made]}})], "application/json"
        )
    host = received.headers.get("host", "")
    sample = {"video": {"uri": f"https://{host}/v1beta/files/{found.id}:download?alt=media"}}
    return Answer.json({**done, "response": {"generateVideoResponse": {"generatedSamples": [sample]}}})


def _veo_file(received: Received) -> Answer:
    """Redirects within the service, as Google's does."""
    if not received.headers.get("x-goog-api-key"):
        return gemini.error(403, "Method doesn't allow unregistered callers.")
    match = _VEO_FILE.match(received.path)
    assert match is not None
    if match["moved"]:
        return _video(received)
    return Answer(302, {"location": f"http://{received.headers['host']}/download{received.raw_path}"})


def _invoke(received: Received) -> Answer:
    if "/us-east-1/bedrock/" not in received.headers.get("authorization", ""):
        return bedrock.error(403, "Missing Authentication Token")
    match = _INVOKE.match(received.path)
    assert match is not None
    if received.method == "POST":
        body = received.json
        model_input = body["modelInput"]
        params = model_input.get("textToVideoParams") or model_input.get("multiShotAutomatedParams") or {}
        job = _new(body, str(model_input.get("prompt") or params.get("text")))
        return Answer.json({"invocationArn": _ARN + job.id})
    if match["arn"]:
        found = _jobs.get(match["arn"].removeprefix(_ARN))
        return bedrock.error(400, "no such invocation") if found is None else Answer.json(_invocation(found))
    ours = [_invocation(job) for job in reversed(list(_jobs.values())) if "outputDataConfig" in job.body]
    return Answer.json({"asyncInvokeSummaries": ours})


def _invocation(job: _Job) -> Json:
    place = job.body["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]
    status = {"running": "InProgress", "done": "Completed", "failed": "Failed"}[job.state()]
    told: Json = {
        "invocationArn": _ARN + job.id,
        "modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{job.body['modelId']}",
        "clientRequestToken": job.body["clientRequestToken"],
        "status": status,
        "submitTime": "2025-06-01T10:00:00Z",
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"{place}/{job.id}"}},
    }
    if status == "Completed":
        told["endTime"] = "2025-06-01T10:02:00Z"
    elif status == "Failed":
        told["failureMessage"] = "The prompt was not understood."
    return told


def _s3(received: Received) -> Answer:
    signed = "/us-east-1/s3/aws4_request" in received.headers.get("authorization", "")
    if not signed or "x-amz-content-sha256" not in received.headers:
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        return Answer(403, {"content-type": "application/xml"}, body)
    if not received.path.endswith("/output.mp4"):
        body = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
        return Answer(404, {"content-type": "application/xml"}, body)
    return _video(received)


def _hub(received: Received) -> Answer:
    """The model's name tells which providers serve it: "mock/together-fal"."""
    match = _HUB.match(received.path)
    assert match is not None
    task = "image-to-video" if "i2v" in match["model"] else "text-to-video"
    names = {"fal": "fal-ai", "together": "together", "wavespeed": "wavespeed", "replicate": "replicate"}
    mapping = {
        names[word]: {"status": "live", "providerId": f"mock/{word}", "task": task}
        for word in match["model"].rpartition("/")[2].split("-")
        if word in names
    }
    return Answer.json({"id": match["model"], "inferenceProviderMapping": mapping})


def _fal(received: Received) -> Answer:
    match = _FAL.search(received.path)
    assert match is not None
    if received.query != "_subdomain=queue" or not received.headers.get("authorization"):
        return Answer.json({"detail": "Not Found"}, 404)
    if match["job"] is None:
        job = _new(received.json, str(received.json.get("prompt")))
        address = f"https://queue.fal.run/{match['model']}/requests/{job.id}"
        return Answer.json({"status": "IN_QUEUE", "request_id": job.id, "response_url": address})
    found = _jobs[match["job"]]
    if match["status"]:
        return Answer.json({"status": "IN_PROGRESS" if found.state() == "running" else "COMPLETED"})
    if "fail" in found.prompt:
        return Answer.json({"detail": [{"msg": "The prompt was not understood."}]}, 422)
    return Answer.json({"video": {"url": f"http://{received.headers['host']}/cdn/{found.id}.mp4"}})


def _together(received: Received) -> Answer:
    match = _TOGETHER.search(received.path)
    assert match is not None
    if match["job"] is None:
        job = _new(received.json, str(received.json.get("prompt")))
        return Answer.json({"id": job.id, "object": "video", "status": "queued"})
    found = _jobs[match["job"]]
    told: Json = {"id": found.id, "object": "video"}
    match found.state():
        case "running":
            return Answer.json({**told, "status": "in_progress"})
        case "failed":
            reason = {"code": "bad_prompt", "message": "The prompt was not understood."}
            return Answer.json({**told, "status": "failed", "error": reason})
    url = f"http://{received.headers['host']}/cdn/{found.id}.mp4"
    return Answer.json({**told, "status": "completed", "outputs": {"video_url": url}})


def _wavespeed(received: Received) -> Answer:
    match = _WAVESPEED.search(received.path)
    assert match is not None
    host = received.headers["host"]
    if match["job"] is None:
        job = _new(received.json, str(received.json.get("prompt")))
        address = f"https://api.wavespeed.ai/api/v3/predictions/{job.id}/result"
        return Answer.json({"data": {"id": job.id, "status": "created", "urls": {"get": address}}})
    found = _jobs[match["job"]]
    match found.state():
        case "running":
            return Answer.json({"data": {"status": "processing"}})
        case "failed":
            return Answer.json({"data": {"status": "failed", "error": "The prompt was not understood."}})
    return Answer.json({"data": {"status": "completed", "outputs": [f"http://{host}/cdn/{found.id}.mp4"]}})


def _cdn(received: Received) -> Answer:
    """Open to who knows the address; whoever brings a key here has given it away."""
    if "authorization" in received.headers:
        return Answer.json({"detail": "a key has no place here"}, 400)
    return _video(received)


def _xai(received: Received) -> Answer:
    if not received.headers.get("authorization"):
        return Answer.json({"error": "no key"}, 401)
    match = _XAI.match(received.path)
    assert match is not None
    if received.method == "POST":
        return Answer.json({"request_id": _new(received.json, str(received.json.get("prompt"))).id})
    found = _jobs[match["job"]]
    match found.state():
        case "running":
            return Answer.json({"status": "pending", "progress": 42}, 202)
        case "failed":
            reason = {"code": "invalid_argument", "message": "The prompt was not understood."}
            return Answer.json({"status": "failed", "error": reason})
    video = {"url": f"http://{received.headers['host']}/cdn/{found.id}.mp4", "duration": 6}
    return Answer.json({"status": "done", "video": video, "model": found.body["model"], "progress": 100})


def _wan(received: Received) -> Answer:
    if received.headers.get("x-dashscope-async") != "enable":
        message = "current user api does not support synchronous calls."
        return Answer.json({"code": "AccessDenied", "message": message}, 403)
    job = _new(received.json, str(received.json["input"].get("prompt")))
    return Answer.json({"request_id": "r", "output": {"task_id": job.id, "task_status": "PENDING"}})


def _wan_task(received: Received) -> Answer:
    task = received.path.rpartition("/")[2]
    found = _jobs[task]
    output: Json = {"task_id": task, "submit_time": "2026-01-07 20:43:37.514"}
    match found.state():
        case "running":
            return Answer.json({"output": {**output, "task_status": "RUNNING"}})
        case "failed":
            failed = {"task_status": "FAILED", "code": "InvalidParameter"}
            return Answer.json({"output": {**output, **failed, "message": "The prompt was not understood."}})
    output["task_status"], output["end_time"] = "SUCCEEDED", "2026-01-07 20:44:08.924"
    output["video_url"] = f"http://{received.headers['host']}/cdn/{task}.mp4"
    usage = {"video_duration": 5, "video_ratio": "1280*720", "video_count": 1}
    return Answer.json({"output": output, "usage": usage})


def _sora(received: Received) -> Answer:
    if not received.headers.get("api-key") or "api-version=preview" not in received.query:
        return error(404, "Resource not found")
    match = _SORA.match(received.path)
    assert match is not None
    if match["made"]:
        return _video(received)
    if received.method == "POST":
        job = _new({**received.json, "sora": True}, str(received.json.get("prompt")))
        return Answer.json(_sora_job(job, "queued"), 201)
    if match["job"] is None:
        ours = [_sora_job(job, "succeeded") for job in reversed(list(_jobs.values())) if "sora" in job.body]
        return Answer.json({"object": "list", "data": ours, "has_more": False})
    if received.method == "DELETE":
        _jobs.pop(match["job"], None)
        return Answer(204)
    found = _jobs.get(match["job"])
    if found is None:
        return error(404, "no such job")
    return Answer.json(
        _sora_job(found, {"running": "running", "done": "succeeded"}.get(found.state(), "failed"))
    )


def _sora_job(job: _Job, status: str) -> Json:
    body = job.body
    made = [{"object": "video.generation", "id": f"gen_{job.id}", "job_id": job.id}]
    return {
        "object": "video.generation.job",
        "id": job.id,
        "status": status,
        "created_at": CREATED,
        "finished_at": CREATED + 60 if status == "succeeded" else None,
        "expires_at": CREATED + 86400 if status == "succeeded" else None,
        "generations": made if status == "succeeded" else [],
        "prompt": job.prompt,
        "model": body.get("model"),
        "n_variants": body.get("n_variants", 1),
        "n_seconds": body.get("n_seconds", 5),
        "height": body.get("height"),
        "width": body.get("width"),
        "failure_reason": "input_moderation" if status == "failed" else None,
    }


ROUTES: Final[list[tuple[re.Pattern[str], Callable[[Received], Answer]]]] = [
    (_VEO, _veo),
    (_VEO_FILE, _veo_file),
    (_INVOKE, _invoke),
    (_S3, _s3),
    (_HUB, _hub),
    (_FAL, _fal),
    (_TOGETHER, _together),
    (_WAVESPEED, _wavespeed),
    (_CDN, _cdn),
    (_SORA, _sora),
    (_XAI, _xai),
    (_WAN, _wan),
    (_WAN_TASK, _wan_task),
]
"""By path, as `providers.respond` has them."""
