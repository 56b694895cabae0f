"""What a new instance's credentials need is loaded before its first request, and not before Kong's answer."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
from gevent import monkey; monkey.patch_all()
import sys, gevent
from kong_ai_proxy.exchange.tickets import TicketStore
from kong_ai_proxy.plugin import PLUGINS, Context
from kong_ai_proxy.server.address import RelayAddress
from kong_ai_proxy.server.serve import prepare

context = Context(TicketStore(), RelayAddress(("127.0.0.1", 8125)), prepare=prepare)
config = {"route_type": "llm/v1/chat", "model": {"provider": sys.argv[1], "name": "m",
          "options": {"bedrock": {"aws_region": "us-east-1"}} if sys.argv[1] == "bedrock" else {}}}
if sys.argv[1] == "openai":
    config["auth"] = {"header_name": "Authorization", "header_value": "Bearer k"}
PLUGINS["kong-ai-proxy"](config, context)
before = "botocore.auth" in sys.modules
gevent.sleep(0.05)
print(before, "botocore.auth" in sys.modules)
"""


def loaded(provider: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, provider], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.split()


def test_soon_after_the_start() -> None:
    assert loaded("bedrock") == ["False", "True"]


def test_only_what_the_targets_need() -> None:
    assert loaded("openai") == ["False", "False"]
