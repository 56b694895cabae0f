"""AWS event-stream frames for scripted answers."""

from __future__ import annotations

import json
from typing import Any

from kong_ai_proxy.wire.eventstream import encode_frame


def frame(name: str, payload: Any, kind: str = "event") -> bytes:
    """One frame: an event, or an exception."""
    headers = {f":{kind}-type": name, ":content-type": "application/json", ":message-type": kind}
    return encode_frame(headers, json.dumps(payload).encode())
