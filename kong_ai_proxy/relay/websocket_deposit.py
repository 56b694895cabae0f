"""Leaving records with Kong: a session's, for the log of the WebSocket's own request, and a judge's.

Over a WebSocket no filter of Kong's runs. So the relay posts the record to a route of Kong's whose
pre-function keeps it, under the session's ticket, until the request's `log` phase comes for it (the sections
`deposit` and `log` of `schema/usage-filter.lua`). What a judge was asked belongs to no request of a client's:
its record is logged with the request that brings it to that route.
"""

from __future__ import annotations

import math
import time
from typing import Final

from ..core.http import UpstreamRequest, Url
from ..exchange.instance import Timeouts
from ..exchange.tickets import TICKET_HEADER
from ..log import get_logger
from .answer import UpstreamFailure
from .upstream import UpstreamClient

log = get_logger("relay")

LIMIT: Final = 7 * 1024
"""Bytes of a record: nginx keeps a body of 8 KB in memory, where the route's Lua can read it."""
JUDGED_HEADER: Final = "x-kong-ai-judged"
REFRESH: Final = 30.0
"""Seconds; Kong forgets a record after 60."""
_TIMEOUTS: Final = Timeouts(connect=1.0, read=1.0, write=1.0)
_SAY_EVERY: Final = 60.0


class Deposit:
    """The route where records are left."""

    def __init__(self, url: str, client: UpstreamClient) -> None:
        """Raises ValueError for what is no http(s) URL."""
        self._url = Url.parse(url)
        if self._url.scheme not in ("http", "https"):
            raise ValueError(f"not an http(s) URL: {url!r}")
        self._client = client
        self._said_at = -math.inf

    def put(self, token: str, record: str) -> bool:
        """Whether Kong has it now. Replaces what was left for this session before."""
        return self._post(TICKET_HEADER, token, record)

    def judged(self, record: str) -> bool:
        """Whether Kong logs it, as `ai.ai-llm-as-judge`."""
        # Twice would be counted twice: a request that Kong may have had is not sent again.
        return self._post(JUDGED_HEADER, "1", record, repeatable=False)

    def _post(self, name: str, value: str, record: str, *, repeatable: bool = True) -> bool:
        headers = {name: value, "content-type": "text/plain", "accept": "application/json"}
        request = UpstreamRequest("POST", self._url, headers, record.encode())
        try:
            # Of a session's, once more does no harm: it replaces what was there.
            answer = self._client.send(request, _TIMEOUTS, repeatable=repeatable)
            try:
                answer.read_all(64 * 1024)
            finally:
                answer.close()
        except UpstreamFailure as failure:
            self._failed(str(failure))
            return False
        if answer.status != 204:
            self._failed(f"the route answered with {answer.status}")
            return False
        return True

    def _failed(self, reason: str) -> None:
        now = time.monotonic()
        if now - self._said_at > _SAY_EVERY:
            self._said_at = now
            log.warning(
                "deposit_failed",
                reason=reason,
                effect="what realtime sessions and judges used is logged here, not by Kong",
            )
