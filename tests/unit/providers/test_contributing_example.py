"""The worked example of docs/contributing.md works: its code is run as it stands there."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from exchange_support import answered, client_request, first_attempt, openai_answer, proxy

from kong_ai_proxy import providers
from kong_ai_proxy.exchange.instance import Instance

DOC = Path(__file__).resolve().parents[3] / "docs" / "contributing.md"
NAME = "kong_ai_proxy.providers.groq"


@pytest.fixture
def groq(monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    """A target at the example's provider, which is there for this test only."""
    (code,) = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    module = ModuleType(NAME)
    exec(compile(code, "docs/contributing.md", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, NAME, module)
    providers.provider.cache_clear()
    instance = proxy("openai", "llama-3.3-70b-versatile")
    # The schema's list of names is step 2.
    object.__setattr__(instance.targets[0].model, "provider", "groq")
    yield instance
    providers.provider.cache_clear()


def test_a_chat(groq: Instance) -> None:
    body = {
        "messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "logit_bias": {"5": 1},
    }
    exchange, attempt = first_attempt(groq, client_request(body))
    request = attempt.translation.request()
    assert f"{request.url.scheme}://{request.url.authority}{request.url.target}" == (
        "https://api.groq.com/openai/v1/chat/completions"
    )
    sent = json.loads(request.body)
    assert sent["model"] == "llama-3.3-70b-versatile"
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert attempt.call.dropped == ["logit_bias"]
    assert exchange.attempts == [attempt]


def test_its_answer(groq: Instance) -> None:
    done = answered(groq, openai_answer("Hello"))
    assert done.json["choices"][0]["message"]["content"] == "Hello"
    assert done.response.headers["x-kong-llm-model"] == "groq/llama-3.3-70b-versatile"


def test_what_it_lacks(groq: Instance) -> None:
    target = groq.targets[0].model_copy(update={"route_type": "llm/v1/embeddings"})
    embedding = replace(groq, targets=[target])
    with pytest.raises(Exception, match="groq does not support"):
        _, attempt = first_attempt(embedding, client_request({"input": "a"}))
        attempt.translation.request()
