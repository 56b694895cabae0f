"""Clients that speak a provider's own format (`llm_format`) through the gateway, with the providers' SDKs."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from gateway_support import Gateway
from http_support import MARK

MESSAGES: Any = [{"role": "user", "content": "Hello Paris"}]
TOOL: Any = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
SAID = "You said: Hello Paris"


def usage(gateway: Gateway) -> Any:
    return gateway.log.wait(1)[0]["ai"]["proxy"]["usage"]


@pytest.mark.parametrize("prefix", ["", "/bare"])
def test_anthropic_sdk(gateway: Gateway, prefix: str) -> None:
    url = f"{gateway.url}{prefix}/native-anthropic"
    with anthropic.Anthropic(base_url=url, api_key="client", max_retries=0, default_headers=MARK) as client:
        answer: Any = client.messages.create(model="some-model", max_tokens=50, messages=MESSAGES)
        assert answer.content[0].text == SAID
        assert answer.usage.output_tokens == 4
        assert usage(gateway)["completion_tokens"] == 4
        ask: Any = [{"role": "user", "content": "Weather in Paris?"}]
        tool: Any = client.messages.create(model="some-model", max_tokens=50, messages=ask, tools=[TOOL])
        assert tool.content[0].input == {"city": "Paris"}
        gateway.log.wait(1)
        with pytest.raises(anthropic.RateLimitError) as raised:
            client.messages.create(model="mock-status-429", max_tokens=50, messages=MESSAGES)
        assert raised.value.body["type"] == "error"  # type: ignore[index]
    assert gateway.mock.requests[0].headers["x-api-key"] == "secret-anthropic"


def test_anthropic_sdk_streams(gateway: Gateway) -> None:
    url = f"{gateway.url}/native-anthropic"
    with (
        anthropic.Anthropic(base_url=url, api_key="client", max_retries=0, default_headers=MARK) as client,
        client.messages.stream(model="some-model", max_tokens=50, messages=MESSAGES) as stream,
    ):
        assert stream.get_final_text() == SAID
    assert usage(gateway)["total_tokens"] > 0
