"""A video within a JSON answer, read in pieces of any size."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.json import Json, dumps
from kong_ai_proxy.formats.videos.inline import InlineVideo

VIDEO = bytes(range(256)) * 3 + b"end"


def operation(video: bytes = VIDEO, more: bytes = b"second") -> bytes:
    videos = [
        {"bytesBase64Encoded": base64.b64encode(one).decode(), "mimeType": "v"} for one in (video, more)
    ]
    return json.dumps({"name": "n", "done": True, "response": {"videos": videos}, "z": "last"}).encode()


def read(data: bytes, step: int, *, content: bool) -> bytes:
    inline = InlineVideo(dumps, content=content)
    out = b"".join(inline.feed(data[at : at + step]) for at in range(0, len(data), step))
    return out + inline.finish()


@given(st.binary(max_size=700), st.integers(1, 90))
def test_the_first_video_comes_out(video: bytes, step: int) -> None:
    assert read(operation(video), step, content=True) == video


@pytest.mark.parametrize("step", [1, 3, 64, 5000])
def test_the_rest_without_videos(step: int) -> None:
    rest = json.loads(read(operation(), step, content=False))
    assert [one["bytesBase64Encoded"] for one in rest["response"]["videos"]] == ["", ""]
    assert rest["z"] == "last"


@pytest.mark.parametrize("step", [1, 2, 5, 7, 5000])
def test_escaped_characters_and_space(step: int) -> None:
    text = base64.b64encode(b"\xff\xef\xbe?>~").decode()
    escaped = text.replace("/", "\\/").replace("+", "\\u002b").replace("=", "\\u003d")
    assert escaped != text
    data = b'{"bytesBase64Encoded" : "%b"}' % escaped.encode()
    assert read(data, step, content=True) == b"\xff\xef\xbe?>~"


def test_whoever_only_says_the_word_has_no_video() -> None:
    data = json.dumps({"prompt": '"bytesBase64Encoded": "QUJD"', "done": False}).encode()
    assert json.loads(read(data, 3, content=True)) == json.loads(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"<html>",
        operation()[:500],
        b'{"bytesBase64Encoded": "Q"}',
        b'{"bytesBase64Encoded": "QU*D"}',
        b'{"a": "' + b"x" * 1024 * 1024 + b'"}',
    ],
)
@pytest.mark.parametrize("step", [100, 10**7])
def test_what_is_no_such_answer(data: bytes, step: int) -> None:
    with pytest.raises(ApiError) as caught:
        read(data, step, content=True)
    assert caught.value.status == 502


def test_the_end_is_told_once() -> None:
    seen: list[Json] = []

    def told(body: Json) -> bytes:
        seen.append(body)
        return b"x"

    inline = InlineVideo(told, content=False)
    inline.feed(b'{"done": true}')
    assert inline.finish() == b"x"
    assert inline.finish() == b""
    assert seen == [{"done": True}]
