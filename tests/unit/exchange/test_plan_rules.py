"""What is refused before any provider hears of it, with Kong's words; and who may serve what."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import advanced, client_request, open_exchange, proxy, sent, sent_body, target_config

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.formats import client_format

CHAT = {"messages": [{"role": "user", "content": "hi"}]}


def refused(instance: Any, request: ClientRequest) -> ApiError:
    with pytest.raises(ApiError) as caught:
        open_exchange(instance, request)
    return caught.value


@pytest.mark.parametrize(
    "given", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"]
)
@pytest.mark.parametrize(
    ("route_type", "kind"),
    [("llm/v1/chat", "chat"), ("llm/v1/completions", "completions"), ("llm/v1/embeddings", "embeddings")],
)
def test_content_type_must_be_json(given: str, route_type: str, kind: str) -> None:
    error = refused(proxy(route_type=route_type), client_request(CHAT, headers={"content-type": given}))
    assert error.status == 400
    assert error.message.startswith(f"LLM route only supports llm {kind} type requests")


@pytest.mark.parametrize(
    "given",
    ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/vnd.x+json"],
)
def test_json_content_types(given: str) -> None:
    open_exchange(proxy(), client_request(CHAT, headers={"content-type": given}))


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"{'a': 1}", b"nope", b"[" * 100_000])
def test_malformed_json(body: bytes) -> None:
    error = refused(proxy(), client_request(body))
    assert error.status == 400
    assert error.message == "content-type header does not match request body, or bad JSON formatting"


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"text"', b"true"])
def test_body_must_be_an_object(body: bytes) -> None:
    error = refused(proxy(), client_request(body))
    assert (error.status, error.message) == (400, "request body must be a JSON object")


@pytest.mark.parametrize("name", ["Model", "MODEL", "moDel", "Stream", "STREAM_OPTIONS"])
@pytest.mark.parametrize("extra", [False, True])
def test_what_is_decided_here_is_spelled_in_one_way(name: str, extra: bool) -> None:
    """Servers in Go (Ollama) take "Model" for "model": the last of both is served, the first was checked."""
    more = {name: "dear"}
    body = {**CHAT, "model": "gpt-4o", **({"extra_body": more} if extra else more)}
    error = refused(proxy(name="gpt-4o"), client_request(body))
    assert (error.status, error.param) == (400, name)
    native = ClientRequest("POST", "/v1/messages/count_tokens", "", {"content-type": "application/json"},
                           b'{"model":"m","%b":"dear","messages":[]}' % name.encode())  # fmt: skip
    assert refused(proxy("anthropic", "m", llm_format="anthropic"), native).param == name


@pytest.mark.parametrize("messages", [None, [], "hi", {}, 1])
def test_chat_needs_messages(messages: Any) -> None:
    body = {} if messages is None else {"messages": messages}
    error = refused(proxy(), client_request(body))
    assert (error.status, error.message) == (400, "request body doesn't contain valid prompts")


@pytest.mark.parametrize("message", ["hi", None, 1, []])
def test_messages_are_objects(message: Any) -> None:
    error = refused(proxy(), client_request({"messages": [CHAT["messages"][0], message]}))
    assert (error.status, error.param) == (400, "messages[1]")


@pytest.mark.parametrize("prompt", ["Say", ["Say", "more"], [1, 2], [[1], [2]]])
def test_completions_take_a_prompt(prompt: Any) -> None:
    open_exchange(proxy(route_type="llm/v1/completions"), client_request({"prompt": prompt}))


@pytest.mark.parametrize("prompt", [None, "", [], {}, 3])
def test_completions_need_a_prompt(prompt: Any) -> None:
    assert refused(proxy(route_type="llm/v1/completions"), client_request({"prompt": prompt})).status == 400


# The model.


def test_other_model_than_the_configured_one() -> None:
    error = refused(proxy(), client_request({**CHAT, "model": "gpt-3.5"}))
    assert (error.status, error.message) == (400, "cannot use own model - must be: gpt-4o")


@pytest.mark.parametrize("model", [None, "", "gpt-4o"])
def test_same_or_no_model(model: str | None) -> None:
    assert sent_body(proxy(), {**CHAT, "model": model})["model"] == "gpt-4o"


def test_model_hidden_in_extra_body_is_checked_all_the_same() -> None:
    error = refused(proxy(), client_request({**CHAT, "extra_body": {"model": "gpt-3.5"}}))
    assert error.message == "cannot use own model - must be: gpt-4o"


def test_no_name_configured_lets_the_client_choose() -> None:
    assert sent_body(proxy(name=None), {**CHAT, "model": "gpt-5-nano"})["model"] == "gpt-5-nano"


def test_no_name_configured_and_none_sent() -> None:
    error = refused(proxy(name=None), client_request(CHAT))
    assert (error.status, error.message) == (
        400,
        "model parameter not found in request, nor in gateway configuration",
    )


def test_azure_deployment_needs_no_model() -> None:
    options = {"azure_instance": "unit", "azure_deployment_id": "chat"}
    upstream = sent(proxy("azure", None, options=options), client_request(CHAT))
    assert upstream.url.path.startswith("/openai/deployments/chat/")


@pytest.mark.parametrize("model", [1, ["gpt-4o"], {"name": "gpt-4o"}, True])
def test_model_must_be_text(model: Any) -> None:
    error = refused(proxy(), client_request({**CHAT, "model": model}))
    assert (error.status, error.param) == (400, "model")


def test_name_from_a_template() -> None:
    instance = proxy(name="$(headers.x-model)")
    request = client_request({**CHAT, "model": "gpt-5"}, headers={"x-model": "gpt-5"})
    assert b'"gpt-5"' in sent(instance, request).body


def test_template_without_its_value() -> None:
    error = refused(proxy(name="$(headers.x-model)"), client_request(CHAT))
    assert error.status == 400
    assert "headers.x-model" in error.message


# Aliases and several targets.


def aliased() -> Any:
    return advanced(
        target_config("openai", "gpt-4o", alias="smart"),
        target_config("openai", "gpt-4o-mini", alias="cheap"),
        target_config("mistral", "mistral-small", alias="cheap", options={"mistral_format": "openai"}),
    )


def test_alias_chooses_the_targets() -> None:
    assert open_exchange(aliased(), client_request({**CHAT, "model": "smart"})).plan.candidates == [0]
    assert open_exchange(aliased(), client_request({**CHAT, "model": "cheap"})).plan.candidates == [1, 2]


def test_alias_is_replaced_by_the_real_name() -> None:
    assert sent_body(aliased(), {**CHAT, "model": "smart"})["model"] == "gpt-4o"


@pytest.mark.parametrize("model", ["none", "gpt-4o"])
def test_no_alias_matches(model: str) -> None:
    error = refused(aliased(), client_request({**CHAT, "model": model}))
    assert (error.status, error.message) == (400, "model not configured")


def test_no_model_asked_for_admits_all_aliases() -> None:
    assert open_exchange(aliased(), client_request(CHAT)).plan.candidates == [0, 1, 2]


def test_targets_without_alias_stay_reachable_by_name() -> None:
    instance = advanced(target_config(alias="smart"), target_config(name="gpt-4o-mini"))
    assert open_exchange(instance, client_request({**CHAT, "model": "gpt-4o-mini"})).plan.candidates == [1]


def test_several_targets_those_of_that_name_serve() -> None:
    instance = advanced(target_config(name="a"), target_config(name="b"), target_config(name="a"))
    assert open_exchange(instance, client_request({**CHAT, "model": "a"})).plan.candidates == [0, 2]
    error = refused(instance, client_request({**CHAT, "model": "c"}))
    assert error.message == "cannot use own model - must be: a, b"


def test_targets_of_several_route_types_are_chosen_by_the_bodys_shape() -> None:
    instance = advanced(
        target_config(), target_config(name="ada", route_type="llm/v1/embeddings"), target_config()
    )
    assert open_exchange(instance, client_request({"input": "text"})).plan.candidates == [1]
    assert open_exchange(instance, client_request(CHAT)).plan.candidates == [0, 2]
    assert refused(instance, client_request({"prompt": "x"})).status == 400


# Streams.


@pytest.mark.parametrize("stream", [1, "true", "yes", [], {}])
def test_stream_is_a_boolean(stream: Any) -> None:
    error = refused(proxy(), client_request({**CHAT, "stream": stream}))
    assert (error.status, error.param) == (400, "stream")


def test_stream_denied() -> None:
    error = refused(proxy(response_streaming="deny"), client_request({**CHAT, "stream": True}))
    assert (error.status, error.message) == (400, "response streaming is not enabled for this LLM")


@pytest.mark.parametrize("stream", [False, None])
def test_plain_answer_where_streams_are_denied(stream: bool | None) -> None:
    assert not open_exchange(
        proxy(response_streaming="deny"), client_request({**CHAT, "stream": stream})
    ).stream


def test_always_streams() -> None:
    instance = proxy(response_streaming="always")
    exchange = open_exchange(instance, client_request(CHAT))
    assert exchange.stream
    assert sent_body(instance, CHAT)["stream"] is True


def test_embeddings_never_stream() -> None:
    instance = proxy(route_type="llm/v1/embeddings", response_streaming="always")
    assert not open_exchange(instance, client_request({"input": "x"})).stream


def test_usage_on_the_stream_is_remembered() -> None:
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    assert open_exchange(proxy(), client_request(body)).plan.include_usage
    assert not open_exchange(proxy(), client_request({**CHAT, "stream": True})).plan.include_usage


# Parameters.


def test_configured_options_are_defaults() -> None:
    options = {"temperature": 0.5, "top_p": 0.25, "max_tokens": 50}
    body = sent_body(proxy(options=options), {**CHAT, "temperature": 1, "top_p": None})
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (1, 0.25, 50)


def test_configured_options_are_defaults_where_the_request_is_translated() -> None:
    instance = proxy("anthropic", "claude-sonnet-4-5", options={"temperature": 0.5, "max_tokens": 50})
    body = sent_body(instance, CHAT)
    assert (body["temperature"], body["max_tokens"]) == (0.5, 50)
    body = sent_body(instance, {**CHAT, "temperature": 0.25, "max_completion_tokens": 7})
    assert (body["temperature"], body["max_tokens"]) == (0.25, 7)


def test_configured_dimensions_of_embeddings() -> None:
    options = {"embeddings_dimensions": 256}
    instance = proxy("gemini", "gemini-embedding-001", route_type="llm/v1/embeddings", options=options)
    assert b"256" in sent(instance, client_request({"input": "text"})).body
    asked = sent(instance, client_request({"input": "text", "dimensions": 128})).body
    assert b"128" in asked or b"256" in asked


@pytest.mark.parametrize("model", ["o1", "o3-mini", "gpt-5", "gpt-5-mini"])
def test_reasoning_models_get_max_completion_tokens(model: str) -> None:
    body = sent_body(proxy(name=model, options={"max_tokens": 50}), CHAT)
    assert body["max_completion_tokens"] == 50
    assert "max_tokens" not in body


def test_clients_own_limit_wins_by_either_name() -> None:
    body = sent_body(proxy(options={"max_tokens": 50}), {**CHAT, "max_completion_tokens": 7})
    assert {name: body.get(name) for name in ("max_tokens", "max_completion_tokens")} in (
        {"max_tokens": None, "max_completion_tokens": 7},
        {"max_tokens": 7, "max_completion_tokens": None},
    )


def test_null_parameters_are_as_good_as_none() -> None:
    nulls = dict.fromkeys(("model", "stream", "stream_options", "temperature", "tools", "extra_body"))
    for provider in ("openai", "anthropic"):
        sent_body(proxy(provider), {**CHAT, **nulls})


def test_extra_body_is_merged() -> None:
    body = sent_body(proxy(), {**CHAT, "seed": 1, "extra_body": {"seed": 2, "verbosity": "low"}})
    assert (body["seed"], body["verbosity"]) == (2, "low")
    assert "extra_body" not in body


def test_extra_body_must_be_an_object() -> None:
    assert refused(proxy(), client_request({**CHAT, "extra_body": "x"})).param == "extra_body"


# What this version has not.


@pytest.mark.parametrize("llm_format", ["gemini", "bedrock", "cohere", "huggingface"])
def test_client_formats_to_come(llm_format: str) -> None:
    instance = proxy(llm_format, "m", llm_format=llm_format)
    try:
        client_format(llm_format)
    except LookupError:
        error = refused(instance, client_request(CHAT))
        assert (error.status, error.code) == (501, "unsupported_llm_format")


@pytest.mark.parametrize("provider", ["gemini", "openai"])
def test_google_takes_one_content_for_a_list_of_one(provider: str) -> None:
    said = {"contents": {"role": "USER", "parts": {"text": "hi"}}}
    asked = client_request(said, path="/v1beta/models/m:generateContent")
    made = sent(proxy(provider, "m", llm_format="gemini"), asked).body
    assert json.loads(made) == (
        said if provider == "gemini" else {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    )
