"""A request that cannot be sent is refused once, and what is said of it names no credential."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import proxy
from relay_support import provider_of, relay_world
from websocket_support import connect, realtime_instance, realtime_target

from kong_ai_proxy import log

KEY = "sk-of-the-target-0123456789"


def breaks(request: Any, call: Any) -> None:
    call.secrets = ["ya29.fetched-for-this-request"]
    raise ValueError(f"cannot read 'Bearer {KEY}' or 'ya29.fetched-for-this-request'")


@pytest.mark.parametrize("session", [False, True])
def test_what_cannot_be_sent_names_no_credential(session: bool, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("debug")
    with (
        provider_of(lambda peer: None) as provider,
        relay_world(real=True, authenticate=breaks) as world,
    ):
        auth = {"header_name": "Authorization", "header_value": f"Bearer {KEY}"}
        if session:
            target = realtime_target(f"ws://127.0.0.1:{provider.port}", name="m")
            world.instance = realtime_instance({**target, "auth": auth})
            client = connect(world)
            status, body = client.status, client.body
        else:
            url = f"http://127.0.0.1:{provider.port}/v1/chat/completions"
            world.instance = proxy("openai", "m", options={"upstream_url": url}, auth=auth)
            reply = world.post(json.dumps({"messages": [{"role": "user", "content": "x"}]}).encode())
            status, body = reply.status, reply.body
        assert status == (500 if session else 400)
        told = body.decode() + capsys.readouterr().out
        assert session or "the request cannot be sent: cannot read" in told
        assert "listening" in told
        assert KEY not in told and "ya29" not in told
    log.configure("info")
