"""The log record on its way to Kong: one line of ASCII that a few string functions of Lua can read.

The form is described in docs/architecture.md: `path=<type><value>` pairs joined by `&`.
"""

from __future__ import annotations

import functools
import math
import re
from typing import Any, Final
from urllib.parse import quote

from ..core.json import Json

HEADER_LIMIT: Final = 3072
"""Bytes in an answer header: all of them together must fit nginx's `proxy_buffer_size` (4 or 8 KB)."""
STREAM_LIMIT: Final = 65536
"""Bytes in a stream's comment."""
CUT: Final = "…[cut]"
"""What ends a text that was cut to fit."""

_PATH_SAFE: Final = "_-"
_VALUE_SAFE: Final = "-_.:/"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/-]*").fullmatch
_SHORT: Final = 64
"""Characters up to which a text may come again."""
_WORTH_CUTTING: Final = 64
"""Bytes below which a cut payload says nothing."""


def encode(record: Json, limit: int = HEADER_LIMIT) -> str:
    """At most `limit` bytes of printable ASCII without spaces. Members that are None are left out.

    A record that is longer loses in this order: the ends of its payloads, the oldest tried targets, and at
    last the ends of its texts; never a number. "" only where not even the numbers fit.
    """
    encoded = _encode(record)
    if len(encoded) <= limit:
        return encoded
    shorter = dict(record)
    payload = shorter.pop("payload", None)
    encoded = _encode(shorter)
    tried = shorter.get("tried_targets")
    while len(encoded) > limit and isinstance(tried, list) and tried:
        tried = shorter["tried_targets"] = tried[1:]
        if not tried:
            del shorter["tried_targets"]
        encoded = _encode(shorter)
    longest = 256
    while len(encoded) > limit and longest:
        encoded = _encode(_with_texts_cut(shorter, longest))
        longest //= 2
    if len(encoded) > limit:
        return ""
    if isinstance(payload, dict):
        encoded += _cut_payload(payload, limit - len(encoded))
    return encoded


def _cut_payload(payload: Json, room: int) -> str:
    """As much of each payload as fits, behind the rest of the record: what is short stays whole."""
    out = ""
    texts = sorted(
        ((name, text) for name, text in payload.items() if isinstance(text, str)),
        key=lambda item: len(item[1]),
    )
    for number, (name, text) in enumerate(texts):
        prefix = f"&payload.{_segment(name)}="
        share = room // (len(texts) - number) - len(prefix)
        value = _scalar(text)
        if len(value) > share:
            if share < _WORTH_CUTTING:
                continue
            value = _cut(text, share)
        out += prefix + value
        room -= len(prefix) + len(value)
    return out


def _cut(text: str, room: int) -> str:
    """The longest beginning of a text that fits encoded, with a mark."""
    low, high = 0, min(len(text), room)
    while low < high:
        middle = (low + high + 1) // 2
        if len(_scalar(text[:middle] + CUT)) <= room:
            low = middle
        else:
            high = middle - 1
    return _scalar(text[:low] + CUT)


def _with_texts_cut(value: Any, longest: int) -> Any:
    if isinstance(value, dict):
        return {name: _with_texts_cut(member, longest) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_texts_cut(member, longest) for member in value]
    return value[:longest] if isinstance(value, str) else value


def _encode(record: Json) -> str:
    out: list[str] = []
    _collect(out, record, "")
    return "&".join(out)


def _collect(out: list[str], value: Any, path: str) -> None:
    if isinstance(value, dict):
        prefix = f"{path}." if path else ""
        texts = []
        for item in value.items():
            name, member = item
            # Most members are short texts and whole numbers.
            kind = type(member)
            if kind is int:
                out.append(f"{prefix}{_segment(name)}=n{member}")
            elif kind is str and len(member) <= _SHORT:
                texts.append(item)
            else:
                _collect(out, member, prefix + _segment(name))
        if texts:
            out.append(_short_texts(prefix, tuple(texts)))
    elif isinstance(value, (list, tuple)):
        prefix = f"{path}." if path else ""
        for number, member in enumerate(value, 1):
            _collect(out, member, f"{prefix}{number}")
    else:
        if value is not None:
            out.append(f"{path}={_scalar(value)}")
        return
    if not value and path:
        out.append(f"{path}=o")


@functools.lru_cache(maxsize=1024)
def _short_texts(prefix: str, texts: tuple[tuple[str, str], ...]) -> str:
    """Names of models, hosts, routes: the same in one record after another."""
    return "&".join(f"{prefix}{_segment(name)}={_scalar(text)}" for name, text in texts)


@functools.lru_cache(maxsize=512)
def _segment(name: str) -> str:
    if name.isidentifier() and name.isascii():
        return name
    return quote(name, safe=_PATH_SAFE, errors="replace").replace(".", "%2E")


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "b1" if value else "b0"
    if isinstance(value, (int, float)):
        # Neither JSON nor Kong's log has infinity.
        return f"n{value!r}" if math.isfinite(value) else "n0"
    text = str(value)
    if _PLAIN(text):
        return "s" + text
    return "s" + quote(text, safe=_VALUE_SAFE, errors="replace")
