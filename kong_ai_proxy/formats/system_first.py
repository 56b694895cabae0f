"""One system message, at the beginning: for providers whose models know no other.

Coding agents put instructions into the middle of a conversation, or several of them before it: Claude Code
a `system` message after the user's, Codex two `developer` messages. Claude and OpenAI's own models take that.
Chat templates of many open models refuse it ("System message must be at the beginning."), and so does Mistral
a conversation that ends with one.

Sources: https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages;
https://github.com/anthropics/claude-code/issues/77698 (llama.cpp with Qwen's template);
https://docs.mistral.ai/api/ (the last message is a user's or a tool's); https://docs.x.ai/docs/guides/chat
(any order of roles).
"""

from __future__ import annotations

from typing import Any, Final

from ..core.json import Json

_ANYWHERE: Final = frozenset({"openai", "azure", "xai", "anthropic", "bedrock", "gemini"})
"""Providers that take system messages anywhere, or whose adapters gather them."""
_ROLES: Final = frozenset({"system", "developer"})
_OPENED, _CLOSED = "<system-reminder>\n", "\n</system-reminder>"
"""How Claude Code itself marks instructions that it puts into a user's message."""


def system_first(messages: list[Json], provider: str) -> list[Json]:
    """The same messages, for this provider: the system's at the beginning as one, later ones as part of the
    user's message before them, or as one of their own. May give back the list itself."""
    if provider in _ANYWHERE:
        return messages
    places = [place for place, message in enumerate(messages) if message.get("role") in _ROLES]
    if not places or (places == [0] and messages[0]["role"] == "system"):
        return messages
    out: list[Json] = []
    for message in messages:
        if message.get("role") not in _ROLES:
            out.append(message)
        elif not out:
            out.append({**message, "role": "system"})
        elif len(out) == 1 and out[0]["role"] == "system":
            out[0] = {**out[0], "content": _joined(out[0].get("content"), message.get("content"))}
        else:
            said = _reminder(message.get("content"))
            if out[-1].get("role") == "user":
                out[-1] = {**out[-1], "content": _joined(out[-1].get("content"), said)}
            else:
                out.append({"role": "user", "content": said})
    return out


def _joined(first: Any, second: Any) -> Any:
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}" if first and second else first or second
    return [*_parts(first), *_parts(second)]


def _parts(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content if isinstance(content, list) else []


def _reminder(content: Any) -> Any:
    if isinstance(content, str):
        return f"{_OPENED}{content}{_CLOSED}"
    return [{"type": "text", "text": _OPENED}, *_parts(content), {"type": "text", "text": _CLOSED}]
