"""Instructions in the middle of a conversation, or several before it: what Claude Code and Codex send."""

from __future__ import annotations

from typing import Any

import pytest

from kong_ai_proxy.config.models import Model, Options, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.formats.anthropic.client import CLIENT as MESSAGES
from kong_ai_proxy.formats.responses.client import CLIENT as RESPONSES
from kong_ai_proxy.formats.system_first import system_first

TEMPLATED = [
    "vllm", "mistral", "llama2", "huggingface", "ollama", "databricks", "deepseek", "dashscope", "cohere",
]  # fmt: skip
SAID = "<system-reminder>\nAgents: two.\n</system-reminder>"


def a_call(provider: Any, route_type: Any = "llm/v1/chat") -> Call:
    target = Target(model=Model(provider=provider, name="m"), route_type=route_type)
    return Call(target, Options(), "m", "chat", ClientRequest("POST", "/", "", {}))


def claude_code(provider: str, *more: Any) -> list[Any]:
    body = {
        "max_tokens": 9,
        "system": "Be terse.",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Fix it."}]},
            {"role": "system", "content": "Agents: two."},
            *more,
        ],
    }
    return list(MESSAGES.request(body, a_call(provider))["messages"])


def texts(message: Any) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "\n\n".join(part["text"] for part in content)


@pytest.mark.parametrize("provider", TEMPLATED)
def test_instructions_after_the_users_message_become_part_of_it(provider: str) -> None:
    told = claude_code(provider)
    assert [message["role"] for message in told] == ["system", "user"]
    assert texts(told[0]) == "Be terse."
    assert texts(told[1]) == f"Fix it.\n\n{SAID}"


@pytest.mark.parametrize("provider", ["openai", "azure", "xai"])
def test_they_stay_where_the_provider_takes_them_anywhere(provider: str) -> None:
    told = claude_code(provider)
    assert [message["role"] for message in told] == ["system", "user", "system"]
    assert told[2]["content"] == "Agents: two."


def test_after_the_result_of_a_tool_they_are_a_message_of_their_own() -> None:
    use = {"type": "tool_use", "id": "t", "name": "Read", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": "text"}
    told = claude_code(
        "mistral",
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
        {"role": "system", "content": "Agents: three."},
    )
    assert [message["role"] for message in told] == ["system", "user", "assistant", "tool", "user"]
    assert told[-1]["content"] == SAID.replace("two", "three")


@pytest.mark.parametrize("provider", TEMPLATED)
def test_several_developer_messages_are_one_of_the_system(provider: str) -> None:
    body = {
        "instructions": "Be terse.",
        "input": [
            {"role": "developer", "content": [{"type": "input_text", "text": "Skills."}]},
            {"role": "developer", "content": "No network."},
            {"role": "user", "content": "Fix it."},
            {"role": "developer", "content": "Agents: two."},
        ],
    }
    told = RESPONSES.request(body, a_call(provider, "llm/v1/responses"))["messages"]
    assert [message["role"] for message in told] == ["system", "user"]
    assert texts(told[0]) == "Be terse.\n\nSkills.\n\nNo network."
    assert texts(told[1]) == f"Fix it.\n\n{SAID}"


def test_contents_of_any_form_are_joined() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    mark = {"type": "text", "text": "B", "cache_control": {"type": "ephemeral"}}
    told = system_first(
        [
            {"role": "system", "content": "A"},
            {"role": "system", "content": [mark]},
            {"role": "user", "content": [image]},
            {"role": "developer", "content": [mark]},
            {"role": "system", "content": "C"},
        ],
        "vllm",
    )
    opened, closed = ({"type": "text", "text": text} for text in SAID.split("Agents: two."))
    last = {"type": "text", "text": SAID.replace("Agents: two.", "C")}
    assert told == [
        {"role": "system", "content": [{"type": "text", "text": "A"}, mark]},
        {
            "role": "user",
            "content": [image, opened, mark, closed, last],
        },
    ]


def test_odd_contents_do_no_harm() -> None:
    told = system_first(
        [{"role": "developer"}, {"role": "system", "content": 7}, {"role": "user", "content": "Hi"}], "vllm"
    )
    assert told == [{"role": "system", "content": []}, {"role": "user", "content": "Hi"}]
    plain = [{"role": "system", "content": "A"}, {"role": "user", "content": "Hi"}]
    assert system_first(plain, "vllm") is plain
    assert system_first([{"role": "system", "content": ""}, *plain], "vllm") == plain
