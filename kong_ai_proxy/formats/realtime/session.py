"""What is common to realtime sessions of all providers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from ...core.call import Call
from ...core.errors import ApiError
from ...core.json import Json, JSONDecodeError, loads
from ...core.usage import Usage, UsageSource

_SUMMED: Final = (
    "prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens",
    "audio_prompt_tokens", "audio_completion_tokens", "image_prompt_tokens", "image_completion_tokens",
    "text_prompt_tokens", "text_completion_tokens",
)  # fmt: skip


class Session:
    """Reads the provider's messages of one session; sums their usage up on the call."""

    failed: ApiError | None = None
    """Never: a session that breaks has no answer that could be one."""

    def __init__(self, call: Call, clock: Callable[[], float] = time.monotonic) -> None:
        self.call = call
        self.generated_ms = 0.0
        """For how long the provider worked on its responses, all together."""
        self.first_token_ms: float | None = None
        """From the first response's beginning to its first piece."""
        self._clock = clock
        self._since: float | None = None
        """When the response under way began."""

    @property
    def responding(self) -> bool:
        """A response was begun whose usage has not come."""
        return self._since is not None

    def received(self, message: bytes) -> bool:
        """Read a message of the provider's. True where the usage, or how far it can be trusted, is another
        now. Never raises."""
        try:
            event = loads(message)
        except (JSONDecodeError, RecursionError):
            return False
        if not isinstance(event, dict):
            return False
        responding = self.responding
        return self._event(event) or responding != self.responding

    def mark(self) -> None:
        """Say on the call how far its numbers can be trusted now."""
        self.call.usage.source = UsageSource.PARTIAL if self.responding else UsageSource.REPORTED

    def settle(self) -> None:
        """The session is over: what was begun and not reported makes the numbers partial."""
        self.mark()
        if self._since is not None:
            self.generated_ms += (self._clock() - self._since) * 1000

    def _event(self, event: Json) -> bool:
        raise NotImplementedError

    def _began(self) -> None:
        if self._since is None:
            self._since = self._clock()

    def _piece(self) -> None:
        if self.first_token_ms is None and self._since is not None:
            self.first_token_ms = (self._clock() - self._since) * 1000

    def _done(self) -> None:
        if self._since is not None:
            self.generated_ms += (self._clock() - self._since) * 1000
            self._since = None

    def _add(self, part: Usage) -> bool:
        """One response's usage to the session's."""
        if part.source is UsageSource.NONE:
            return False
        usage = self.call.usage
        usage.total_tokens = usage.total + part.total
        for name in _SUMMED:
            more = getattr(part, name)
            if more is not None:
                setattr(usage, name, (getattr(usage, name) or 0) + more)
        usage.source = UsageSource.REPORTED
        return True
