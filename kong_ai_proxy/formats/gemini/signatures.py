"""Other providers' signed thinking, as the signature of a Gemini thought, and back.

Google's SDKs send thoughts back with their `thoughtSignature`, whatever bytes it holds
(https://ai.google.dev/gemini-api/docs/thought-signatures). What Claude signed
must return byte for byte, so its block travels in there whole.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from ...core.json import Json, dumps
from ..pivot import decoded, text

_MARK: Final = b"kong-ai-proxy:"


def pack(block: Json) -> Json:
    """A thought part for a thinking block of Anthropic's form."""
    signature = base64.b64encode(_MARK + dumps(block)).decode()
    return {"text": text(block.get("thinking")), "thought": True, "thoughtSignature": signature}


def unpack(signature: str) -> Json | None:
    """The thinking block in a signature; None for a signature of Google's own."""
    try:
        raw = base64.b64decode(signature, altchars=b"-_" if {"-", "_"} & set(signature) else None)
    except (binascii.Error, ValueError):
        return None
    found = decoded(raw[len(_MARK) :]) if raw.startswith(_MARK) else None
    return found if isinstance(found, dict) and found.get("type") else None
