"""Clients of Messages and Converse that want no thinking, where models think unasked."""

from __future__ import annotations

from typing import Any

import pytest
from native_support import make_call

from kong_ai_proxy.formats.anthropic.client import CLIENT as MESSAGES
from kong_ai_proxy.formats.bedrock.client import CLIENT as CONVERSE

OFF = {"type": "disabled"}
EXPECTED: dict[tuple[str, str], dict[str, Any]] = {
    ("gemini", "gemini-2.5-flash"): {"reasoning_effort": "none"},
    ("cohere", "command-a-reasoning"): {"reasoning_effort": "none"},
    ("ollama", "qwen3"): {"reasoning_effort": "none"},
    ("bedrock", "amazon.nova-2-lite-v1:0"): {"reasoning_effort": "none"},
    ("openai", "gpt-5"): {},
    ("mistral", "magistral"): {},
    ("anthropic", "claude-sonnet-4-5"): {"thinking": OFF},
}
BODIES: list[tuple[Any, dict[str, Any]]] = [
    (MESSAGES, {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "thinking": OFF}),
    *(
        (
            CONVERSE,
            {
                "messages": [{"role": "user", "content": [{"text": "hi"}]}],
                "additionalModelRequestFields": one,
            },
        )
        for one in ({"thinking": OFF}, {"reasoningConfig": OFF})
    ),
]


@pytest.mark.parametrize(("client", "body"), BODIES)
@pytest.mark.parametrize(("provider", "model"), EXPECTED)
def test_it_stays_off(client: Any, body: Any, provider: str, model: str) -> None:
    made = client.request(body, make_call(provider, model))
    found = {name: made[name] for name in ("reasoning_effort", "thinking") if name in made}
    assert found == EXPECTED[provider, model]


def test_deepseek_has_a_member_for_it() -> None:
    """https://api-docs.deepseek.com/guides/thinking_mode."""
    made = MESSAGES.request(BODIES[0][1], make_call("deepseek", "deepseek-chat"))
    assert made["thinking"] == OFF
    assert "reasoning_effort" not in made


def test_claudes_effort_is_of_more_than_thinking() -> None:
    body = {**BODIES[0][1], "output_config": {"effort": "high"}}
    assert MESSAGES.request(body, make_call("gemini", "gemini-2.5-flash"))["reasoning_effort"] == "none"
    assert MESSAGES.request(body, make_call("openai", "gpt-5"))["reasoning_effort"] == "high"
