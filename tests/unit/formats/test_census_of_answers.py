"""Each member, event and value that providers' SDKs know of in answers has its treatment here.

An SDK's upgrade that brings new ones fails `test_nothing_is_unheard_of`: look at what reads such an answer,
then enter it. `*` stands for any member. Examples of all of them, made from the types themselves, go through
what reads the real ones: into every client format, split anywhere.

Types: openai, cohere and huggingface_hub are in the test extra; those of other SDKs are checked where they
are installed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import pytest
from census_support import example, examples, fields, kinds, literals, names, unlisted
from openai_support import adapter_for, make_call

from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError, BadRequest
from kong_ai_proxy.core.rest import RestApi
from kong_ai_proxy.core.usage import UsageSource
from kong_ai_proxy.exchange.chunks import chunks_of, whole_of
from kong_ai_proxy.formats import client_format
from kong_ai_proxy.formats.cohere import CHAT_V1, CHAT_V2, GENERATE
from kong_ai_proxy.formats.cohere.common import FINISH_REASONS as COHERE_REASONS
from kong_ai_proxy.formats.huggingface import TEXT_CHAT
from kong_ai_proxy.formats.huggingface.generation import FINISH_REASONS as TGI_REASONS
from kong_ai_proxy.formats.openai.dialect import FINISH_REASONS, SERVICE_TIERS
from kong_ai_proxy.formats.openai.rest import INCOMPLETE, RestReader
from kong_ai_proxy.formats.passing import PassedEvents
from kong_ai_proxy.formats.responses.request import chat_request

TOLD: Final = "the client is told, in its own form's words"
KEPT: Final = "stays where it is for clients of OpenAI's form; other formats have no place for it"
MADE: Final = "made anew in the client's form"
READ: Final = "read on the way, for usage and the log record"
PASSES: Final = "passes; nothing in it bears on usage or the end"
ENDS: Final = "passes; it is the answer's end"
NONE: Final = "says nothing that is not said elsewhere"
OWN: Final = "in `provider_specific_fields`"

_LOGPROBS: Final = {
    "Choice*Logprobs.*": KEPT, "ChatCompletionTokenLogprob.*": KEPT, "TopLogprob.*": KEPT, "*Logprob.*": KEPT,
}  # fmt: skip
_COUNTED: Final = (
    "accepted_prediction_tokens", "audio_tokens", "cache_write_tokens", "cached_tokens", "completion_tokens",
    "image_tokens", "input_tokens", "output_tokens", "prompt_tokens", "reasoning_tokens",
    "rejected_prediction_tokens", "text_tokens", "total_tokens",
)  # fmt: skip
_DETAILS: Final = (
    "completion_tokens_details", "prompt_tokens_details", "input_tokens_details", "output_tokens_details",
)
_USAGE: Final = {
    f"{cls}.{name}": READ
    for cls in ("*Usage", "*TokensDetails")
    for name in (*_COUNTED, *_DETAILS)
}
_CHAT: Final = {
    "ChatCompletion.id": TOLD, "ChatCompletion.model": TOLD, "ChatCompletion.created": TOLD,
    "ChatCompletion.object*": MADE, "ChatCompletion.choices": TOLD, "ChatCompletion.usage": READ,
    "ChatCompletion.system_fingerprint": KEPT,
    **{f"ChatCompletion*.service_tier{value}": READ for value in (
        "", "=auto", "=default", "=fast", "=flex", "=priority", "=scale")},
    **{f"Choice.finish_reason{value}": TOLD for value in (
        "", "=stop", "=length", "=tool_calls", "=content_filter", "=function_call")},
    "Choice.index": TOLD, "Choice.message": TOLD, "Choice.delta": TOLD, "Choice.logprobs": KEPT,
    **_LOGPROBS,
    **{f"*.{name}": TOLD for name in ("content", "refusal", "tool_calls", "function_call")},
    **{f"ChoiceDelta.role{value}": NONE for value in ("", "=assistant", "=developer", "=system", "=user")},
    "ChoiceDelta.role=tool": "what such a delta says is a tool's word, and left out",
    "ChatCompletionMessage.role*": NONE,
    "ChatCompletionMessage.annotations": TOLD, "Annotation.*": TOLD, "AnnotationURLCitation.*": TOLD,
    "*.audio": KEPT, "ChatCompletionAudio.*": KEPT, "ChoiceDeltaAudio.*": KEPT,
    **{f"*ToolCall.{name}": TOLD for name in ("id", "index", "type", "type=function", "function")},
    **{f"*Function*.{name}": TOLD for name in ("name", "arguments")},
    "ChatCompletionMessageCustomToolCall.type=custom": KEPT, "*.custom": KEPT, "Custom.*": KEPT,
    **_USAGE,
}  # fmt: skip
OPENAI: Final = {
    **_CHAT,
    "ChatCompletion.metadata": KEPT, "ChatCompletion*.moderation": KEPT, "Moderation*": KEPT,
    **{f"ChatCompletionChunk.{name}": TOLD for name in ("choices", "created", "id", "model")},
    "ChatCompletionChunk.object*": MADE, "ChatCompletionChunk.usage": READ,
    "ChatCompletionChunk.system_fingerprint": KEPT, "ChatCompletionChunk.obfuscation": KEPT,
    **{f"Completion.{name}": TOLD for name in ("choices", "created", "id", "model")},
    "Completion.object*": MADE, "Completion.usage": READ, "Completion.system_fingerprint": KEPT,
    "CompletionChoice.*": TOLD, "Logprobs.*": KEPT,
    "CreateEmbeddingResponse.*": TOLD, "Embedding.*": TOLD, "Usage.*": READ,
    "InputTokensDetails.cache_write_tokens_details": READ,
    **{f"InputTokensDetailsCacheWriteTokensDetails.ttl_{ttl}_tokens": READ for ttl in ("30m", "12h")},
}  # fmt: skip
RESPONSE_EVENTS: Final = {
    **dict.fromkeys(
        ("response.completed", "response.incomplete", "response.failed", "error"), ENDS
    ),
    **dict.fromkeys(
        (
            "response.created", "response.in_progress", "response.queued",
            "response.output_item.added", "response.output_item.done",
            "response.content_part.added", "response.content_part.done",
            "response.output_text.delta", "response.output_text.done",
            "response.output_text.annotation.added", "response.refusal.delta", "response.refusal.done",
            "response.reasoning_text.delta", "response.reasoning_text.done",
            "response.reasoning_summary_part.added", "response.reasoning_summary_part.done",
            "response.reasoning_summary_text.delta", "response.reasoning_summary_text.done",
            "response.function_call_arguments.delta", "response.function_call_arguments.done",
            "response.custom_tool_call_input.delta", "response.custom_tool_call_input.done",
            "response.audio.delta", "response.audio.done",
            "response.audio.transcript.delta", "response.audio.transcript.done",
            "response.code_interpreter_call_code.delta", "response.code_interpreter_call_code.done",
            "response.code_interpreter_call.*", "response.file_search_call.*", "response.web_search_call.*",
            "response.image_generation_call.*", "response.mcp_call.*", "response.mcp_call_arguments.*",
            "response.mcp_list_tools.*", "response.shell_call_command.*",
            "response.shell_call_output_content.*", "response.compaction.compacting",
        ),
        PASSES,
    ),
}  # fmt: skip
RESPONSE_ITEMS: Final = {
    **dict.fromkeys(("message", "reasoning", "function_call", "custom_tool_call"), MADE + ", or " + PASSES),
    **dict.fromkeys(
        (
            "additional_tools", "apply_patch_call", "apply_patch_call_output", "code_interpreter_call",
            "compaction", "computer_call", "computer_call_output", "custom_tool_call_output",
            "file_search_call", "function_call_output", "image_generation_call", "local_shell_call",
            "local_shell_call_output", "mcp_approval_request", "mcp_approval_response", "mcp_call",
            "mcp_list_tools", "program", "program_output", "shell_call", "shell_call_output",
            "tool_search_call", "tool_search_output", "web_search_call",
        ),
        PASSES,
    ),
}  # fmt: skip
COHERE: Final = {
    "V2ChatResponse.id": TOLD, "V2ChatResponse.message": TOLD, "V2ChatResponse.usage": READ,
    "V2ChatResponse.logprobs": OWN, "LogprobItem.*": OWN,
    **{f"*.finish_reason{value}": TOLD for value in (
        "", "=COMPLETE", "=STOP_SEQUENCE", "=MAX_TOKENS", "=TOOL_CALL", "=ERROR", "=TIMEOUT", "=ERROR_LIMIT",
        "=ERROR_TOXIC", "=USER_CANCEL")},
    "AssistantMessageResponse.role*": NONE, "AssistantMessageResponse.content": TOLD,
    "AssistantMessageResponse.tool_calls": TOLD,
    "AssistantMessageResponse.tool_plan": "reasoning; and " + OWN,
    "AssistantMessageResponse.citations": "annotations where they have a URL; and " + OWN,
    "TextAssistantMessageResponseContentItem.*": TOLD,
    "ThinkingAssistantMessageResponseContentItem.*": "reasoning",
    "Citation.*": OWN, "*Source.*": OWN, "ToolCallV2*.*": TOLD,
    "Usage.billed_units": READ, "Usage.tokens": READ, "Usage.cached_tokens": READ,
    "*BilledUnits.input_tokens": READ, "*BilledUnits.output_tokens": READ, "*Tokens.*put_tokens": READ,
    "*BilledUnits.search_units": NONE, "*BilledUnits.classifications": NONE,
    "ApiMetaBilledUnits.images": NONE, "ApiMetaBilledUnits.image_tokens": READ,
    "ApiMetaBilledUnits.text_tokens": NONE, "ApiMetaBilledUnits.pages": NONE,
    "ApiMeta.*": READ, "ApiMetaApiVersion.*": NONE,
    "NonStreamedChatResponse.text": TOLD, "NonStreamedChatResponse.*_id": TOLD,
    "NonStreamedChatResponse.tool_calls": TOLD, "NonStreamedChatResponse.meta": READ,
    **{f"NonStreamedChatResponse.{name}": OWN for name in (
        "citations", "documents", "search_queries", "search_results")},
    "NonStreamedChatResponse.is_search_required": NONE, "NonStreamedChatResponse.chat_history": NONE,
    "ChatCitation.*": OWN, "ChatSearch*.*": OWN, "ToolCall.*": TOLD, "Tool.*": NONE, "ToolResult.*": NONE,
    "*Message.*": NONE, "Message.*": NONE,
    "Generation.*": TOLD, "SingleGeneration*.id": NONE, "SingleGeneration*.text": TOLD,
    "SingleGeneration*.index": TOLD, "SingleGeneration*.*likelihood*": NONE,
    "SingleGenerationTokenLikelihoodsItem.token": NONE,
}  # fmt: skip
COHERE_V2_EVENTS: Final = {
    "message-start": TOLD, "content-start": TOLD, "content-delta": TOLD, "content-end": NONE,
    "tool-plan-delta": "reasoning; and " + OWN, "tool-call-start": TOLD, "tool-call-delta": TOLD,
    "tool-call-end": NONE, "citation-start": OWN, "citation-end": NONE, "message-end": TOLD, "debug": NONE,
}  # fmt: skip
COHERE_V1_EVENTS: Final = {
    "stream-start": TOLD, "text-generation": TOLD,
    "tool-calls-chunk": "its text is told, its calls come whole",
    "tool-calls-generation": TOLD, "stream-end": TOLD, "search-queries-generation": NONE,
    "search-results": NONE, "citation-generation": NONE, "debug": NONE,
}  # fmt: skip
COHERE_GENERATE_EVENTS: Final = {"text-generation": TOLD, "stream-end": TOLD, "stream-error": "an error"}
HUGGINGFACE: Final = {
    **{f"ChatCompletion*Output.{name}": TOLD for name in ("id", "model", "created", "choices")},
    "ChatCompletion*Output.usage": READ,
    "ChatCompletion*Output.system_fingerprint": KEPT,
    "ChatCompletionOutputComplete.*": TOLD, "ChatCompletionStreamOutputChoice.*": TOLD,
    **{f"ChatCompletion*Output{part}.{name}": treatment
       for part in ("Message", "Delta")
       for name, treatment in (("content", TOLD), ("reasoning", TOLD), ("tool_calls", TOLD), ("role", NONE),
                               ("tool_call_id", KEPT))},
    "ChatCompletion*ToolCall.*": TOLD, "ChatCompletion*Function*.*": TOLD, "ChatCompletion*Usage.*": READ,
    "ChatCompletion*Logprob*.*": KEPT,
    "TextGeneration*Output.generated_text": TOLD, "TextGeneration*Output.details": READ,
    "TextGeneration*Details.generated_tokens": READ, "TextGeneration*Details.input_length": READ,
    "TextGeneration*Details.prefill": READ, "TextGenerationOutputPrefillToken.*": READ,
    **{f"*.finish_reason{value}": TOLD for value in ("", "=length", "=eos_token", "=stop_sequence")},
    "TextGenerationStreamOutput.token": TOLD, "TextGenerationStreamOutputToken.text": TOLD,
    "TextGenerationStreamOutputToken.special": "such a token is not told",
    "TextGeneration*Token.*": NONE, "TextGenerationStreamOutput.index": NONE,
    **{f"TextGeneration*.{name}": NONE for name in ("top_tokens", "seed", "tokens", "best_of_sequences")},
    "TextGenerationOutputBestOfSequence.*": NONE,
}  # fmt: skip
MISTRAL: Final = {
    **{f"{cls}.{name}": TOLD for cls in ("ChatCompletionResponse", "CompletionChunk") for name in (
        "id", "model", "created", "choices")},
    "ChatCompletionResponse.object": MADE, "CompletionChunk.object": MADE,
    "ChatCompletionResponse.usage": READ, "CompletionChunk.usage": READ, "UsageInfo.*_tokens": READ,
    "UsageInfo.service_tier": READ, "UsageInfo.prompt_audio_seconds": KEPT,
    **{f"*.finish_reason{value}": TOLD for value in (
        "", "=stop", "=length", "=model_length", "=error", "=tool_calls")},
    "ChatCompletionChoice.message": TOLD, "ChatCompletionChoice.messages": "the assistant's, as one",
    "*Choice.index": TOLD, "*Choice.delta": TOLD, "*Choice.*logprobs": KEPT,
    "ChatCompletionResponse*Logprobs*.*": KEPT,
    "AssistantMessage.content": TOLD, "AssistantMessage.tool_calls": TOLD, "AssistantMessage.role*": NONE,
    "AssistantMessage.prefix": NONE,
    "DeltaMessage.content": TOLD, "DeltaMessage.tool_calls": TOLD,
    "DeltaMessage.role": "a tool's word is left out",
    "DeltaMessage.tool_call_id": KEPT, "DeltaMessage.index": KEPT, "DeltaMessage.metadata": KEPT,
    "TextChunk.*": TOLD, "ThinkChunk.thinking": "reasoning", "ThinkChunk.type*": NONE,
    "ThinkChunk.closed": NONE,
    "ThinkChunk.signature": "not handed back: earlier reasoning goes back unsigned",
    "ReferenceChunk.*": OWN, "ToolReferenceChunk.*": OWN, "ImageURL*.*": OWN, "DocumentURLChunk.*": OWN,
    "FileChunk.*": OWN, "AudioChunk.*": OWN, "Resource*Chunk.*": OWN, "Unknown*.*": OWN,
    "ToolCall.*": TOLD, "FunctionCall.*": TOLD,
}  # fmt: skip
GROQ: Final = {
    **_CHAT,
    **{f"ChatCompletion.service_tier={value}": READ for value in ("on_demand", "performance")},
    **{f"ChatCompletionChunk.{name}": TOLD for name in ("choices", "created", "id", "model")},
    "ChatCompletionChunk.object*": MADE, "ChatCompletionChunk.usage": READ, "*.reasoning": "reasoning",
    "*.system_fingerprint": KEPT, "*.annotations": KEPT, "Annotation*.*": KEPT, "ExecutedTool*.*": KEPT,
    "*.executed_tools": KEPT, "*.mcp_list_tools": KEPT, "McpListTool*.*": KEPT, "*.usage_breakdown": KEPT,
    "UsageBreakdown*.*": KEPT, "*.x_groq": KEPT, "XGroq.usage": READ, "XGroq.error": "an error",
    "XGroq*.*": KEPT, "CompletionUsage.*_time": KEPT,
}  # fmt: skip
CEREBRAS: Final = {
    **{f"Chat*Response.{name}": TOLD for name in ("choices", "created", "id", "model")},
    "Chat*Response.object*": MADE, "Chat*Response.usage": READ, **_USAGE,
    "Chat*Response.system_fingerprint": KEPT, "Chat*Response.service_tier": READ, "Chat*.time_info": KEPT,
    "Chat*TimeInfo.*": KEPT, "Chat*logprobs": KEPT, "Chat*Logprobs*.*": KEPT,
    **{f"Chat*Choice.finish_reason{value}": TOLD for value in (
        "", "=stop", "=length", "=content_filter", "=tool_calls")},
    "Chat*Choice.index": TOLD, "Chat*Choice.message": TOLD, "Chat*Choice.delta": TOLD, "*.text": KEPT,
    "*.tokens": KEPT, "*.role*": NONE, "*.content": TOLD, "*.reasoning": "reasoning", "*.tool_calls": TOLD,
    **{f"Chat*ToolCall.{name}": TOLD for name in ("id", "index", "type", "type=function", "function")},
    **{f"Chat*ToolCallFunction.{name}": TOLD for name in ("name", "arguments")},
    "ErrorChunkResponse*.*": "an error",
}  # fmt: skip
OLLAMA: Final = {
    "ChatResponse.message": TOLD, "*.model": TOLD, "*.created_at": TOLD, "*.done": TOLD,
    "*.done_reason": TOLD,
    "*.prompt_eval_count": READ, "*.eval_count": READ, "*_duration": NONE,
    "*.logprobs": TOLD, "*Logprob.*": TOLD,
    "Message.content": TOLD, "Message.thinking": "reasoning", "Message.tool_calls": TOLD, "ToolCall.*": TOLD,
    "Function.*": TOLD, "Message.role": NONE, "Message.images": NONE, "Image.*": NONE,
    "Message.tool_name": NONE,
    "GenerateResponse.response": TOLD, "GenerateResponse.context": NONE,
    "GenerateResponse.thinking": "a text completion has no place for it", "GenerateResponse.image": NONE,
    "GenerateResponse.completed": NONE, "GenerateResponse.total": NONE,
}  # fmt: skip


def _types(path: str) -> Any:
    """`module:name`; skips where the SDK is not installed."""
    module, _, name = path.partition(":")
    if module.partition(".")[0] in ("openai", "cohere", "huggingface_hub"):
        return getattr(import_module(module), name)
    found = pytest.importorskip(module)
    if not hasattr(found, name):
        pytest.skip(f"another {module} than the SDK")  # a folder of that name is a package, too
    return getattr(found, name)


CENSUS: Final[dict[str, tuple[dict[str, str], list[str]]]] = {
    "openai": (
        OPENAI,
        [
            "openai.types.chat:ChatCompletion",
            "openai.types.chat:ChatCompletionChunk",
            "openai.types:Completion",
            "openai.types:CreateEmbeddingResponse",
            "openai.types.responses:ResponseUsage",
        ],
    ),
    "cohere": (
        COHERE,
        [
            "cohere.v2.types.v2chat_response:V2ChatResponse",
            "cohere.types:NonStreamedChatResponse",
            "cohere:Generation",
        ],
    ),
    "huggingface": (
        HUGGINGFACE,
        [
            "huggingface_hub:ChatCompletionOutput",
            "huggingface_hub:ChatCompletionStreamOutput",
            "huggingface_hub:TextGenerationOutput",
            "huggingface_hub:TextGenerationStreamOutput",
        ],
    ),
    "mistral": (
        MISTRAL,
        ["mistralai.client.models:ChatCompletionResponse", "mistralai.client.models:CompletionChunk"],
    ),
    "groq": (GROQ, ["groq.types.chat:ChatCompletion", "groq.types.chat:ChatCompletionChunk"]),
    "cerebras": (CEREBRAS, ["cerebras.cloud.sdk.types.chat.chat_completion:ChatCompletion"]),
    "ollama": (OLLAMA, ["ollama:ChatResponse", "ollama:GenerateResponse"]),
}
UNIONS: Final = {
    "responses, events": (RESPONSE_EVENTS, "openai.types.responses:ResponseStreamEvent", "type"),
    "responses, items": (RESPONSE_ITEMS, "openai.types.responses:ResponseOutputItem", "type"),
    "cohere, v2": (
        COHERE_V2_EVENTS,
        "cohere.v2.types.v2chat_stream_response:V2ChatStreamResponse",
        "type",
    ),
    "cohere, v1": (COHERE_V1_EVENTS, "cohere.types:StreamedChatResponse", "event_type"),
    "cohere, generate": (COHERE_GENERATE_EVENTS, "cohere.types:GenerateStreamedResponse", "event_type"),
}


@pytest.mark.parametrize("sdk", CENSUS)
def test_nothing_is_unheard_of(sdk: str) -> None:
    table, paths = CENSUS[sdk]
    assert unlisted(names(*map(_types, paths)), table) == []


@pytest.mark.parametrize("union", UNIONS)
def test_no_event_or_item_is_unheard_of(union: str) -> None:
    table, path, discriminator = UNIONS[union]
    found = kinds(_types(path), discriminator)
    assert len(found) > 2
    assert unlisted(set(found), table) == []


# What is read of examples.


@pytest.mark.parametrize(
    ("path", "member", "known"),
    [
        ("openai.types.chat.chat_completion:Choice", "finish_reason", FINISH_REASONS),
        ("openai.types:CompletionChoice", "finish_reason", FINISH_REASONS),
        ("openai.types.chat:ChatCompletion", "service_tier", SERVICE_TIERS),
        ("openai.types.responses.response:IncompleteDetails", "reason", INCOMPLETE),
        ("cohere.v2.types.v2chat_response:V2ChatResponse", "finish_reason", COHERE_REASONS),
        ("cohere.types:NonStreamedChatResponse", "finish_reason", COHERE_REASONS),
        ("huggingface_hub:TextGenerationOutputDetails", "finish_reason", TGI_REASONS),
        ("mistralai.client.models:ChatCompletionChoice", "finish_reason", FINISH_REASONS),
        ("together.types.chat.chat_completion:Choice", "finish_reason", FINISH_REASONS),
    ],
)
def test_each_word_has_its_meaning(path: str, member: str, known: Any) -> None:
    assert set(literals(fields(_types(path))[member])) <= set(known)


def _sse(*events: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def _decoded(adapter: Any, call: Any, pieces: list[bytes]) -> list[Any]:
    decoder = adapter.stream(call)
    items = [item for piece in pieces for item in decoder.feed(piece)] + decoder.finish()
    assert not [item for item in items if isinstance(item, ApiError)]
    return items


@pytest.fixture
def same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids that are made up are the same in every run."""
    monkeypatch.setattr(Call, "new_id", lambda call, prefix="chatcmpl-": f"{prefix}1")


@pytest.mark.usefixtures("same_ids")
@pytest.mark.parametrize("form", ["openai", "responses", "anthropic", "bedrock", "gemini"])
@pytest.mark.parametrize("provider", ["vllm", "mistral", "xai"])
def test_an_answer_with_everything(provider: str, form: str) -> None:
    """Whole and streamed, every client hears the text; one of OpenAI's form gets all members."""
    options = {"upstream_url": "https://x.example/v1/chat/completions"}
    whole = example(_types("openai.types.chat:ChatCompletion"))
    part = example(_types("openai.types.chat:ChatCompletionChunk"))
    for body in (whole, part):
        body["choices"][0]["index"] = 0
    part["choices"][0]["finish_reason"] = None
    last = {**part, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}

    def call(stream: bool) -> Any:
        return make_call(provider, options=options, client_format=form, stream=stream, include_usage=True)

    made = adapter_for(asked := call(False)).response(json.loads(json.dumps(whole)), asked)
    assert "x" in json.dumps(client_format(form).response(made, asked))
    assert asked.usage.source is UsageSource.REPORTED
    raw = _sse(part, last)
    once = _decoded(adapter_for(asked), asked := call(True), [raw])
    encoder = client_format(form).stream(asked)
    sent = b"".join(map(encoder.encode, once)) + encoder.finish()
    assert b"x" in sent
    assert asked.usage.total == 1
    assert json.dumps(once) == json.dumps(_decoded(adapter_for(asked), call(True), _pieces(raw, 7)))
    if form == "openai":
        assert whole_of(chunks_of(made)) == made
        assert whole.keys() == made.keys()
        assert whole["choices"][0].keys() == made["choices"][0].keys()
        assert whole["choices"][0]["message"].keys() == made["choices"][0]["message"].keys()
        assert part["choices"][0]["delta"].keys() == once[0]["choices"][0]["delta"].keys()
        assert part.keys() - once[0].keys() == {"usage"}


@pytest.mark.parametrize(
    "path",
    [
        "mistralai.client.models:ChatCompletionResponse",
        "groq.types.chat:ChatCompletion",
        "huggingface_hub:ChatCompletionOutput",
        "cerebras.cloud.sdk.types.chat.chat_completion:ChatCompletionResponse",
    ],
)
def test_an_answer_with_everything_of_another_sdk(path: str) -> None:
    body = example(_types(path))
    made = adapter_for(call := make_call("mistral")).response(body, call)
    message = made["choices"][0]["message"]
    assert (message["content"], call.usage.source) == ("x", UsageSource.REPORTED)
    assert len(message["tool_calls"]) == 1


def test_every_event_of_a_response_passes_whole() -> None:
    found = examples(_types("openai.types.responses:ResponseStreamEvent"))
    for kind, event in {**found, "response.never_heard_of": {"type": "response.never_heard_of"}}.items():
        raw = _sse(event)
        for size in (len(raw), 5):
            call = make_call(stream=True)
            call.operation = "responses"
            reader = RestReader(call, RestApi(metered=True, text=True))
            passed = PassedEvents(reader)
            assert b"".join(map(passed.feed, _pieces(raw, size))) + passed.finish() == raw
            assert passed.complete is (RESPONSE_EVENTS.get(kind) == ENDS), kind
            if kind in ("response.completed", "response.incomplete", "response.failed"):
                usage = reader.call.usage
                assert (usage.total, usage.cached_tokens, usage.reasoning_tokens) == (1, 1, 1)
                assert usage.cache_write_by_ttl in ({}, {"30m": 1, "12h": 1})


def test_every_item_of_a_response_can_come_back() -> None:
    """In a conversation that goes on elsewhere: told, or dropped and reported. References are refused."""
    given = examples(_types("openai.types.responses.response_input_item:ResponseInputItem"))
    for kind, item in {**examples(_types("openai.types.responses:ResponseOutputItem")), **given}.items():
        call = make_call("mistral", client_format="responses")
        body = {"input": [{"role": "user", "content": "hi"}, item]}
        if kind == "item_reference":
            with pytest.raises(BadRequest):
                chat_request(body, call)
            continue
        if kind == "message":
            item["role"] = "user"
        messages = chat_request(body, call)["messages"]
        assert len(messages) > 1 or call.dropped, kind


@pytest.mark.usefixtures("same_ids")
def test_every_event_of_coheres() -> None:
    streams: list[tuple[Any, str, str, Callable[[dict[str, Any]], bytes]]] = [
        (CHAT_V2, "cohere.v2.types.v2chat_stream_response:V2ChatStreamResponse", "message-end", _sse),
        (CHAT_V1, "cohere.types:StreamedChatResponse", "stream-end", _line),
        (GENERATE, "cohere.types:GenerateStreamedResponse", "stream-end", _line),
    ]
    for adapter, path, end, framed in streams:
        found = examples(_types(path), "type" if adapter is CHAT_V2 else "event_type")
        found.pop("stream-error", None)
        last = found.pop(end)
        last.get("delta", {}).pop("error", None)
        raw = b"".join(map(framed, [*found.values(), {"type": "new", "event_type": "new"}, last]))
        whole = _decoded(adapter, make_call("openai", stream=True, created=1), [raw])
        assert "x" in json.dumps(whole)
        if adapter is not GENERATE:
            assert whole[-1]["usage"]["total_tokens"] == 2
        split = _decoded(adapter, make_call("openai", stream=True, created=1), _pieces(raw, 7))
        assert split == whole


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode() + b"\n"


def test_every_member_of_text_generation() -> None:
    call = make_call("huggingface", model="m", stream=True)
    event = example(_types("huggingface_hub:TextGenerationStreamOutput"))
    event["token"]["special"] = False
    token = {**event, "generated_text": None, "details": None}
    items = _decoded(TEXT_CHAT, call, _pieces(_sse(token, event), 7))
    assert [item["choices"][0]["delta"].get("content") for item in items[:-1]] == ["x", "x", None]
    assert call.usage.total == 2
    answer = TEXT_CHAT.response([example(_types("huggingface_hub:TextGenerationOutput"))], call)
    assert answer["choices"][0]["message"]["content"] == "x"
