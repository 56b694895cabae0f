"""Numbers that a provider calls token counts and that are none: they count for nothing anywhere."""

from __future__ import annotations

from typing import Any

import pytest

from kong_ai_proxy.core.usage import Usage
from kong_ai_proxy.formats.anthropic.usage import read_usage as read_messages
from kong_ai_proxy.formats.bedrock.usage import read_usage as read_converse
from kong_ai_proxy.formats.gemini.usage import UsageReader


def read_gemini(usage: Any) -> Usage:
    reader = UsageReader()
    reader.take(usage)
    return reader.usage()


@pytest.mark.parametrize("wrong", [-5, -1e300, 2**63, True, "5", None, [5], float("nan")])
@pytest.mark.parametrize(
    ("read", "given", "made"),
    [
        (Usage.from_openai, "prompt_tokens", "completion_tokens"),
        (read_messages, "input_tokens", "output_tokens"),
        (read_converse, "inputTokens", "outputTokens"),
        (read_gemini, "promptTokenCount", "candidatesTokenCount"),
    ],
)
def test_no_count(read: Any, given: str, made: str, wrong: Any) -> None:
    usage = read({given: wrong, made: 7})
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total) == (0, 7, 7)
