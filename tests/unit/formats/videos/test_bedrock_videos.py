"""Nova Reel and Luma Ray: asynchronous invocations, and their output in S3."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from videos_support import Drive

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.formats.steps import FilePart, Streamed, Whole

ARN = "arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdefabcde1"
RAY = "luma.ray-v2:0"
PNG = FilePart("input_reference", b"\x89PNG", "a.png", "image/png")
WEBP = FilePart("input_reference", b"RIFF", "a.webp", "image/webp")


def invocation(
    arn: str = ARN, status: str = "InProgress", place: str = "s3://my-videos/out", **more: Any
) -> Any:
    return {
        "invocationArn": arn,
        "modelArn": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-reel-v1:1",
        "status": status,
        "submitTime": "2025-06-01T10:00:00.500Z",
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"{place}/{arn.rpartition('/')[2]}"}},
        **more,
    }


def started(model: str | None = None, **body: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Bedrock is asked, and what the client gets."""
    drive = Drive("bedrock", {"prompt": "a cat", **body}, model=model)
    assert isinstance(drive.step.body, dict)
    shape = (
        botocore.session.get_session()
        .get_service_model("bedrock-runtime")
        .operation_model("StartAsyncInvoke")
        .input_shape
    )
    report = ParamValidator().validate(drive.step.body, shape)
    assert not report.has_errors(), report.generate_report()
    return drive.step.body, drive.whole({"invocationArn": ARN})


def test_one_shot() -> None:
    sent, made = started(seed=3)
    assert sent["modelInput"] == {
        "taskType": "TEXT_VIDEO",
        "textToVideoParams": {"text": "a cat"},
        "videoGenerationConfig": {"durationSeconds": 6, "fps": 24, "dimension": "1280x720", "seed": 3},
    }
    assert sent["outputDataConfig"] == {"s3OutputDataConfig": {"s3Uri": "s3://my-videos/out/"}}
    assert (made["status"], made["seconds"], made["size"]) == ("in_progress", "6", "1280x720")


def test_several_shots() -> None:
    sent, made = started(seconds="12")
    assert sent["modelInput"]["taskType"] == "MULTI_SHOT_AUTOMATED"
    assert sent["modelInput"]["multiShotAutomatedParams"] == {"text": "a cat"}
    assert made["seconds"] == "12"


@pytest.mark.parametrize(
    ("model", "body", "param"),
    [
        ("amazon.nova-reel-v1:0", {"seconds": 12}, "seconds"),
        ("amazon.nova-reel-v1:1", {"seconds": 8}, "seconds"),
        ("amazon.nova-reel-v1:1", {"seconds": 126}, "seconds"),
        ("amazon.nova-reel-v1:1", {"size": "720x1280"}, "size"),
        (RAY, {"seconds": 8}, "seconds"),
        (RAY, {"size": "1280x700"}, "size"),
        (RAY, {"size": "1920x1080"}, "size"),
        ("amazon.titan-image-generator-v2:0", {}, "model"),
    ],
)
def test_what_models_do_not_make(model: str, body: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        Drive("bedrock", {"prompt": "x", **body}, model=model)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    ("model", "seconds", "file"),
    [(None, 6, WEBP), (None, 12, PNG), (RAY, 5, WEBP)],
)
def test_images_that_models_do_not_take(model: str | None, seconds: int, file: FilePart) -> None:
    with pytest.raises(ApiError) as caught:
        Drive("bedrock", {"prompt": "x", "seconds": seconds}, files=[file], model=model)
    assert caught.value.param == "input_reference"


def test_an_image_to_begin_with() -> None:
    image = "data:image/png;base64,iVBORw=="
    reel = started(input_reference=image)[0]["modelInput"]["textToVideoParams"]
    assert reel["images"] == [{"format": "png", "source": {"bytes": "iVBORw=="}}]
    ray = started(RAY, input_reference=image)[0]["modelInput"]["keyframes"]
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}
    assert ray == {"frame0": {"type": "image", "source": source}}


@pytest.mark.parametrize(
    ("size", "ratio", "resolution"),
    [
        ("1280x720", "16:9", "720p"),
        ("540x960", "9:16", "540p"),
        ("720x720", "1:1", "720p"),
        ("960x720", "4:3", "720p"),
        ("1680x720", "21:9", "720p"),
    ],
)
def test_ray_sizes(size: str, ratio: str, resolution: str) -> None:
    sent, made = started(RAY, size=size, seconds=9, loop=True)
    assert sent["modelInput"] == {
        "prompt": "a cat", "duration": "9s", "loop": True, "aspect_ratio": ratio, "resolution": resolution,
    }  # fmt: skip
    assert made["size"] == size


@pytest.mark.parametrize("uri", [None, "https://bucket", "s3://", "s3://A_b/x"])
def test_the_place_must_be_configured(uri: str | None) -> None:
    with pytest.raises(ApiError, match="video_output_s3_uri") as caught:
        Drive("bedrock", {"prompt": "x"}, bedrock={"aws_region": "us-east-1", "video_output_s3_uri": uri})
    assert (caught.value.status, caught.value.code) == (500, "invalid_configuration")


@pytest.mark.parametrize("arn", [None, "", "arn:aws:iam::123456789012:role/x", ARN + "/.."])
def test_an_answer_without_an_invocation(arn: Any) -> None:
    with pytest.raises(ApiError) as caught:
        Drive("bedrock", {"prompt": "x"}).answer({"invocationArn": arn})
    assert caught.value.status == 502


def test_retrieve_knows_what_was_asked_for() -> None:
    sent, made = started(RAY, seconds=9, size="720x1280")
    drive = Drive("bedrock", rest=f"/{made['id']}")
    encoded = ARN.replace(":", "%3A").replace("/", "%2F")
    assert drive.url == f"https://bedrock-runtime.us-east-1.amazonaws.com/async-invoke/{encoded}"
    done = invocation(
        status="Completed", clientRequestToken=sent["clientRequestToken"], endTime="2025-06-01T10:02:00Z"
    )
    told = drive.whole(done)
    assert (told["id"], told["seconds"], told["size"]) == (made["id"], "9", "720x1280")
    assert (told["status"], told["progress"]) == ("completed", 100)
    assert (told["created_at"], told["completed_at"]) == (1_748_772_000, 1_748_772_120)
    assert told["model"] == "amazon.nova-reel-v1:1"


def test_failed() -> None:
    made = started()[1]
    told = Drive("bedrock", rest=f"/{made['id']}").whole(
        invocation(status="Failed", failureMessage="Blocked")
    )
    assert (told["status"], told["error"]["message"]) == ("failed", "Blocked")


@pytest.mark.parametrize("place", ["s3://my-videos/out/", "s3://my-videos", "s3://my.videos/a b/ü"])
def test_content(place: str) -> None:
    made = started()[1]
    options = {"aws_region": "us-east-1", "video_output_s3_uri": place}
    drive = Drive("bedrock", rest=f"/{made['id']}/content", bedrock=options)
    drive.answer(invocation(status="Completed", place=place.rstrip("/")))
    assert (
        drive.url
        == {
            "s3://my-videos/out/": "https://my-videos.s3.us-east-1.amazonaws.com/out/abcdefabcde1/output.mp4",
            "s3://my-videos": "https://my-videos.s3.us-east-1.amazonaws.com/abcdefabcde1/output.mp4",
            "s3://my.videos/a b/ü": "https://s3.us-east-1.amazonaws.com/my.videos/a%20b/%C3%BC/abcdefabcde1/output.mp4",
        }[place]
    )
    assert drive.step.streams and drive.step.service == "s3"
    drive.answer(b"")
    assert isinstance(drive.result, Streamed) and drive.result.content_type == "video/mp4"


@pytest.mark.parametrize("place", ["/out", "/out/", "/out/earlier"])
def test_content_where_only_the_given_place_is_told(place: str) -> None:
    made = started()[1]
    done = invocation(status="Completed")
    done["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"] = f"s3://my-videos{place}"
    drive = Drive("bedrock", rest=f"/{made['id']}/content").answer(done)
    assert drive.step.path == f"/my-videos{place.rstrip('/')}/abcdefabcde1/output.mp4"


@pytest.mark.parametrize("action", ["", "/content"])
@pytest.mark.parametrize("place", ["s3://my-videos/outer", "s3://payroll/x", "s3://my-videos", ""])
def test_others_invocations_are_not_shown(action: str, place: str) -> None:
    made = started()[1]
    with pytest.raises(ApiError) as caught:
        Drive("bedrock", rest=f"/{made['id']}{action}").answer(invocation(status="Completed", place=place))
    assert caught.value.status == 404


def arn(number: int) -> str:
    return f"{ARN[:-4]}{number:04d}"


def test_lists() -> None:
    drive = Drive("bedrock", query="limit=2")
    assert drive.step.path == "/async-invoke?sortBy=SubmissionTime&sortOrder=Descending&maxResults=3"
    foreign = invocation(arn(1), place="s3://payroll")
    drive.answer({"asyncInvokeSummaries": [invocation(arn(2)), foreign, "?"], "nextToken": "t/1"})
    assert drive.step.path.endswith("&nextToken=t%2F1")
    listed = drive.whole({"asyncInvokeSummaries": [invocation(arn(3)), invocation(arn(4))]})
    assert len(listed["data"]) == 2 and listed["has_more"]
    assert listed["last_id"] == listed["data"][1]["id"]


def test_the_next_page() -> None:
    made = started()[1]
    drive = Drive("bedrock", query=f"after={made['id']}&order=asc")
    drive.answer(invocation())
    assert "submitTimeAfter=2025-06-01T10%3A00%3A00.500Z" in drive.step.path
    listed = drive.whole({"asyncInvokeSummaries": []})
    assert listed == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_a_page_asks_no_longer_than_it_may() -> None:
    drive = Drive("bedrock")
    for _ in range(5):
        drive.answer({"asyncInvokeSummaries": [invocation(place="s3://x")], "nextToken": "more"})
    assert isinstance(drive.result, Whole) and isinstance(drive.result.body, dict)
    assert drive.result.body["has_more"] is True and not drive.result.body["data"]


@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=x", "limit"), ("limit=-1", "limit"), ("order=up", "order"), ("after=video_1", "video_id")],
)
def test_bad_lists(query: str, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        Drive("bedrock", query=query)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("region", "host"),
    [("cn-north-1", "b-1.s3.cn-north-1.amazonaws.com.cn"), ("eu-west-1", "b-1.s3.eu-west-1.amazonaws.com")],
)
def test_s3_hosts(region: str, host: str) -> None:
    from kong_ai_proxy.formats.steps import Step

    drive = Drive("bedrock", bedrock={"aws_region": region})
    url = drive.provider.step_url(drive.call, Step("GET", "/b-1/k", service="s3"))
    assert (url.scheme, url.host, url.path) == ("https", host, "/k")


def test_endpoints_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from kong_ai_proxy.formats.steps import Step

    drive = Drive("bedrock")
    control = drive.provider.step_url(drive.call, Step("GET", "/x", service="control"))
    assert control.host == "bedrock.us-east-1.amazonaws.com"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://minio.test:9000")
    url = drive.provider.step_url(drive.call, Step("GET", "/b-1/k", service="s3"))
    assert (url.authority, url.path) == ("minio.test:9000", "/b-1/k")
