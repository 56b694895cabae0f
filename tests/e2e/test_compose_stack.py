"""docker-compose.yml as it is, run: image, Kong, plugin server, mock providers, Prometheus, Grafana.

Only where it is asked for, since it builds an image and takes the ports 8000, 9090 and 3000:

    KONG_AI_PROXY_STACK="docker compose" pytest tests/e2e/test_compose_stack.py

(or `podman-compose`, any compose command; `1` takes the first one that is there). The services of the profile
`monitoring` can be left out: KONG_AI_PROXY_STACK_SERVICES="kong kong-ai-proxy mock". Where the image is there
already, KONG_AI_PROXY_STACK_BUILD=no does not build it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from kong_ai_proxy.metrics import dashboard, panels

ROOT = Path(__file__).resolve().parents[2]
KONG = "http://127.0.0.1:8000"
PROMETHEUS = "http://127.0.0.1:9090"
GRAFANA = "http://127.0.0.1:3000"
ASKED = os.environ.get("KONG_AI_PROXY_STACK", "")
WHOLE = "kong kong-ai-proxy mock prometheus grafana"
SERVICES = os.environ.get("KONG_AI_PROXY_STACK_SERVICES", WHOLE).split()
COMMANDS = ("docker compose", "docker-compose", "podman-compose", "podman compose")
PROJECT = "kong-ai-proxy-stack-test"
Json = dict[str, Any]

pytestmark = pytest.mark.skipif(not ASKED, reason="KONG_AI_PROXY_STACK names no compose command")


def monitored(service: str) -> Any:
    return pytest.mark.skipif(service not in SERVICES, reason=f"{service} is left out")


class Stack:
    """The compose project, and what is asked of it from outside."""

    def __init__(self) -> None:
        self.command = shlex.split(ASKED) if ASKED != "1" else _first_command()

    def compose(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [*self.command, "-p", PROJECT, "--profile", "monitoring", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    def chat(self, route: str, text: str = "Hello", key: str = "", **body: Any) -> tuple[int, str, str]:
        """Status, body, and the request's id in Kong's log."""
        headers = {"content-type": "application/json", **({"apikey": key} if key else {})}
        sent = json.dumps({"messages": [{"role": "user", "content": text}], **body}).encode()
        request = urllib.request.Request(f"{KONG}{route}", sent, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode(), answer.headers["x-kong-request-id"]
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode(), refused.headers["x-kong-request-id"]

    def records(self) -> list[Json]:
        """What Kong's file-log wrote to standard output, without what the compose command adds to a line."""
        plain = re.sub(r"\x1b\[[0-9;]*m", "", self.compose("logs", "kong"))
        lines = (re.search(r'\{"\w+":.*\}$', line) for line in plain.splitlines())
        return [record for found in lines if found and "request" in (record := json.loads(found[0]))]

    def record(self, wanted: Callable[[Json], bool]) -> Json:
        return until(lambda: next(filter(wanted, reversed(self.records())), None))


def _first_command() -> list[str]:
    for command in COMMANDS:
        try:
            done = subprocess.run([*command.split(), "version"], capture_output=True, check=False)
        except FileNotFoundError:
            continue
        if done.returncode == 0:
            return command.split()
    pytest.skip("no compose command is on PATH")


def said(body: str) -> str:
    """The text of an answer, whole or streamed."""
    if not body.startswith("data: "):
        return str(json.loads(body)["choices"][0]["message"]["content"])
    chunks = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def until(look: Callable[[], Any], seconds: float = 30) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.5)


def get(url: str, **query: str) -> Any:
    with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
        return json.load(answer)


def targets() -> list[Json]:
    return get(f"{PROMETHEUS}/api/v1/targets")["data"]["activeTargets"]  # type: ignore[no-any-return]


def scraped() -> None:
    """Waits until Prometheus has read all that is counted by now."""
    now = datetime.now(UTC)
    until(lambda: all(datetime.fromisoformat(target["lastScrape"]) > now for target in targets()))


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    stack = Stack()
    build = [] if os.environ.get("KONG_AI_PROXY_STACK_BUILD") == "no" else ["--build"]
    try:
        stack.compose("up", "-d", *build, *SERVICES)

        def serves() -> bool:
            try:
                return stack.chat("/openai")[0] == 200
            except OSError:
                return False

        until(serves, 120)
        yield stack
    finally:
        stack.compose("down", "-v", check=False)
    assert not stack.compose("ps", "-q").strip()


def test_plain_chat_and_its_usage_in_kongs_log(stack: Stack) -> None:
    status, body, request_id = stack.chat("/openai")
    assert status == 200
    answer = json.loads(body)
    assert answer["choices"][0]["message"]["content"] == "You said: Hello"
    used = stack.record(lambda record: record["request"]["id"] == request_id)["ai"]["proxy"]["usage"]
    told = {name: answer["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    assert {name: used[name] for name in told} == told
    assert used["cost"] == pytest.approx((2.5 * used["prompt_tokens"] + 10 * used["completion_tokens"]) / 1e6)


def test_streamed_chat_and_its_usage(stack: Stack) -> None:
    status, body, request_id = stack.chat("/anthropic", "Count to five.", stream=True)
    assert status == 200 and body.rstrip().endswith("data: [DONE]")
    assert said(body) == "You said: Count to five."
    proxy = stack.record(lambda record: record["request"]["id"] == request_id)["ai"]["proxy"]
    assert proxy["meta"]["request_mode"] == "stream" and proxy["meta"]["provider_name"] == "anthropic"
    assert proxy["usage"]["completion_tokens"] > 0 and proxy["usage"]["time_to_first_token"] >= 0


def test_failover_and_failure_and_consumers(stack: Stack) -> None:
    for route, key in (("/chat", "alice-demo"), ("/failover", "bob-demo"), ("/failover", "")):
        status, body, _ = stack.chat(route, key=key)
        assert status == 200, body
        assert json.loads(body)["choices"]
    for _ in range(3):
        stack.chat("/failover", stream=True)
    status, body, request_id = stack.chat("/broken", key="alice-demo")
    assert status == 500 and "error" in json.loads(body)
    record = stack.record(lambda record: record["request"]["id"] == request_id)
    assert record["consumer"]["username"] == "alice"


def test_realtime_session_leaves_its_usage_in_kongs_log(stack: Stack) -> None:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "one two"}]}
    with connect("ws://127.0.0.1:8000/realtime?model=gpt-realtime", compression=None) as session:
        session.send(json.dumps({"type": "conversation.item.create", "item": item}))
        session.send(json.dumps({"type": "response.create"}))
        while (event := json.loads(session.recv(10)))["type"] != "response.done":
            pass
    usage = event["response"]["usage"]
    record = stack.record(lambda record: record.get("upstream_status") == "101")
    kept = record["ai"]["proxy"]["usage"]
    assert (kept["input_tokens"], kept["output_tokens"]) == (usage["input_tokens"], usage["output_tokens"])


def test_a_judge_finds_the_better_model(stack: Stack) -> None:
    """Both are asked until three answers of each have a score; then the one that repeats the question is."""

    def settled() -> bool:
        asked = [stack.chat("/best", "Say this again.", stream=count % 2 == 1) for count in range(20)]
        assert {status for status, _, _ in asked} == {200}
        return sum("You said: Say this again." in said(body) for _, body, _ in asked) >= 18

    until(settled)
    judge = stack.record(lambda record: "ai-llm-as-judge" in record.get("ai", {}))["ai"]["ai-llm-as-judge"]
    assert judge["meta"]["request_model"] == "mock-judge"
    usage = judge["usage"]
    assert usage["llm_accuracy"] in (1, 100) and usage["prompt_tokens"] > 0
    assert usage["cost"] == pytest.approx(
        (2.5 * usage["prompt_tokens"] + 10 * usage["completion_tokens"]) / 1e6
    )


def test_nobody_else_leaves_usage(stack: Stack) -> None:
    assert stack.chat("/kong-ai-usage")[0] == 403


def test_the_container_is_nobody_and_writes_nothing(stack: Stack) -> None:
    def inside(script: str) -> str:
        return stack.compose("exec", "-T", "kong-ai-proxy", "sh", "-c", script, check=False)

    assert re.search(r"\buid=10001\b.*\bgid=10001\b", inside("id"))
    assert "Read-only file system" in inside("touch /x")
    assert re.search(r"CapEff:\s+0+\n[\s\S]*NoNewPrivs:\s+1", inside("cat /proc/1/status"))
    ask = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8125/health').read())"
    health = inside(f'python -c "{ask}"')
    assert '"status":"ok"' in health


def test_the_plugin_server_restarts_under_kong(stack: Stack) -> None:
    if "prometheus" in SERVICES:
        scraped()  # what is counted, and not read, ends with the process
    stack.compose("restart", "kong-ai-proxy")
    began = time.monotonic()
    until(lambda: stack.chat("/openai")[0] == 200, 15)
    # Each of Kong's workers finds the new one.
    assert [stack.chat("/openai")[0] for _ in range(20)] == [200] * 20
    assert time.monotonic() - began < 15


QUIET = {
    "Targets left alone",
    "Requests past the plugin",
    "Token fetches that failed",
}
"""Panels that may have nothing to tell: nobody said Retry-After, nothing went wrong."""


@monitored("prometheus")
def test_every_panel_has_its_numbers(stack: Stack) -> None:
    until(lambda: [target["health"] for target in targets()] == ["up", "up"])
    # A rate takes two scrapes with a change between them.
    for _ in range(3):
        for route in ("/openai", "/anthropic", "/chat", "/failover", "/broken", "/best"):
            for key in ("", "alice-demo"):
                stack.chat(route, key=key)
                stack.chat(route, key=key, stream=True)
        scraped()
    requests = panels.ROWS[0][1][0]
    (sample,) = get(f"{PROMETHEUS}/api/v1/query", query=filled_in(requests.queries[0][1]))["data"]["result"]
    # `increase` reckons with half an interval before the first scrape and after the last.
    made = sum("proxy" in record.get("ai", {}) for record in stack.records())
    assert requests.title == "Requests" and 0.8 * made <= float(sample["value"][1]) <= 1.25 * made
    empty = []
    for _, row in panels.ROWS:
        for panel in row:
            for legend, query in panel.queries:
                answer = get(f"{PROMETHEUS}/api/v1/query", query=filled_in(query))
                values = [float(sample["value"][1]) for sample in answer["data"]["result"]]
                if not any(value == value for value in values):
                    empty.append((panel.title, legend))
    assert {title for title, _ in empty} <= QUIET, empty
    for name, expected in {
        "provider": {"openai", "anthropic"},
        "model": {"gpt-4o", "claude-sonnet-4-5"},
        "consumer": {"alice", "anonymous"},
    }.items():
        told = get(
            f"{PROMETHEUS}/api/v1/label/{name}/values", **{"match[]": "kong_ai_proxy_llm_requests_total"}
        )
        assert expected <= set(told["data"])


def filled_in(query: str) -> str:
    """As Grafana asks it: everything picked, an interval of four scrapes."""
    query = re.sub(r"\$(provider|model|consumer)\b", ".*", query)
    return query.replace("$__rate_interval", "20s").replace("$__range", "1h")


@monitored("grafana")
def test_grafana_shows_the_dashboard(stack: Stack) -> None:
    def shown() -> Any:
        try:
            return get(f"{GRAFANA}/api/dashboards/uid/{dashboard.UID}")
        except OSError:
            return None

    found = until(shown, 90)["dashboard"]
    assert [panel["title"] for panel in found["panels"]] == [
        panel["title"] for panel in dashboard.dashboard()["panels"]
    ]
    source = get(f"{GRAFANA}/api/frontend/settings")["datasources"]["Prometheus"]
    assert source["uid"] == dashboard.DATASOURCE["uid"]
    # As the page asks: through Grafana.
    asked = get(f"{GRAFANA}{source['url']}/api/v1/query", query="sum(up)")["data"]["result"]
    assert [sample["value"][1] for sample in asked] == ["2"]
    said = [line for line in stack.compose("logs", "grafana").splitlines() if "logger=provisioning" in line]
    assert said and not [line for line in said if re.search(r"lvl=(eror|warn)|level=(error|warn)", line)]
