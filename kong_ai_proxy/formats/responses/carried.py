"""Thinking that must come back byte for byte, inside a reasoning item's `encrypted_content`.

The Responses API has one place for what a client is to hand back unread. Providers sign their thinking
themselves, so it is packed, not encrypted.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from ...core.json import Json, dumps, loads
from ..pivot import objects

_MARK: Final = "kap1."


def packed(blocks: list[Json]) -> str:
    """`thinking_blocks` as text."""
    return _MARK + base64.b64encode(dumps(blocks)).decode()


def unpacked(text: str) -> list[Json] | None:
    """The blocks that `packed` made a text of; None for any other text."""
    if not text.startswith(_MARK):
        return None
    try:
        return objects(loads(base64.b64decode(text[len(_MARK) :], validate=True)))
    except (binascii.Error, ValueError):
        return None
