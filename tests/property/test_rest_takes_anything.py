"""Whatever is sent to OpenAI's REST APIs is passed on or refused; whatever comes back comes through."""

from __future__ import annotations

import json
from typing import Any

from exchange_support import first_attempt, proxy
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest

ROUTES = [
    "llm/v1/responses",
    "llm/v1/assistants",
    "llm/v1/files",
    "llm/v1/batches",
    "audio/v1/audio/speech",
    "audio/v1/audio/transcriptions",
    "image/v1/images/edits",
    "video/v1/videos/generations",
    "preserve",
]
INSTANCES = {
    (route, name): proxy("openai", name, route_type=route) for route in ROUTES for name in ("gpt-4o", None)
}
WORDS = st.sampled_from(
    [
        "",
        ".",
        "..",
        "%2e%2e",
        "%2f",
        "files",
        "responses",
        "threads",
        "runs",
        "resp_1",
        "content",
        "ä",
        "a\\b",
        "%00",
    ]
)
PATHS = st.lists(WORDS, max_size=6).map(lambda words: "/" + "/".join(words))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["model", "stream", "input", "usage", "status", "type", "response", "id", "extra_body"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
TYPES = st.sampled_from(
    ["", "application/json", "multipart/form-data; boundary=B", "text/event-stream", "audio/mpeg"]
)
FORM = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-4o\r\n--B--\r\n'


@given(
    st.sampled_from(sorted(INSTANCES, key=str)),
    st.sampled_from(["GET", "POST", "DELETE", "PUT", "HEAD"]),
    PATHS,
    TYPES,
    st.binary(max_size=40) | st.just(FORM) | JSON,
    TYPES,
    st.binary(max_size=40) | JSON,
    st.integers(100, 599),
)
def test_anything(
    which: Any, method: str, path: str, sent: str, body: Any, given_type: str, answer: Any, status: int
) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = ClientRequest(method, path, "", {"content-type": sent}, data)
    try:
        _, attempt = first_attempt(INSTANCES[which], request)
        made = attempt.translation.request()
    except ApiError as error:
        assert 400 <= error.status < 500
        return
    assert made.url.host == "api.openai.com"
    assert "/../" not in made.url.path and not made.url.path.endswith("/..")
    attempt.connected("192.0.2.1", 0.001)
    raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    if made.url.path and isinstance(answer, (dict, list)) and "event-stream" in given_type:
        raw = b"data: " + raw + b"\n\n"
    headers = {"content-type": given_type, "content-length": str(len(raw))}
    attempt.status = status
    stream = attempt.translation.stream(status, headers)
    if stream is None:
        back = attempt.translation.response(status, headers, raw)
        assert 200 <= status < 300 or back.status >= 400
        if 200 <= status < 300:
            assert back.body == raw
    else:
        assert stream.feed(raw) + stream.finish() != b"" or not raw
    attempt.ended()
