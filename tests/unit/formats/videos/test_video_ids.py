"""Ids that hold what must be known again: reversible, strict, and no way out of a path."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from videos_support import Drive

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.formats.videos.ids import Job, decode, encode

NAME = re.compile(r"[a-z0-9/]{1,40}")


def made(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    return "video_" + base64.urlsafe_b64encode(data).decode().rstrip("=")


@given(
    st.from_regex(NAME, fullmatch=True),
    st.sampled_from(["", "8", "120"]),
    st.sampled_from(["", "1280x720"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
    st.integers(0, 10**12 - 1),
)
def test_there_and_back(name: str, seconds: str, size: str, model: str, created: int) -> None:
    job = Job(name, seconds, size, model, created)
    found = encode("veo", job)
    assert re.fullmatch(r"video_[A-Za-z0-9_-]+", found)
    assert decode(found, "veo", NAME) == job


@pytest.mark.parametrize(
    "given",
    [
        "",
        "video_",
        "video_1",
        "video_!!!!",
        "veo" + encode("veo", Job("a"))[6:],
        made("veo"),
        made("vertex\na"),
        made("veo\n../../v1/files"),
        made("veo\nA"),
        made("veo\na\nb"),
        made("veo\na\n8\n1280x720\nm\n1\n2"),
        made("veo\na\n8\nbig"),
        made("veo\na\n8\n1x1\nm\r\nX: y"),
        made("veo\na\n8\n1x1\nm\n-1"),
        made("veo\na\n\n\n\n007"),
        made("veo\na\n"),
        made(b"veo\n\xff"),
        encode("veo", Job("a")) + "=",
        encode("veo", Job("a")) + "A" * 3000,
        encode("veo", Job("a")) + "%0a",
    ],
)
def test_strict(given: str) -> None:
    with pytest.raises(ApiError) as caught:
        decode(given, "veo", NAME)
    assert caught.value.status == 404
    assert caught.value.param == "video_id"


@given(st.text(max_size=60))
def test_anything(given: str) -> None:
    for candidate in (given, f"video_{given}", made("veo\n" + given)):
        try:
            job = decode(candidate, "veo", NAME)
        except ApiError as error:
            assert error.status == 404
        else:
            assert encode("veo", job) in candidate


OPERATIONS = {
    "gemini": ("veo", "m/op1"),
    "vertex": ("vertex", "m/op1"),
    "bedrock": ("bedrock", "arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdefabcdef"),
    "huggingface": ("huggingface", "fal-ai:fal-ai/m/requests/1-2"),
    "azure": ("sora", "task_01"),
    "xai": ("xai", "c84748c1-5ec7"),
    "dashscope": ("dashscope", "31688cce-fe99"),
}


@pytest.mark.parametrize("kind", OPERATIONS)
def test_each_provider_knows_its_own(kind: str) -> None:
    form, name = OPERATIONS[kind]
    drive = Drive(kind, rest=f"/{encode(form, Job(name))}")
    assert drive.url.startswith("https://")


@pytest.mark.parametrize("kind", OPERATIONS)
@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../x",
        "m/..",
        "m/../files",
        "./x",
        "m/op?key=1",
        "m/op#x",
        "m/op 1",
        "m//op",
        "fal-ai:../../v1/chat/completions",
        "fal-ai:m/./requests",
        "https://evil.example/x",
        "arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdefabcdef/../x",
        "arn:aws:bedrock:us-east-1:123456789012:model/abcdefabcdef",
        "m/öp",
        "m/op\x00",
    ],
)
def test_no_provider_takes_a_name_that_leads_elsewhere(kind: str, name: str) -> None:
    with pytest.raises(ApiError) as caught:
        Drive(kind, rest=f"/{encode(OPERATIONS[kind][0], Job(name))}")
    assert caught.value.status == 404


def test_a_provider_behind_the_router_that_is_unknown() -> None:
    with pytest.raises(ApiError) as caught:
        Drive("huggingface", rest=f"/{encode('huggingface', Job('novita:x'))}")
    assert caught.value.status == 404
