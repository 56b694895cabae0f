"""Gemini's thought signatures, kept by clients that speak Messages.

A function call must return with the signature it came with, or the model thinks anew
(https://ai.google.dev/gemini-api/docs/thought-signatures). Messages has a place for such a thing: a thinking
block, which clients send back unchanged, be its text empty
(https://platform.claude.com/docs/en/build-with-claude/extended-thinking#preserving-thinking-blocks). So it
travels as the signature of the thinking block right before the call, with a mark: no Claude takes it.
"""

from __future__ import annotations

from typing import Any, Final

from ..core.json import Json
from .pivot import obj, text

MARK: Final = "google:"


def marked(extra: Any) -> str:
    """The signature for the thinking block before a call, from its `extra_content`; "": it has none."""
    signature = text(obj(obj(extra).get("google")).get("thought_signature"))
    return MARK + signature if signature else ""


def sign(content: list[Json], extra: Any) -> None:
    """Have the call that comes next in `content` preceded by its signature; in place."""
    signature = marked(extra)
    if not signature:
        return
    last = content[-1] if content else {}
    if last.get("type") == "thinking" and not last.get("signature"):
        content[-1] = {**last, "signature": signature}
    else:
        content.append({"type": "thinking", "thinking": "", "signature": signature})


def google_signature(block: Json) -> str:
    """Gemini's signature in a thinking block of a client's history; "" in any other."""
    signature = text(block.get("signature"))
    return signature.removeprefix(MARK) if signature.startswith(MARK) else ""


def give_back(call: Json, signature: str) -> Json:
    """The tool call with the signature where Gemini's adapter looks for it."""
    if not signature:
        return call
    extra = obj(call.get("extra_content"))
    return {**call, "extra_content": {**extra, "google": {"thought_signature": signature}}}
