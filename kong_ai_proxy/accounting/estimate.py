"""Token counts where a provider reports none: from bytes, as Kong's own byte-based tokenizer has it
(3.14)."""

from __future__ import annotations

from typing import Any, Final

from ..core.call import Call
from ..core.json import Json
from ..core.usage import Usage, UsageSource

BYTES_PER_TOKEN: Final = 4
"""English text has about four bytes a token: https://platform.openai.com/tokenizer."""

_PROMPT_MEMBERS: Final = ("messages", "system", "prompt", "input", "contents", "inputs", "tools")
_TEXT_MEMBERS: Final = frozenset(
    {
        "content",
        "text",
        "system",
        "parts",
        "name",
        "arguments",
        "input",
        "thinking",
        "reasoning_content",
        "inputs",
    }
    | {"function", "tool_calls", "description", "parameters", "input_schema", "properties", "refusal"}
)
"""Members that a model reads as text. Images, audio and files are not counted by their base64 bytes."""


def estimate(body: Json, call: Call, *, partial: bool = False) -> None:
    """Fill `call.usage` from the client's body and what was answered, and mark it as an estimate (or
    partial)."""
    prompt = 0
    for member in _PROMPT_MEMBERS:
        if member in body:
            prompt += _text_bytes(body[member])
    call.usage = Usage(
        prompt_tokens=_tokens(prompt),
        completion_tokens=_tokens(call.output_bytes),
        source=UsageSource.PARTIAL if partial else UsageSource.ESTIMATED,
    )


def _tokens(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)


def _text_bytes(value: Any) -> int:
    """Bytes of text in a prompt member, however it nests."""
    total = 0
    open_values = [value]
    while open_values:
        value = open_values.pop()
        if isinstance(value, str):
            total += len(value) if value.isascii() else len(value.encode("utf-8", "replace"))
        elif isinstance(value, list):
            open_values.extend(value)
        elif isinstance(value, dict):
            open_values.extend(member for name, member in value.items() if name in _TEXT_MEMBERS)
    return total
