"""`kong-ai-proxy demo`: a chat through all of it, on this machine, with nothing to configure.

Mock providers, the plugin server and the development gateway on free ports; chats to OpenAI, Azure and
Anthropic targets; what came back, and what stands in the log record.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..complaints import port, told
from ..core.json import Json

QUESTION = "In one line: why put a gateway in front of language models?"
_KEY = "demo-key-of-the-gateway"
_AZURE_VERSION = "?api-version=2024-10-21"


@dataclass(frozen=True, slots=True)
class Target:
    """One route of the demo."""

    name: str
    title: str
    model: Json
    auth: Json
    says: str
    """What happens to the request on its way."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's."""
    text = "show chats through the gateway to three mock providers, and what they cost in the log"
    parser = subparsers.add_parser("demo", help=text, description=text)
    text = "end after the chats, as it does where nobody is at a terminal; non-zero if one failed"
    parser.add_argument("--once", action="store_true", help=text)
    parser.add_argument("--port", type=port, default=0, help="port of the gateway (default: a free one)")
    parser.add_argument("--verbose", action="store_true", help="show the plugin server's log too")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Start everything, show the chats; stay for whoever sits at a terminal (unless `--once`)."""
    from ..mockllm import MockLLM
    from .declared import ConfigError
    from .embedded import LogFile, PluginServer, build, free_port, temporary_prefix

    style = Style(sys.stdout)
    with temporary_prefix() as prefix, MockLLM() as mock, open(os.devnull, "w") as devnull:
        relay = f"127.0.0.1:{free_port()}"
        log_file = LogFile(prefix / "records.jsonl")
        server = PluginServer(prefix, relay, output=None if args.verbose else devnull)
        try:
            server.start()
            gateway, _ = build(configuration(relay, mock.url, log_file.path), prefix)
            url = f"http://127.0.0.1:{gateway.start(port=args.port)}"
            style.banner(url, relay, mock.url)
            failed = _chats(style, url, log_file)
            if args.once or not (sys.stdin and sys.stdin.isatty()):
                gateway.stop()
                return 1 if failed else 0
            _stay(style, url, log_file)
            gateway.stop()
        except BrokenPipeError:
            raise
        except (ConfigError, OSError, RuntimeError) as error:
            print(f"kong-ai-proxy demo: {told(error)}", file=sys.stderr)
            return 1
        finally:
            server.stop()
    return 1 if failed else 0


def targets(mock: str) -> list[Target]:
    """The three routes, with the mock in place of the providers."""
    options = {"input_cost": 2.5, "output_cost": 10.0, "max_tokens": 64}
    return [
        Target(
            "openai",
            "OpenAI",
            {
                "provider": "openai",
                "name": "gpt-4o",
                "options": {**options, "upstream_url": f"{mock}/v1/chat/completions"},
            },
            {"header_name": "Authorization", "header_value": "Bearer demo-openai-key"},
            "passes through; only the model is set",
        ),
        Target(
            "azure",
            "Azure OpenAI",
            {
                "provider": "azure",
                "name": "gpt-4o",
                "options": {
                    **options,
                    "azure_instance": "demo",
                    "azure_deployment_id": "gpt-4o",
                    "azure_api_version": "2024-10-21",
                    "upstream_url": f"{mock}/openai/deployments/gpt-4o/chat/completions{_AZURE_VERSION}",
                },
            },
            {"header_name": "api-key", "header_value": "demo-azure-key"},
            "goes to a deployment, with an api-version and an api-key",
        ),
        Target(
            "anthropic",
            "Anthropic",
            {
                "provider": "anthropic",
                "name": "claude-sonnet-4-5",
                "options": {
                    **options,
                    "anthropic_version": "2023-06-01",
                    "upstream_url": f"{mock}/v1/messages",
                },
            },
            {"header_name": "x-api-key", "header_value": "demo-anthropic-key"},
            "is translated to the Messages API and back",
        ),
    ]


def configuration(relay: str, mock: str, log_path: Path) -> Json:
    """The `kong.yml` of the demo."""
    from .embedded import usage_filter_plugin

    routes = [
        {
            "name": target.name,
            "paths": [f"/{target.name}"],
            "plugins": [
                {
                    "name": "kong-ai-proxy",
                    "config": {
                        "route_type": "llm/v1/chat",
                        "auth": target.auth,
                        "logging": {"log_statistics": True},
                        "model": target.model,
                    },
                }
            ],
        }
        for target in targets(mock)
    ]
    return {
        "_format_version": "3.0",
        "services": [
            {"name": "ai", "url": f"http://{relay}", "retries": 0, "read_timeout": 120000, "routes": routes}
        ],
        "plugins": [
            usage_filter_plugin(),
            {"name": "file-log", "config": {"path": str(log_path)}},
        ],
    }


def _chats(style: Style, url: str, log_file: Any) -> int:
    failed = 0
    for target in targets(""):
        for stream in (False, True):
            try:
                _chat(style, target, url, log_file, stream)
            except Exception as error:  # the demo goes on and says what failed
                failed += 1
                style.failed(f"{target.title}: {type(error).__name__}: {error}")
    return failed


def _chat(style: Style, target: Target, url: str, log_file: Any, stream: bool) -> None:
    style.request(target, stream)
    log_file.records()
    started = time.monotonic()
    text = ""
    first: float | None = None
    for piece in ask(f"{url}/{target.name}", str(target.model["name"]), stream):
        first = first or time.monotonic()
        style.piece(piece)
        text += piece
    ended = time.monotonic()
    if not text:
        raise RuntimeError("the answer is empty")
    record = log_file.wait(1)[0]
    proxy = (record.get("ai") or {}).get("proxy") or {}
    if not proxy.get("usage", {}).get("total_tokens"):
        raise RuntimeError(f"no usage in the log record: {proxy or record}")
    style.answered(ended - started, (first or ended) - started)
    style.usage(proxy)


def ask(url: str, model: str, stream: bool) -> Iterator[str]:
    """The answer's text, in pieces: by the OpenAI SDK where it is installed, by plain HTTP elsewhere."""
    messages = [{"role": "user", "content": QUESTION}]
    try:
        from openai import OpenAI
    except ImportError:
        yield from _ask_plainly(url, {"model": model, "messages": messages, "stream": stream})
        return
    client = OpenAI(base_url=url, api_key=_KEY, max_retries=0)
    given: Any = messages
    if not stream:
        answer = client.chat.completions.create(model=model, messages=given)
        yield answer.choices[0].message.content or ""
        return
    for chunk in client.chat.completions.create(model=model, messages=given, stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


def _ask_plainly(url: str, body: Json) -> Iterator[str]:
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        headers = {"content-type": "application/json"}
        connection.request("POST", f"/{path}/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}: {answer.read().decode()}")
        if not body["stream"]:
            yield json.loads(answer.read())["choices"][0]["message"]["content"]
            return
        for line in answer:
            if line.startswith(b"data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    yield choice["delta"].get("content") or ""
    finally:
        connection.close()


def _stay(style: Style, url: str, log_file: Any) -> None:
    from gevent.event import Event

    style.invitation(url, log_file.path)
    ended = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    while not ended.wait(0.2):
        for record in log_file.records():
            style.seen(record)


class Style:
    """The demo's looks: colours on a terminal, plain text elsewhere."""

    def __init__(self, out: Any) -> None:
        self._out = out
        self._colour = out.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def _paint(self, codes: str, text: str) -> str:
        return f"\033[{codes}m{text}\033[0m" if self._colour else text

    def _say(self, line: str = "") -> None:
        print(line, file=self._out, flush=True)

    def banner(self, url: str, relay: str, mock: str) -> None:
        self._say()
        self._say(f"  {self._paint('1', 'kong-ai-proxy')}  {self._paint('2', 'demo, for development only')}")
        self._say()
        places = [("gateway", url), ("relay", relay), ("mock providers", mock)]
        for name, where in places:
            self._say(f"    {self._paint('2', f'{name:<16}')}{where.removeprefix('http://')}")
        self._say()

    def request(self, target: Target, stream: bool) -> None:
        kind = "stream" if stream else "chat"
        head = self._paint("1;36", f"{target.title}")
        self._say(
            f"  {head} {self._paint('2', '·')} {kind} {self._paint('2', '· the request ' + target.says)}"
        )
        if not stream:
            self._say(f"    {self._paint('2', '→')} {QUESTION}")
        self._out.write(f"    {self._paint('32', '←')} ")

    def piece(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()

    def answered(self, seconds: float, first: float) -> None:
        self._say(
            self._paint("2", f"  ({first * 1000:.0f} ms to the first piece, {seconds * 1000:.0f} ms in all)")
        )

    def usage(self, proxy: Json) -> None:
        usage, meta = proxy["usage"], proxy["meta"]
        cells = [
            ("model", f"{meta.get('provider_name')}/{meta.get('response_model')}"),
            ("prompt", usage.get("prompt_tokens")),
            ("completion", usage.get("completion_tokens")),
            ("cost", f"{usage.get('cost', 0):.6f}"),
            ("latency", f"{meta.get('llm_latency')} ms"),
        ]
        shown = "  ".join(
            f"{self._paint('2', name)} {self._paint('33', str(value))}" for name, value in cells
        )
        self._say(f"    {self._paint('2', 'log')} {shown}")
        self._say()

    def failed(self, text: str) -> None:
        self._say()
        self._say(f"    {self._paint('1;31', 'failed')} {text}")
        self._say()

    def invitation(self, url: str, log_path: Path) -> None:
        example = textwrap.dedent(
            f"""\
            curl {url}/anthropic/chat/completions -H 'content-type: application/json' \\
              -d '{{"messages": [{{"role": "user", "content": "Hello"}}]}}'

            curl -N {url}/openai/chat/completions -H 'content-type: application/json' \\
              -d '{{"stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}'
            """
        )
        self._say(f"  {self._paint('1', 'It goes on running. Try:')}")
        self._say()
        self._say(textwrap.indent(example, "    "))
        self._say(f"    {self._paint('2', 'log records: ' + str(log_path))}")
        self._say(f"    {self._paint('2', 'Ctrl-C ends it.')}")
        self._say()

    def seen(self, record: Json) -> None:
        status = record["response"]["status"]
        self._say(f"  {self._paint('36', record['request']['method'])} {record['request']['uri']} {status}")
        proxy = (record.get("ai") or {}).get("proxy")
        if proxy and proxy.get("usage"):
            self.usage(proxy)
