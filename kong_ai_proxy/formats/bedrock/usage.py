"""Converse's token counts.

`inputTokens` leaves out what went through the prompt cache; the total holds all (recording
bedrock/converse-vision/001: 2 + 1322 written + 5 = 1329).
"""

from __future__ import annotations

from ...core.json import Json
from ...core.usage import Usage, UsageSource
from ..pivot import count, objects


def read_usage(usage: object, tier: object = None) -> Usage:
    """Converse's `usage` object. Anything that is not one gives an empty Usage."""
    if not isinstance(usage, dict) or not usage:
        return Usage()
    fresh = _count(usage, "inputTokens") or 0
    read = _count(usage, "cacheReadInputTokens")
    written = _count(usage, "cacheWriteInputTokens")
    by_ttl: dict[str, int] = {}
    for detail in objects(usage.get("cacheDetails")):
        ttl, count = detail.get("ttl"), _count(detail, "inputTokens")
        if isinstance(ttl, str) and count:
            by_ttl[ttl] = by_ttl.get(ttl, 0) + count
    kind = tier.get("type") if isinstance(tier, dict) else None
    return Usage(
        prompt_tokens=fresh + (read or 0) + (written or 0),
        completion_tokens=_count(usage, "outputTokens") or 0,
        total_tokens=_count(usage, "totalTokens"),
        cached_tokens=read,
        cache_write_tokens=written,
        cache_write_by_ttl=by_ttl,
        service_tier=kind if isinstance(kind, str) else None,
        source=UsageSource.REPORTED,
    )


def _count(usage: Json, name: str) -> int | None:
    found = count(usage.get(name))
    return found if found is not None and found >= 0 else None
