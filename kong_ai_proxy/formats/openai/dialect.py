"""What sets an OpenAI-compatible provider apart from OpenAI, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

FINISH_REASONS: Final[dict[str, str]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "function_call": "function_call",
    # Azure-hosted DeepSeek (recorded under azure/chat-tools*).
    "tool_call": "tool_calls",
    # TGI: https://huggingface.co/docs/text-generation-inference/reference/api_reference
    "eos_token": "stop",
    "stop_sequence": "stop",
    # Mistral (https://docs.mistral.ai/api/#tag/chat, finish_reason): cut short in both cases.
    "model_length": "length",
    "error": "length",
    # DeepSeek (https://api-docs.deepseek.com/api/create-chat-completion): interrupted, so not complete.
    "insufficient_system_resource": "length",
    # Together AI: https://docs.together.ai/reference/chat-completions-1.
    "eos": "stop",
    # vLLM (vllm/v1/engine: FinishReason) and SGLang: given up on the way.
    "abort": "length",
    # Zhipu's GLM: https://docs.bigmodel.cn/api-reference; also "network_error".
    "sensitive": "content_filter",
    "network_error": "length",
    # xAI's own words, of its gRPC API, without their prefix (xai_sdk: sample_pb2.FinishReason).
    "reason_stop": "stop",
    "reason_max_len": "length",
    "reason_max_context": "length",
    "reason_tool_calls": "tool_calls",
    "reason_time_limit": "length",
    # Other vendors' words that compatible gateways let through, in lower case.
    "end_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "blocklist": "content_filter",
    "prohibited_content": "content_filter",
    "spii": "content_filter",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "error_limit": "length",
    "error_toxic": "content_filter",
    "timeout": "length",
}
"""Any provider's word → OpenAI's; a word in capitals as the same in lower case. One that is not here counts
as "stop"."""

NO_REASONS: Final = frozenset({"", "null"})
"""Finish reasons that are none: the answer goes on. DashScope's own API has the word
(recordings dashscope/native-generation-stream)."""

SERVICE_TIERS: Final = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})
"""The tiers OpenAI's answers can name. Another provider's own word goes to `native_service_tier`."""

EXTENSIONS: Final = frozenset(
    {
        "reasoning_content",
        "reasoning",
        "thinking_blocks",
        "provider_specific_fields",
        "extra_content",
    }
)
"""Members of a message that are not OpenAI's (`kong_ai_proxy.formats`): a provider sees those it knows."""

ANSWER_MEMBERS: Final = frozenset({"refusal", "annotations", "audio", "function_call"})
"""Members of OpenAI's answers that a client hands back with the answer, and that OpenAI reads."""


FOREIGN: Final = frozenset(
    {"cache_control", "cachedContent", "generationConfig", "guardrailConfig", "labels", "safetySettings"}
)
"""Top-level request fields of Gemini's, Bedrock's and Anthropic's own, that a client may send for one of
these targets; whoever speaks OpenAI's form answers them with an error, or passes over them."""


@dataclass(frozen=True, eq=False)
class Refusal:
    """Models that answer some request fields with an error."""

    models: str
    """A regular expression for their names, without a vendor's prefix."""
    fields: Mapping[str, Any]
    """Field → the one value they do take; None where there is none."""


@dataclass(frozen=True, eq=False)
class Dialect:
    """The accent of one provider. The default is OpenAI's own speech."""

    name: str
    stream_options: bool = True
    """Takes `stream_options`. Where not, usage comes without asking, or never."""
    token_limit: str | None = None
    """The one name it has for the limit of output tokens; None where it takes `max_tokens` and
    `max_completion_tokens`."""
    reasoning_models: tuple[str, ...] = ()
    """Prefixes of the models that take `max_completion_tokens` only."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Top-level request fields under another name here."""
    rejected: frozenset[str] = frozenset()
    """Top-level request fields this provider answers with an error: dropped, and reported as dropped."""
    values: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    """Top-level request field → value of OpenAI's → the one that means it here; None: dropped, and reported.
    """
    refusals: tuple[Refusal, ...] = ()
    """The same for some of its models."""
    known: frozenset[str] = frozenset()
    """Of `EXTENSIONS` and `ANSWER_MEMBERS`, what this provider reads in messages."""
    message_members: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By role: all that a message may have, where anything else is answered with an error."""
    short_ids: bool = False
    """Wants tool calls' ids to be nine letters and digits."""
    needs_parameters: bool = False
    """Refuses a function without `parameters`."""
    allowed_tools: bool = False
    """Takes a `tool_choice` of type "allowed_tools". Where not, it gets no other tools than the allowed."""
    cache_control: bool = False
    """Reads `cache_control` on messages, parts and tools."""
    reasoning_field: str | None = None
    """The member of an assistant message under which it takes earlier reasoning back."""
    thinking_parts: bool = False
    """Takes earlier reasoning back as a `thinking` part of the content (Mistral)."""
    signed_parts: bool = False
    """Takes signed `thinking_blocks` back as `reasoning` parts of the content (Claude at Databricks)."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """Message roles that have another name here."""
    reasoning_is_extra: bool = False
    """Reports reasoning tokens beside `completion_tokens`, not within."""

    @cached_property
    def foreign(self) -> frozenset[str]:
        """Of `EXTENSIONS` and `ANSWER_MEMBERS`, what this provider does not know."""
        return (EXTENSIONS | ANSWER_MEMBERS) - self.known


_REASONING_MODELS: Final = ("o1", "o3", "o4", "gpt-5")

COMPATIBLE: Final = Dialect(
    "openai",
    reasoning_models=_REASONING_MODELS,
    known=ANSWER_MEMBERS,
    allowed_tools=True,
)
"""Whoever is called as OpenAI without being it (`upstream_url`): nothing is held back from them."""

OPENAI: Final = replace(
    COMPATIBLE,
    refusals=(
        # The same models and fields as https://learn.microsoft.com/azure/ai-foundry/openai/how-to/reasoning
        # ("Not supported"), which OpenAI's own reference leaves to https://platform.openai.com/docs/guides/reasoning.
        # From gpt-5.1 on, models that are told not to reason take sampling parameters again
        # (https://platform.openai.com/docs/guides/latest-model), so nothing is held back from those.
        Refusal(
            r"(o1|o3|o4|gpt-5)(?!-chat)([-:].*)?",
            {
                "temperature": 1,
                "top_p": 1,
                "presence_penalty": 0,
                "frequency_penalty": 0,
                "logprobs": False,
                "top_logprobs": None,
                "logit_bias": {},
            },
        ),
        # https://platform.openai.com/docs/api-reference/chat/create (`stop`); recording openai/chat/009.
        Refusal(r"(o3|o4-mini|o1-mini)(-\d{4}.*|:.*)?", {"stop": None}),
    ),
    # https://platform.openai.com/docs/api-reference/chat/create knows no such parameter.
    rejected=frozenset({"top_k"}),
)
"""OpenAI itself."""
