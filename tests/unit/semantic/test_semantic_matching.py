"""Semantic balancing: who serves which request, and what happens when the embeddings are not to be had."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from semantic_support import Provider, config

from kong_ai_proxy.balancer.base import Asked
from kong_ai_proxy.balancer.build import algorithm_for
from kong_ai_proxy.balancer.semantic import Semantic, text_of
from kong_ai_proxy.config.models import AdvancedConfig
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.semantic.matcher import DescriptionMatcher, attach
from kong_ai_proxy.semantic.stores import MemoryStore
from kong_ai_proxy.semantic.vectors import cosine, euclidean, unit


def asked(text: str) -> Asked:
    request = ClientRequest("POST", "/", "", {})
    return Asked(request, {"messages": [{"role": "user", "content": text}]})


def semantic(parsed: AdvancedConfig, provider: Provider) -> tuple[Semantic, DescriptionMatcher]:
    algorithm = algorithm_for(parsed, [])
    assert isinstance(algorithm, Semantic)
    matcher = attach(algorithm, parsed, provider.send)
    assert matcher is not None
    return algorithm, matcher


THREE = ["python code", "a poem in verse", "weather and rain"]


def test_the_nearest_description_serves() -> None:
    algorithm, _ = semantic(config(THREE), Provider())
    everyone = [0, 1, 2]
    assert algorithm.pick(everyone, [], asked("Write me some Python code")) == 0
    assert algorithm.pick(everyone, [], asked("A verse of a poem, please")) == 1
    assert algorithm.pick(everyone, [], asked("Will it rain? How is the weather?")) == 2


def test_a_request_is_embedded_once_for_all_its_attempts() -> None:
    provider = Provider()
    algorithm, _ = semantic(config(THREE), provider)
    request = asked("python python code")
    first = algorithm.pick([0, 1, 2], [], request)
    second = algorithm.pick([0, 1, 2], [0], request)
    assert first == 0
    assert second in (1, 2), "the next nearest takes over"
    assert provider.asked == [THREE, ["python python code"]]


def test_descriptions_are_embedded_once() -> None:
    provider = Provider()
    algorithm, matcher = semantic(config(THREE), provider)
    matcher.prepare()
    for _ in range(3):
        algorithm.pick([0, 1, 2], [], asked("code"))
    assert provider.asked.count(THREE) == 1


def test_the_same_description_is_balanced_by_weight() -> None:
    algorithm, _ = semantic(config(["code", "code", "poem"], weights=[75, 25, 100]), Provider())
    picked = Counter(algorithm.pick([0, 1, 2], [], asked("code code")) for _ in range(100))
    assert picked == {0: 75, 1: 25}


DB: dict[str, Any] = {"strategy": "redis", "dimensions": 6, "distance_metric": "cosine", "threshold": 0.3}


def stored_nowhere(parsed: AdvancedConfig) -> AdvancedConfig:
    """Nothing listens there: the store is away, and nobody minds."""
    assert parsed.vectordb is not None and parsed.vectordb.redis is not None
    return parsed


def far(descriptions: list[str]) -> AdvancedConfig:
    return stored_nowhere(config(descriptions, vectordb={**DB, "redis": {"port": 1}}))


def test_what_matches_nothing_goes_to_catchall() -> None:
    algorithm, _ = semantic(far(["python code", "CATCHALL", "poem verse"]), Provider())
    assert algorithm.pick([0, 1, 2], [], asked("weather weather rain")) == 1
    assert algorithm.pick([0, 1, 2], [], asked("python code")) == 0
    assert algorithm.pick([0, 1, 2], [0], asked("python code")) == 1, "catchall serves when the match is down"


def test_what_matches_nothing_is_refused_without_catchall() -> None:
    algorithm, _ = semantic(far(["python code", "poem verse"]), Provider())
    with pytest.raises(ApiError, match=r"no target can be found under threshold 0\.3") as refused:
        algorithm.pick([0, 1], [], asked("weather weather rain"))
    assert refused.value.status == 400


def test_embeddings_away() -> None:
    provider = Provider()
    provider.status = 500
    algorithm, _ = semantic(config(["python code"]), provider)
    with pytest.raises(ApiError) as refused:
        algorithm.pick([0], [], asked("code"))
    assert refused.value.status == 502
    assert "planted" not in refused.value.message

    algorithm, _ = semantic(config(["python code", "CATCHALL"]), provider)
    assert algorithm.pick([0, 1], [], asked("code")) == 1


def test_embeddings_come_back() -> None:
    provider, now = Provider(), [0.0]
    parsed = config(["python code"])
    algorithm, _ = semantic(parsed, provider)
    assert isinstance(algorithm.matcher, DescriptionMatcher)
    algorithm.matcher._clock = lambda: now[0]
    provider.status = 429
    with pytest.raises(ApiError):
        algorithm.pick([0], [], asked("code"))
    calls = len(provider.requests)
    with pytest.raises(ApiError):
        algorithm.pick([0], [], asked("code"))
    assert len(provider.requests) == calls, "a provider in trouble is not asked by every request"
    provider.status = 200
    now[0] = 6.0
    assert algorithm.pick([0], [], asked("code")) == 0


class Kept(MemoryStore):
    """A store that others write to as well."""

    def __init__(self, vector: tuple[float, ...]) -> None:
        super().__init__()
        self.vector = vector

    def load(self, keys: Sequence[str]) -> dict[str, tuple[float, ...]]:
        return {key: self.vector for key in keys if key not in self._vectors} | super().load(keys)


@pytest.mark.parametrize(
    "vector", [(math.nan,) * 6, (math.inf, 0.0, 0.0, 0.0, 0.0, 0.0), (1e9,) * 6, (0.0,) * 6, ()]
)
def test_a_kept_vector_that_is_none_is_not_taken(vector: tuple[float, ...]) -> None:
    algorithm, matcher = semantic(config(["python code", "poem verse"]), Provider())
    matcher._store = Kept(vector)
    assert algorithm.pick([0, 1], [], asked("a verse of a poem")) == 1


def test_kept_vectors_of_another_size_are_made_anew() -> None:
    """The model's name stayed and its vectors did not; or somebody has put them there."""
    provider, now = Provider(), [0.0]
    algorithm, matcher = semantic(config(["python code", "poem verse"]), provider)
    matcher._clock = lambda: now[0]
    matcher._store = store = Kept((1.0, 0.0))
    assert algorithm.pick([0, 1], [], asked("a verse of a poem")) == 1
    assert len(store._vectors) == 2 and provider.asked[1:] == [["python code", "poem verse"]]
    # A model that gives another number each time is not asked for all of them by each request.
    matcher._vectors = [(1.0, 0.0)] * 2
    with pytest.raises(ApiError, match="dimensions"):
        algorithm.pick([0, 1], [], asked("poem"))
    now[0] = 6.0
    assert algorithm.pick([0, 1], [], asked("poem")) == 1


@pytest.mark.parametrize(
    "options", [{"upstream_url": "http://a/v1/embeddings"}, {"upstream_url": "http://b/v1/embeddings"}, {}]
)
def test_vectors_are_of_a_model_at_a_place(options: dict[str, str]) -> None:
    plain = config(["python code"])
    embeddings = {"model": {"provider": "openai", "name": "text-embedding-3-small", "options": options}}
    keys = {
        semantic(parsed, Provider())[1]._key("python code")
        for parsed in (plain, config(["python code"], embeddings=embeddings))
    }
    assert len(keys) == (2 if options else 1)


def test_credentials_and_model_are_those_configured() -> None:
    provider = Provider()
    _, matcher = semantic(config(THREE), provider)
    matcher.prepare()
    request = provider.requests[0]
    assert request.headers["authorization"] == "Bearer planted"
    assert b'"model":"text-embedding-3-small"' in request.body
    assert request.url.host == "api.openai.com" and request.url.path == "/v1/embeddings"


def test_a_request_without_text() -> None:
    algorithm, _ = semantic(config(THREE), Provider())
    with pytest.raises(ApiError) as refused:
        algorithm.pick([0, 1, 2], [], asked("  "))
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "a"),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": [{"text": "new"}]}]},
            "new",
        ),
        ({"contents": [{"role": "user", "parts": [{"text": "g"}, {"text": "h"}]}]}, "g\nh"),
        ({"prompt": ["p", "q"]}, "p\nq"),
        ({"input": "i"}, "i"),
        ({"messages": [{"role": "system", "content": "s"}]}, "s"),
        ({"messages": [None, 3, {"role": "user", "content": None}]}, ""),
        ({"contents": {"role": "USER", "parts": {"text": "alone"}}}, "alone"),
        ({}, ""),
    ],
)
def test_text_of(body: dict[str, Any], text: str) -> None:
    assert text_of(Asked(ClientRequest("POST", "/", "", {}), body)) == text


def test_distances() -> None:
    right, up, left = unit([2, 0]), unit([0, 3]), unit([-1, 0])
    assert cosine(right, right) == pytest.approx(0) and cosine(right, up) == pytest.approx(1)
    assert cosine(right, left) == pytest.approx(2)
    assert euclidean(right, right) == pytest.approx(0) and euclidean(right, left) == pytest.approx(1)
    assert unit([0.0, 0.0]) == (0.0, 0.0)
