"""One rich conversation, as each provider would be sent it. Read `<target>/request.json` as a whole."""

from __future__ import annotations

import json

import pytest
from golden_support import HERE, TARGETS, check, make, pretty

CONVERSATION = json.loads((HERE / "conversation.json").read_text())


@pytest.mark.parametrize("target", TARGETS)
def test_request(target: str) -> None:
    made = make(target, CONVERSATION)
    if made.upstream is None:
        assert made.error is not None
        check(f"{target}/request.json", pretty({"refused": made.error.message, "status": made.error.status}))
        return
    url = made.upstream.url
    check(
        f"{target}/request.json",
        pretty(
            {
                "url": f"{url.scheme}://{url.authority}{url.target}",
                "headers": dict(sorted(made.upstream.headers.items())),
                "body": made.body,
                "dropped": made.dropped,
            }
        ),
    )
