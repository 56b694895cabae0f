"""Which of OpenAI's REST APIs a path and method name, with and without the route's prefix."""

from __future__ import annotations

import pytest

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.exchange.rest import recognise_rest


def recognised(operation: str, method: str, path: str) -> tuple[str, str]:
    found = recognise_rest([operation], ClientRequest(method, path, "", {}))
    return found.resource, found.rest


@pytest.mark.parametrize(
    "prefix", ["/responses", "/v1/responses", "/gw/openai/v1/responses", "//gw//responses"]
)
@pytest.mark.parametrize(
    ("method", "rest"),
    [
        ("POST", ""),
        ("GET", "/resp_1"),
        ("DELETE", "/resp_1"),
        ("POST", "/resp_1/cancel"),
        ("GET", "/resp_1/input_items"),
        ("POST", "/input_tokens"),
    ],
)
def test_responses(prefix: str, method: str, rest: str) -> None:
    assert recognised("responses", method, prefix + rest) == ("responses", rest)
    assert recognised("responses", method, rest or "/") == ("responses", rest)
    assert recognised("responses", method, f"{prefix}{rest}/") == ("responses", rest)


@pytest.mark.parametrize(
    ("operation", "method", "path", "expected"),
    [
        ("files", "GET", "/files/files", ("files", "")),
        ("files", "GET", "/files/file-1/content", ("files", "/file-1/content")),
        ("files", "GET", "/file-1/content", ("files", "/file-1/content")),
        ("files", "POST", "/any/upload", ("files", "")),
        ("batches", "POST", "/x/v1/batches/batch_1/cancel", ("batches", "/batch_1/cancel")),
        ("assistants", "POST", "/v1/assistants", ("assistants", "")),
        ("assistants", "POST", "/assistants/asst_1", ("assistants", "/asst_1")),
        ("assistants", "POST", "/v1/threads/runs", ("threads", "/runs")),
        ("assistants", "POST", "/threads/thread_1/messages", ("threads", "/thread_1/messages")),
        ("assistants", "POST", "/thread_1/runs/run_1/submit_tool_outputs",
         ("threads", "/thread_1/runs/run_1/submit_tool_outputs")),
        ("assistants", "GET", "/gw/threads/thread_1/runs/run_1/steps/step_1",
         ("threads", "/thread_1/runs/run_1/steps/step_1")),
        ("video.generations", "GET", "/v1/videos/video_1/content", ("videos", "/video_1/content")),
        ("video.generations", "POST", "/v1/videos/edits", ("videos", "/edits")),
        ("video.generations", "POST", "/extensions", ("videos", "/extensions")),
        ("video.generations", "GET", "/videos/characters/char_1", ("videos", "/characters/char_1")),
        ("image.edits", "POST", "/whatever", ("", "")),
    ],
)  # fmt: skip
def test_paths(operation: str, method: str, path: str, expected: tuple[str, str]) -> None:
    assert recognised(operation, method, path) == expected


@pytest.mark.parametrize(
    ("segment", "encoded"),
    [
        ("file%2D1", "/file-1"),
        ("a%20b", "/a%20b"),
        ("a%3Fb%23c", "/a%3Fb%23c"),
        ("ü", "/%C3%BC"),
        ("a%25", "/a%25"),
    ],
)
def test_ids_are_encoded_anew(segment: str, encoded: str) -> None:
    assert recognised("files", "GET", f"/files/{segment}") == ("files", encoded)


@pytest.mark.parametrize(
    "segment", ["..", "%2e%2e", "a%2f..", "..%5cb", "%2E", "a%0d%0ab", "a%2f..%2f..%2fv1"]
)
def test_ids_lead_nowhere_else(segment: str) -> None:
    with pytest.raises(ApiError) as caught:
        recognised("files", "GET", f"/files/{segment}/content")
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("operation", "method", "path", "status"),
    [
        ("files", "PUT", "/files", 405),
        ("files", "POST", "/files/file-1", 405),
        ("files", "GET", "/files/file-1/secrets", 404),
        ("files", "GET", "/files/file-1/content/more", 404),
        ("batches", "DELETE", "/batches/batch_1", 405),
        ("batches", "POST", "/batch_1/cancell", 404),
        ("responses", "GET", "/responses", 405),
        ("responses", "POST", "/responses/resp_1", 405),
        ("audio.speech", "GET", "/audio/speech", 405),
    ],
)
def test_refusals(operation: str, method: str, path: str, status: int) -> None:
    with pytest.raises(ApiError) as caught:
        recognised(operation, method, path)
    assert caught.value.status == status
    if status == 405:
        assert "allow" in caught.value.headers


def test_several_operations_on_one_route() -> None:
    wanted = ["files", "batches", "audio.speech"]

    def operation(method: str, path: str) -> str:
        return recognise_rest(wanted, ClientRequest(method, path, "", {})).operation

    assert operation("GET", "/v1/files/file-1") == "files"
    assert operation("POST", "/v1/batches") == "batches"
    assert operation("POST", "/v1/audio/speech") == "audio.speech"
    with pytest.raises(ApiError) as caught:
        operation("POST", "/anything")
    assert caught.value.status == 404
