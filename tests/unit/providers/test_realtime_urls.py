"""Where each provider's sessions are opened."""

from __future__ import annotations

from typing import Any

import pytest

from kong_ai_proxy.config.models import Model, Options, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.providers.realtime import realtime_url

LIVE = "/ws/google.ai.generativelanguage.{}.GenerativeService.{}"
GOOGLE = "wss://generativelanguage.googleapis.com"


def url(provider: Any, query: str = "", path: str = "/realtime", model: str = "m", **options: Any) -> str:
    given = Options(**options)
    target = Target(model=Model(provider=provider, options=given), route_type="realtime/v1/realtime")
    call = Call(target, given, model, "realtime", ClientRequest("GET", path, query, {}))
    found = realtime_url(call)
    return f"{found.scheme}://{found.authority}{found.target}"


@pytest.mark.parametrize(
    ("provider", "query", "options", "expected"),
    [
        ("openai", "", {}, "wss://api.openai.com/v1/realtime?model=m"),
        ("openai", "call_id=rtc_1", {}, "wss://api.openai.com/v1/realtime"),
        ("openai", "intent=transcription", {}, "wss://api.openai.com/v1/realtime"),
        ("openai", "", {"upstream_url": "https://h/x"}, "wss://h/x?model=m"),
        ("openai", "", {"upstream_url": "wss://h:9/x?model=n"}, "wss://h:9/x?model=n"),
        ("openai", "", {"upstream_url": "http://h"}, "ws://h/v1/realtime?model=m"),
        ("openai", "", {"upstream_path": "/p"}, "wss://api.openai.com/p?model=m"),
        ("xai", "", {}, "wss://api.x.ai/v1/realtime?model=m"),
        (
            "azure", "", {"azure_instance": "i", "azure_deployment_id": "d"},
            "wss://i.openai.azure.com/openai/v1/realtime?model=d",
        ),
        (
            "azure", "", {"azure_instance": "i", "azure_api_version": "2025-04-01-preview"},
            "wss://i.openai.azure.com/openai/realtime?api-version=2025-04-01-preview&deployment=m",
        ),
        (
            "azure", "api-version=2024-10-01-preview", {"azure_instance": "i"},
            "wss://i.openai.azure.com/openai/realtime?api-version=2024-10-01-preview&deployment=m",
        ),
        (
            "azure", "", {"azure_instance": "i", "azure_api_version": "v1"},
            "wss://i.openai.azure.com/openai/v1/realtime?model=m",
        ),
        (
            "azure", "", {"upstream_url": "wss://i.services.ai.azure.com/voice-live/realtime?api-version=1"},
            "wss://i.services.ai.azure.com/voice-live/realtime?api-version=1&model=m",
        ),
        ("gemini", "", {}, GOOGLE + LIVE.format("v1beta", "BidiGenerateContent")),
    ],
)  # fmt: skip
def test_address(provider: str, query: str, options: dict[str, Any], expected: str) -> None:
    assert url(provider, query, **options) == expected


@pytest.mark.parametrize("method", ["BidiGenerateContent", "BidiGenerateContentConstrained"])
def test_the_clients_version_of_live(method: str) -> None:
    path = "/prefix" + LIVE.format("v1alpha", method)
    assert url("gemini", path=path) == GOOGLE + LIVE.format("v1alpha", method)


VERTEX = "/ws/google.cloud.aiplatform.{}.LlmBidiService/BidiGenerateContent"
HOST = "eu-aiplatform.googleapis.com"
REGION = {"api_endpoint": HOST, "project_id": "p", "location_id": "eu"}


@pytest.mark.parametrize(
    ("path", "options", "expected"),
    [
        ("/realtime", {"gemini": REGION}, f"wss://{HOST}" + VERTEX.format("v1beta1")),
        (
            "/p" + VERTEX.format("v1"), {"gemini": REGION},
            f"wss://{HOST}" + VERTEX.format("v1"),
        ),
        # A client of the public API: its version says nothing about Vertex's.
        (
            LIVE.format("v1alpha", "BidiGenerateContent"), {"gemini": REGION},
            f"wss://{HOST}" + VERTEX.format("v1beta1"),
        ),
        (
            "/realtime", {"gemini": {"project_id": "p", "location_id": "global"}},
            "wss://aiplatform.googleapis.com" + VERTEX.format("v1beta1"),
        ),
        ("/x", {"gemini": REGION, "upstream_url": "http://h:1"}, "ws://h:1" + VERTEX.format("v1beta1")),
        ("/x", {"gemini": REGION, "upstream_url": "https://h/own"}, "wss://h/own"),
        # And a client of Vertex at the public API.
        (VERTEX.format("v1"), {}, GOOGLE + LIVE.format("v1beta", "BidiGenerateContent")),
    ],
)  # fmt: skip
def test_live_on_vertex(path: str, options: dict[str, Any], expected: str) -> None:
    assert url("gemini", path=path, **options) == expected


def test_models_stay_in_their_place() -> None:
    assert (
        url("openai", model="a&key=b/../c") == "wss://api.openai.com/v1/realtime?model=a%26key%3Db%2F..%2Fc"
    )


@pytest.mark.parametrize(
    ("provider", "options"),
    [
        ("azure", {}),
        ("azure", {"azure_instance": "evil.example/"}),
        ("gemini", {"gemini": {"api_endpoint": "e", "location_id": "l"}}),
        ("gemini", {"gemini": {"project_id": "p"}}),
        ("openai", {"upstream_url": "nonsense"}),
    ],
)
def test_what_cannot_be_addressed(provider: str, options: dict[str, Any]) -> None:
    with pytest.raises(ApiError):
        url(provider, **options)
