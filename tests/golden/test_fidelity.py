"""What becomes of every request field at every provider, found out by sending it, written to
docs/fidelity.md.

A field is added to a small chat and the request that would go out is compared with the one without it. A
field that changes nothing and is not reported as dropped is lost, and fails the test.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from golden_support import HERE, TARGETS, UPDATE, make
from native_support import make_call
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from kong_ai_proxy.formats import client_format

DOC = HERE.parent.parent / "docs" / "fidelity.md"

TOOL = {
    "type": "function",
    "function": {
        "name": "lookup",
        "description": "Looks up.",
        "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
    },
}
OTHER = {"type": "function", "function": {"name": "other", "parameters": {"type": "object"}}}
CUSTOM = {"type": "custom", "custom": {"name": "patch", "format": {"type": "text"}}}
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
USER = {"role": "user", "content": "Hello"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": '{"q":"x"}'}}
    ],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "found"}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
SOUND = {"data": "UklGRg==", "format": "wav"}
PAPER = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}
THINKING = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
SIGNED = {"google": {"thought_signature": "c2ln"}}


def said(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": "Hello"}, *parts]}]


PLAIN: dict[str, Any] = {"messages": [USER]}
ROUND: dict[str, Any] = {"messages": [USER, CALL, RESULT], "tools": [TOOL]}
ARRAY = [{"type": "text", "text": "found"}, {"type": "text", "text": "more"}]

FIELDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "system message": (PLAIN, {"messages": [{"role": "system", "content": "S"}, USER]}),
    "developer message": (PLAIN, {"messages": [{"role": "developer", "content": "D"}, USER]}),
    "second system message": (
        {"messages": [{"role": "system", "content": "S"}, USER]},
        {"messages": [{"role": "system", "content": "S"}, {"role": "system", "content": "T"}, USER]},
    ),
    "message name": (PLAIN, {"messages": [{**USER, "name": "ann"}]}),
    "several text parts": (PLAIN, {"messages": said({"type": "text", "text": "more"})}),
    "image, data URL": (PLAIN, {"messages": said({"type": "image_url", "image_url": {"url": PIXEL}})}),
    "image, https URL": (
        PLAIN,
        {"messages": said({"type": "image_url", "image_url": {"url": "https://e.test/a.png"}})},
    ),
    "image detail": (
        {"messages": said({"type": "image_url", "image_url": {"url": PIXEL}})},
        {"messages": said({"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}})},
    ),
    "input_audio": (PLAIN, {"messages": said({"type": "input_audio", "input_audio": SOUND})}),
    "file (PDF)": (PLAIN, {"messages": said({"type": "file", "file": PAPER})}),
    "assistant message": (
        PLAIN,
        {"messages": [USER, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "So?"}]},
    ),
    "assistant reasoning_content": (
        {"messages": [USER, {"role": "assistant", "content": "Hi"}, USER]},
        {"messages": [USER, {"role": "assistant", "content": "Hi", "reasoning_content": "Hm."}, USER]},
    ),
    "assistant thinking_blocks": (
        {"messages": [USER, {"role": "assistant", "content": "Hi"}, USER]},
        {"messages": [USER, {"role": "assistant", "content": "Hi", "thinking_blocks": [THINKING]}, USER]},
    ),
    "tools": (PLAIN, {**PLAIN, "tools": [TOOL]}),
    "tools[].function.strict": (
        {**PLAIN, "tools": [TOOL]},
        {**PLAIN, "tools": [{**TOOL, "function": {**TOOL["function"], "strict": True}}]},  # type: ignore[dict-item]
    ),
    "tool_choice: none": ({**PLAIN, "tools": [TOOL]}, {**PLAIN, "tools": [TOOL], "tool_choice": "none"}),
    "tool_choice: required": (
        {**PLAIN, "tools": [TOOL]},
        {**PLAIN, "tools": [TOOL], "tool_choice": "required"},
    ),
    "tool_choice: named": (
        {**PLAIN, "tools": [TOOL]},
        {**PLAIN, "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "lookup"}}},
    ),
    "tool_choice: allowed_tools": (
        {**PLAIN, "tools": [TOOL, OTHER]},
        {
            **PLAIN,
            "tools": [TOOL, OTHER],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "other"}}],
                },
            },
        },
    ),
    "tools: custom": (PLAIN, {**PLAIN, "tools": [CUSTOM]}),
    "parallel_tool_calls: false": (
        {**PLAIN, "tools": [TOOL]},
        {**PLAIN, "tools": [TOOL], "parallel_tool_calls": False},
    ),
    "tool_calls and their result": ({**PLAIN, "tools": [TOOL]}, ROUND),
    "tool result as parts": (ROUND, {**ROUND, "messages": [USER, CALL, {**RESULT, "content": ARRAY}]}),
    "tool_calls[].extra_content (thought signature)": (
        ROUND,
        {
            **ROUND,
            "messages": [
                USER,
                {**CALL, "tool_calls": [{**CALL["tool_calls"][0], "extra_content": SIGNED}]},  # type: ignore[index]
                RESULT,
            ],
        },
    ),
    "cache_control": (
        {"messages": said()},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}],
                }
            ]
        },
    ),
    "prompt_cache_breakpoint": (
        {"messages": said()},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Hello", "prompt_cache_breakpoint": {"mode": "explicit"}}
                    ],
                }
            ]
        },
    ),
    "response_format: json_object": (PLAIN, {**PLAIN, "response_format": {"type": "json_object"}}),
    "response_format: json_schema": (
        PLAIN,
        {
            **PLAIN,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "strict": True, "schema": SCHEMA},
            },
        },
    ),
    "max_tokens": (PLAIN, {**PLAIN, "max_tokens": 77}),
    "max_completion_tokens": (PLAIN, {**PLAIN, "max_completion_tokens": 77}),
    "temperature": (PLAIN, {**PLAIN, "temperature": 0.25}),
    "top_p": (PLAIN, {**PLAIN, "top_p": 0.5}),
    "top_k": (PLAIN, {**PLAIN, "top_k": 7}),
    "stop": (PLAIN, {**PLAIN, "stop": ["END"]}),
    "n: 2": (PLAIN, {**PLAIN, "n": 2}),
    "seed": (PLAIN, {**PLAIN, "seed": 42}),
    "frequency_penalty": (PLAIN, {**PLAIN, "frequency_penalty": 0.5}),
    "presence_penalty": (PLAIN, {**PLAIN, "presence_penalty": 0.5}),
    "logit_bias": (PLAIN, {**PLAIN, "logit_bias": {"5": 1}}),
    "logprobs": (PLAIN, {**PLAIN, "logprobs": True, "top_logprobs": 2}),
    "user": (PLAIN, {**PLAIN, "user": "u-1"}),
    "metadata": (PLAIN, {**PLAIN, "metadata": {"team": "a"}}),
    "store": (PLAIN, {**PLAIN, "store": True}),
    "reasoning_effort": (PLAIN, {**PLAIN, "max_tokens": 8000, "reasoning_effort": "low"}),
    "service_tier": (PLAIN, {**PLAIN, "service_tier": "flex"}),
    "modalities": (PLAIN, {**PLAIN, "modalities": ["text"]}),
    "prediction": (PLAIN, {**PLAIN, "prediction": {"type": "content", "content": "Hi"}}),
    "web_search_options": (PLAIN, {**PLAIN, "web_search_options": {}}),
    "thinking (budget)": (
        {**PLAIN, "max_tokens": 8000},
        {**PLAIN, "max_tokens": 8000, "thinking": {"type": "enabled", "budget_tokens": 2000}},
    ),
    "verbosity": (PLAIN, {**PLAIN, "verbosity": "low"}),
    "safety_identifier": (PLAIN, {**PLAIN, "safety_identifier": "u-1"}),
    "prompt_cache_key": (PLAIN, {**PLAIN, "prompt_cache_key": "k"}),
    "prompt_cache_options": (PLAIN, {**PLAIN, "prompt_cache_options": {"mode": "explicit"}}),
    "prompt_cache_retention": (PLAIN, {**PLAIN, "prompt_cache_retention": "24h"}),
    "moderation": (PLAIN, {**PLAIN, "moderation": {"model": "omni-moderation-latest"}}),
    "audio": (PLAIN, {**PLAIN, "audio": {"voice": "alloy", "format": "wav"}}),
    "generationConfig": (PLAIN, {**PLAIN, "generationConfig": {"topK": 3}}),
    "safetySettings": (
        PLAIN,
        {
            **PLAIN,
            "safetySettings": [{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_NONE"}],
        },
    ),
    "cachedContent": (PLAIN, {**PLAIN, "cachedContent": "cachedContents/c1"}),
    "guardrailConfig": (
        PLAIN,
        {**PLAIN, "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"}},
    ),
    "cache_control, top level": (PLAIN, {**PLAIN, "cache_control": {"type": "ephemeral"}}),
    "functions, function_call": (
        PLAIN,
        {**PLAIN, "functions": [{"name": "lookup"}], "function_call": {"name": "lookup"}},
    ),
    "extra_body member": (PLAIN, {**PLAIN, "extra_body": {"provider_only": 1}}),
}
"""name → (a request without it, the same with it)."""

EFFECTS = ("passed", "translated", "emulated", "refused", "dropped")


def effect(target: str, field: str) -> str:
    """One of EFFECTS, or "lost"."""
    _, having = FIELDS[field]
    made = make(target, having)
    if made.error is not None:
        assert 400 <= made.error.status < 500, made.error
        return "refused"
    plain = _plain(target, field)
    assert plain.error is None, plain.error
    assert made.upstream is not None
    body = made.body
    new = {name for name in body if body[name] != plain.body.get(name)}
    if body == plain.body and made.upstream.headers == plain.upstream.headers:  # type: ignore[union-attr]
        return "dropped" if set(made.dropped) - set(plain.dropped) else "lost"
    if _same(having, body) and not _same(having, plain.body):
        return "passed"
    if field.startswith("response_format") and new & {"tools", "toolConfig"}:
        return "emulated"
    if set(made.dropped) - set(plain.dropped) and not new - {"messages", "contents"}:
        return "dropped"
    return "translated"


@cache
def _plain(target: str, field: str) -> Any:
    return make(target, FIELDS[field][0])


def _same(sent: dict[str, Any], body: dict[str, Any]) -> bool:
    """Whether everything the client sent stands in the provider's request just as it was."""
    extra = sent.get("extra_body", {})
    return all(body.get(name) == value for name, value in {**sent, **extra}.items() if name != "extra_body")


@pytest.mark.parametrize("target", TARGETS)
def test_no_field_is_lost(target: str) -> None:
    lost = [field for field in FIELDS if effect(target, field) == "lost"]
    assert not lost, f"neither sent to {target} nor reported: {lost}"


def test_every_member_of_openais_request_is_in_the_table() -> None:
    """An upgrade of OpenAI's SDK that brings new ones fails this."""
    known = {"messages", "model", "stream", "stream_options", "top_logprobs"}
    known |= {field.partition(":")[0] for field in FIELDS} | {"functions", "function_call"}
    assert CompletionCreateParamsBase.__annotations__.keys() <= known


def test_the_table_is_current() -> None:
    text = table()
    if UPDATE:
        DOC.write_text(text)
    assert DOC.read_text() == text, "run GOLDEN=update pytest tests/golden and read the diff"


def table() -> str:
    """docs/fidelity.md."""
    marks = {"passed": "=", "translated": "✓", "emulated": "≈", "refused": "✗ 400", "dropped": "– reported"}
    lines = [
        "# What becomes of a request field",
        "",
        "Found out by the tests (`tests/golden/test_fidelity.py`), which send each field to each provider "
        "and compare; not",
        "written by hand. The client speaks OpenAI's chat API.",
        "",
        "`=` passed as it is · `✓` translated into the provider's own field · `≈` emulated (through a "
        "tool) · `✗ 400` refused with",
        "a clear error · `– reported` the provider has no such thing: left out, and named in the "
        "`X-Kong-AI-Dropped` response",
        "header (with `log_statistics`) and in the debug log. Nothing is left out silently.",
        "",
        "| field | " + " | ".join(TARGETS) + " |",
        "|---" * (len(TARGETS) + 1) + "|",
    ]
    for field in FIELDS:
        cells = [marks.get(effect(target, field), "LOST") for target in TARGETS]
        lines.append(f"| {field} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *own_choices(), "", *citations()]) + "\n"


CLAUDES = (
    "claude-3-haiku-20240307", "claude-3-5-haiku-20241022", "claude-3-7-sonnet-20250219",
    "claude-sonnet-4-20250514", "claude-sonnet-4-5", "claude-opus-4-6", "claude-opus-4-8", "claude-opus-5",
    "my-deployment",
)  # fmt: skip


def own_choices() -> list[str]:
    """Numbers that no provider's documentation gives and that the gateway must choose: Claude's."""
    lines = [
        "## What the gateway chooses for Claude",
        "",
        "Messages demands `max_tokens`, and older models think by a budget of tokens; OpenAI's API has "
        "neither a limit that must",
        "be named nor budgets. Where a request (or `model.options.max_tokens`) says nothing, these go out. "
        "They are this project's",
        "own choice, not Anthropic's. Adaptive models get no budget: the effort goes out as "
        "`output_config.effort`.",
        "",
        "| model | `max_tokens` | with `reasoning_effort: low` | `medium` | `high` |",
        "|---|---|---|---|---|",
    ]
    for name in CLAUDES:
        cells = [str(make("anthropic", PLAIN, name=name).body["max_tokens"])]
        for effort in ("low", "medium", "high"):
            body = make("anthropic", {**PLAIN, "reasoning_effort": effort}, name=name).body
            cells.append(_thinking(body))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


PAGE = {"url": "https://a.example/x", "title": "A page", "start_index": 0, "end_index": 5}
CITING: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "openai": ("Chat Completions", ("choices", 0, "message", "annotations", 0)),
    "responses": ("Responses", ("output", 0, "content", 0, "annotations", 0)),
    "anthropic": ("Messages", ("content", 0, "citations", 0)),
    "bedrock": (
        "Converse",
        ("output", "message", "content", 1, "citationsContent", "citations", 0),
    ),
    "gemini": ("generateContent", ("candidates", 0, "groundingMetadata")),
}


def citations() -> list[str]:
    """How clients are told of web pages that an answer cites."""
    lines = [
        "## Web pages that an answer cites",
        "",
        "Every provider's citations of web pages (Anthropic's and Bedrock's web search, Gemini's grounding, "
        "Cohere's documents and",
        "tool results with a `url`, OpenAI's and OpenRouter's annotations) become OpenAI's `url_citation`, "
        "and from there what the",
        "client's own API has for them, in whole answers and streams alike. `citations` and "
        "`search_results` beside the choices (xAI,",
        "Perplexity) stay where they are for OpenAI's clients; others are told of them as of pages for no "
        "part of the text.",
        "Citations without a URL (pages of a document) are in `provider_specific_fields.citations` for "
        "OpenAI's clients, and for nobody",
        "else. Where bytes pass through, they are untouched.",
        "",
        "| client's API | a page that is cited for the text's first five characters |",
        "|---|---|",
    ]
    message = {
        "role": "assistant",
        "content": "Hello world",
        "annotations": [{"type": "url_citation", "url_citation": PAGE}],
    }
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    for name, (title, path) in CITING.items():
        found: Any = client_format(name).response(answer, make_call("openai", "m"))
        for step in path:
            found = found[step]
        lines.append(f"| {title} | `{json.dumps(found)}` |")
    return lines


def _thinking(body: dict[str, Any]) -> str:
    thinking = body.get("thinking", {})
    if budget := thinking.get("budget_tokens"):
        return f"budget {budget}, `max_tokens` {body['max_tokens']}"
    if effort := body.get("output_config", {}).get("effort"):
        return f"effort {effort}"
    return "– reported"


def test_every_effect_occurs() -> None:
    """The table would be worthless if it could only ever say one thing."""
    targets = ("anthropic", "openai", "bedrock", "ollama")
    found = {effect(target, field) for target in targets for field in FIELDS}
    assert {"passed", "translated", "refused", "dropped"} <= found


def test_the_conversation_is_valid_json() -> None:
    assert Path(HERE / "conversation.json").exists()
    assert json.loads((HERE / "conversation.json").read_text())["messages"]
