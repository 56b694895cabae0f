"""Messages in a provider's dialect: without what it does not know, and with what it wants to hear.

Who knows and wants what is data (`dialect`, `providers`), with its source there.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from ...core.call import Call
from ...core.errors import BadRequest
from ...core.json import Json
from ..pivot import items, objects, plain_texts, text
from .dialect import Dialect

_REASONING: Final = frozenset({"reasoning_content", "reasoning"})
_SHORT_ID: Final = re.compile(r"[A-Za-z0-9]{9}")
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS: Final = tuple(first + second for second in _DIGITS for first in _DIGITS)
"""Two digits at a time, the lower one first."""


def dialect_messages(messages: Any, call: Call, dialect: Dialect) -> list[Any]:
    """All messages; those that need no change are the same objects."""
    if not isinstance(messages, list):
        raise BadRequest("'messages' must be an array", param="messages")
    renamed = dialect.roles
    made = list(messages)
    for at, said in enumerate(plain_texts(messages, call)):
        if said is None or (renamed and messages[at]["role"] in renamed):
            message = messages[at]
            if isinstance(message, dict):
                made[at] = _message(message, call, dialect)
    return made


def without_member(parts: Any, name: str, where: str, call: Call) -> Any:
    """The objects of a list without one of their members; the same list where none has it."""
    if not isinstance(parts, list):
        return parts
    for part in parts:
        if isinstance(part, dict) and name in part:
            break
    else:
        return parts
    call.drop(f"{where}.{name}")
    return [
        {key: value for key, value in part.items() if key != name} if isinstance(part, dict) else part
        for part in parts
    ]


@lru_cache(256)  # a call's id comes again with its result
def short_id(given: str) -> str:
    """A tool call's id as Mistral wants it: nine letters and digits, the same for the same id."""
    if _SHORT_ID.fullmatch(given):
        return given
    number = int.from_bytes(sha256(given.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    number, low = divmod(number, 62**4)
    number, high = divmod(number, 62**4)
    pairs = _PAIRS[low % 62**2] + _PAIRS[low // 62**2] + _PAIRS[high % 62**2] + _PAIRS[high // 62**2]
    return pairs + _DIGITS[number % 62]


def _message(message: Json, call: Call, dialect: Dialect) -> Json:
    out = _known_members(message, call, dialect)
    role = out.get("role")
    if isinstance(role, str) and role in dialect.roles:
        out = {**out, "role": dialect.roles[role]}
    if not dialect.cache_control:
        if "cache_control" in out:
            out = {name: value for name, value in out.items() if name != "cache_control"}
            call.drop("messages.cache_control")
        content = out.get("content")
        if isinstance(content, list):
            out = _with(out, "content", without_member(content, "cache_control", "messages.content", call))
    if "tool_calls" in out and "extra_content" in dialect.foreign:
        calls = without_member(out["tool_calls"], "extra_content", "messages.tool_calls", call)
        out = _with(out, "tool_calls", calls)
    return _with_short_ids(out) if dialect.short_ids else out


def _known_members(message: Json, call: Call, dialect: Dialect) -> Json:
    """Without the members this provider does not know; what they say is kept where there is another place."""
    role = text(message.get("role"))
    members = dialect.message_members.get(dialect.roles.get(role, role))
    if dialect.foreign.isdisjoint(message) and (members is None or members.issuperset(message)):
        return message  # nearly always
    foreign = dialect.foreign & message.keys()
    if members is not None:
        foreign |= message.keys() - members - {"cache_control"}
    if not foreign:
        return message
    out = {name: value for name, value in message.items() if name not in foreign}
    if "refusal" in foreign and not out.get("content") and text(message.get("refusal")):
        out["content"] = message["refusal"]
        foreign -= {"refusal"}
    if (
        dialect.signed_parts
        and "thinking_blocks" in foreign
        and _give_signed(out, message["thinking_blocks"])
    ):
        foreign -= _REASONING | {"thinking_blocks"}
    reasoning = text(message.get("reasoning_content")) or text(message.get("reasoning"))
    if foreign & _REASONING and _give_reasoning(out, reasoning, dialect):
        foreign -= _REASONING
    for name in sorted(foreign):
        if message[name] not in (None, "", [], {}):
            call.drop(f"messages.{name}")
    return out


def _give_signed(out: Json, blocks: Any) -> bool:
    """Hand signed thinking back before all other content; in place. False where none is signed."""
    parts = [
        {
            "type": "reasoning",
            "summary": [
                {
                    "type": "summary_text",
                    "text": text(block.get("thinking")),
                    "signature": block["signature"],
                }
            ],
        }
        for block in objects(blocks)
        if text(block.get("signature"))
    ]
    if parts:
        out["content"] = [*parts, *_as_parts(out.get("content"))]
    return bool(parts)


def _as_parts(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) and content else items(content)


def _give_reasoning(out: Json, reasoning: str, dialect: Dialect) -> bool:
    """Hand earlier reasoning back in the way this provider takes it, if it takes it; in place."""
    if not reasoning:
        return False
    if dialect.reasoning_field:
        out.setdefault(dialect.reasoning_field, reasoning)
        return True
    if dialect.thinking_parts:
        thinking = {"type": "thinking", "thinking": [{"type": "text", "text": reasoning}]}
        out["content"] = [thinking, *_as_parts(out.get("content"))]
        return True
    return False


def _with_short_ids(message: Json) -> Json:
    out = message
    given = out.get("tool_call_id")
    if isinstance(given, str):
        out = _with(out, "tool_call_id", short_id(given))
    calls = out.get("tool_calls")
    if isinstance(calls, list):
        out = {**out, "tool_calls": [_with_short_id(one) for one in calls]}
    return out


def _with_short_id(one: Any) -> Any:
    if not isinstance(one, dict) or not isinstance(one.get("id"), str):
        return one
    return _with(one, "id", short_id(one["id"]))


def _with(message: Json, name: str, value: Any) -> Json:
    """A copy with one member changed; the same object where it is what it was."""
    before = message.get(name)
    return message if before is value or before == value else {**message, name: value}
