"""Clients of the Node world, where KONG_AI_PROXY_NODE_CLIENTS names a folder with their packages:

npm install ai openai @anthropic-ai/sdk @ai-sdk/openai @ai-sdk/openai-compatible @ai-sdk/anthropic \\
    @ai-sdk/google @ai-sdk/amazon-bedrock
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from gateway_support import COMPATIBLE, NATIVE, Gateway
from http_support import MARK

FOLDER = os.environ.get("KONG_AI_PROXY_NODE_CLIENTS", "")
SCRIPT = Path(__file__).parent / "node_clients.mjs"

pytestmark = pytest.mark.skipif(
    not FOLDER or shutil.which("node") is None, reason="KONG_AI_PROXY_NODE_CLIENTS names no packages"
)


def test_every_client_reads_every_provider(gateway: Gateway) -> None:
    providers = [*NATIVE, *COMPATIBLE]
    words = [FOLDER, gateway.url, json.dumps(MARK), json.dumps(providers)]
    done = subprocess.run(["node", SCRIPT, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    happened = json.loads(done.stdout.splitlines()[-1])
    assert len(happened) == 12 * len(providers) - 5
    assert [one for one in happened if one[2] != "ok"] == []
    records = gateway.log.wait(len(providers))
    assert all(record["ai"]["proxy"]["usage"]["total_tokens"] > 0 for record in records)
