"""Images whose first provider fails: the next one is asked in its own way, whatever the first one's was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from exchange_support import advanced, open_exchange, target_config

from kong_ai_proxy.core.http import ClientRequest

EDITS = "image/v1/images/edits"
JSON = {"content-type": "application/json"}
PICTURE = b"\x89PNG" + bytes(range(256)) * 10
GEMINI = target_config("gemini", "gemini-2.5-flash-image", route_type=EDITS)
OPENAI = target_config("openai", "gpt-image-1.5", route_type=EDITS)
NOVA = target_config(
    "bedrock", "amazon.nova-canvas-v1:0", route_type=EDITS, options={"bedrock": {"aws_region": "us-east-1"}}
)
BALANCER = {"retries": 3, "failover_criteria": ["http_500", "non_idempotent"]}
FORM = (
    b'--B\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + PICTURE + b"\r\n"
    b'--B\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na hat\r\n--B--\r\n'
)


class Pieces:
    """An upload as the relay has them."""

    length: int | None = len(FORM)
    started = False

    def __iter__(self) -> Iterator[bytes]:
        self.started = True
        for at in range(0, len(FORM), 1000):
            yield FORM[at : at + 1000]


def sent_bodies(targets: list[dict[str, Any]], request: ClientRequest) -> list[bytes]:
    """What each of the targets is sent, all of them failing."""
    exchange = open_exchange(advanced(*targets, balancer=BALANCER), request)
    bodies = []
    while (attempt := exchange.next_attempt()) is not None:
        made = attempt.translation.request()
        bodies.append(made.body or (b"".join(made.upload) if made.upload is not None else b""))
        attempt.connected("192.0.2.1", 0.001)
        attempt.rejected(500, JSON)
        attempt.ended()
    return bodies


@pytest.mark.parametrize(
    "targets", [[GEMINI, OPENAI], [OPENAI, GEMINI], [NOVA, GEMINI], [GEMINI, OPENAI, NOVA]]
)
def test_a_form_is_read_again_for_each(targets: list[dict[str, Any]]) -> None:
    request = ClientRequest("POST", "/x", "", {"content-type": "multipart/form-data; boundary=B"}, FORM)
    bodies = sent_bodies(targets, request)
    assert len(bodies) == len(targets)
    for target, body in zip(targets, bodies, strict=True):
        if target is OPENAI:
            assert PICTURE in body and b"gpt-image-1.5" in body
        else:
            assert b"a hat" in body and isinstance(json.loads(body), dict)


def test_an_upload_that_was_translated_can_go_on() -> None:
    request = ClientRequest(
        "POST", "/x", "", {"content-type": "multipart/form-data; boundary=B"}, upload=Pieces()
    )
    first, second = sent_bodies([GEMINI, OPENAI], request)
    assert json.loads(first)["contents"]
    assert PICTURE in second and b"gpt-image-1.5" in second
