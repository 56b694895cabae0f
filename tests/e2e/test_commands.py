"""The commands a newcomer runs first: `demo` and `dev`, as processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from http_support import call
from websockets.sync.client import connect

from kong_ai_proxy.devgateway.embedded import LogFile, free_port, usage_filter_plugin

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "import sys; from kong_ai_proxy.cli import main; sys.exit(main())"]


def test_demo() -> None:
    done = subprocess.run(
        [*COMMAND, "demo", "--once"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("OpenAI", "Azure OpenAI", "Anthropic"):
        assert len(re.findall(rf"^  {name} · (?:chat|stream) ", done.stdout, re.MULTILINE)) == 2
    assert done.stdout.count("← You said: In one line") == 6
    assert done.stdout.count("cost 0.000178") == 6
    assert "\033" not in done.stdout


def test_demo_without_the_sdk_and_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "openai.py").write_text("raise ImportError('not installed')\n")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', ROOT)}"}
    # It ends by itself where nobody is at a terminal.
    done = subprocess.run(
        [*COMMAND, "demo"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env=env,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("← You said: In one line") == 6


def _start(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen([*COMMAND, *arguments], stdout=out, stderr=subprocess.STDOUT)


def _wait_for(text: str, log: Path, process: subprocess.Popen[bytes]) -> str:
    until = time.monotonic() + 20
    while text not in (said := log.read_text()):
        assert process.poll() is None, said
        assert time.monotonic() < until, said
        time.sleep(0.05)
    return said


def realtime(mock: int) -> dict[str, Any]:
    target = {
        "route_type": "realtime/v1/realtime",
        "auth": {"header_name": "Authorization", "header_value": "Bearer k"},
        "logging": {"log_statistics": True},
        "model": {"provider": "openai", "options": {"upstream_url": f"ws://127.0.0.1:{mock}"}},
    }
    return {"targets": [target], "genai_category": "realtime/generation"}


def sessions_of(records: Path) -> list[Any]:
    """The records of WebSockets, when there is one."""
    until = time.monotonic() + 5
    while True:
        found = [each for each in LogFile(records).records() if each["response"]["status"] == 101]
        if found:
            return found
        assert time.monotonic() < until, "no record of the session"
        time.sleep(0.01)


def test_dev(tmp_path: Path) -> None:
    relay, mock, port = free_port(), free_port(), free_port()
    records = tmp_path / "records.jsonl"
    config = {
        "_format_version": "3.0",
        "services": [
            {
                "name": "ai",
                "url": f"http://127.0.0.1:{relay}",
                "routes": [
                    {
                        "name": "chat",
                        "paths": ["/chat"],
                        "plugins": [
                            {
                                "name": "kong-ai-proxy",
                                "config": {
                                    "route_type": "llm/v1/chat",
                                    "auth": {
                                        "header_name": "Authorization",
                                        "header_value": "{vault://env/e2e-provider-key}",
                                    },
                                    "logging": {"log_statistics": True},
                                    "model": {
                                        "provider": "openai",
                                        "name": "gpt-4o",
                                        "options": {
                                            "upstream_url": f"http://127.0.0.1:{mock}/v1/chat/completions"
                                        },
                                    },
                                },
                            }
                        ],
                    },
                    {
                        "name": "live",
                        "paths": ["/live"],
                        "plugins": [
                            usage_filter_plugin(),
                            {"name": "kong-ai-proxy-advanced", "config": realtime(mock)},
                        ],
                    },
                ],
            }
        ],
        "plugins": [{"name": "file-log", "config": {"path": str(records)}}],
    }
    path = tmp_path / "kong.yml"
    path.write_text(yaml.safe_dump(config))
    log = tmp_path / "dev.log"
    os.environ["E2E_PROVIDER_KEY"] = "Bearer from-the-vault"
    try:
        process = _start(["dev", str(path), "--port", str(port), "--mock", str(mock)], log)
    finally:
        del os.environ["E2E_PROVIDER_KEY"]
    try:
        said = _wait_for("route chat: /chat", log, process)
        assert "development" in said
        answer = call(
            f"http://127.0.0.1:{port}", "/chat", {"messages": [{"role": "user", "content": "Hello"}]}
        )
        assert answer.json["choices"][0]["message"]["content"] == "You said: Hello"
        record = LogFile(records).wait(1)[0]
        assert record["ai"]["proxy"]["usage"]["total_tokens"] > 0
        with connect(f"ws://127.0.0.1:{port}/live/realtime?model=m", compression=None) as session:
            session.send('{"type": "response.create"}')
            while (event := json.loads(session.recv(5)))["type"] != "response.done":
                pass
        (record,) = sessions_of(records)
        used = record["ai"]["proxy"]["usage"]["total_tokens"]
        assert used == event["response"]["usage"]["total_tokens"] > 0
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0, log.read_text()
    assert "from-the-vault" not in log.read_text() + records.read_text()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("services: []", "_format_version"),
        ("_format_version: '3.0'\nplugins: [{name: bogus}]", "bogus"),
        ("_format_version: '3.0'\nservices: [{name: a}]", "host is required"),
        ("_format_version: '3.0'\nroutes: [{name: r, paths: ['~/a(']}]", "regex"),
        ("a: [", "kong.yml"),
    ],
)
def test_dev_refuses_a_bad_configuration(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "kong.yml"
    path.write_text(text)
    done = subprocess.run(
        [*COMMAND, "dev", str(path)], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode != 0
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
