"""Token counts where a provider reports none: from bytes, as Kong's own tokenizer has it since 3.14."""

from __future__ import annotations

from typing import Any, Final

from ..core.call import Call
from ..core.json import Json, JSONDecodeError, loads
from ..core.usage import UsageSource

BYTES_PER_TOKEN: Final = 4
"""English text has about four bytes a token: https://platform.openai.com/tokenizer."""

_PROMPT_MEMBERS: Final = ("messages", "system", "prompt", "input", "contents", "inputs", "tools")
_ANSWER_MEMBERS: Final = ("choices", "content", "candidates", "output", "message", "generations", "response")
_TEXT_MEMBERS: Final = frozenset({
    "arguments", "content", "description", "function", "input", "input_schema", "inputs", "message", "name",
    "parameters", "parts", "properties", "reasoning", "reasoning_content", "refusal", "system", "text",
    "thinking", "tool_calls",
})  # fmt: skip
"""Members that a model reads or writes as text. Images, audio and files are not counted by their base64."""


def estimate(body: Json, answer: bytes | None, call: Call, *, partial: bool = False) -> None:
    """Fill what `call.usage` lacks from the client's body and the answer, and mark it.

    `answer` is a whole answer of the provider's; of a stream, `call.output_bytes` tells. Where the provider
    reported something before the answer broke off (`partial`), its counts stay and only what is missing is
    estimated: providers report the output last.
    """
    usage = call.usage
    output = call.output_bytes or _answer_bytes(answer)
    if not usage.prompt_tokens:
        prompt = prompt_bytes(body) if call.prompt_bytes is None else call.prompt_bytes
        usage.prompt_tokens = _tokens(prompt)
    usage.completion_tokens = max(usage.completion_tokens, _tokens(output))
    usage.total_tokens = None
    usage.source = UsageSource.PARTIAL if partial else UsageSource.ESTIMATED


def prompt_bytes(body: Json) -> int:
    """Bytes of text in a request's prompt."""
    return sum(_text_bytes(body[name]) for name in _PROMPT_MEMBERS if name in body)


def _tokens(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)


def _answer_bytes(answer: bytes | None) -> int:
    if not answer:
        return 0
    try:
        parsed = loads(answer)
    except JSONDecodeError:
        return 0
    if not isinstance(parsed, dict):
        return 0
    return sum(_text_bytes(parsed[name]) for name in _ANSWER_MEMBERS if name in parsed)


def _text_bytes(value: Any) -> int:
    """Bytes of text, however it nests."""
    total = 0
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            total += len(value) if value.isascii() else len(value.encode("utf-8", "replace"))
        elif isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, dict):
            pending.extend(member for name, member in value.items() if name in _TEXT_MEMBERS)
    return total
