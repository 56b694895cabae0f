"""Calls with credentials, and a stand-in for token endpoints on this machine."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from kong_ai_proxy import log
from kong_ai_proxy.config.models import Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.http import ClientRequest, UpstreamRequest, Url
from kong_ai_proxy.core.json import dumps


def call(
    provider: str = "openai",
    auth: dict[str, Any] | None = None,
    *,
    options: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    query: str = "",
) -> Call:
    target = Target.model_validate(
        {
            "model": {"provider": provider, "name": "m", "options": options or {}},
            "route_type": "llm/v1/chat",
            "auth": {name: value for name, value in (auth or {}).items() if value != ""},
        }
    )
    for name, value in (auth or {}).items():
        if value == "":
            # As it is where a vault reference has no value yet.
            setattr(target.auth, name, "")
    return Call(
        target=target,
        options=target.model.options,
        model="m",
        operation="chat",
        request=ClientRequest("POST", "/", query, headers or {}),
    )


def upstream(url: str = "https://provider.example/v1/chat", body: bytes = b'{"a":1}') -> UpstreamRequest:
    return UpstreamRequest("POST", Url.parse(url), {"content-type": "application/json"}, body)


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """What goes into the process's log meanwhile."""
    before, log._sink.stream = log._sink.stream, io.StringIO()
    try:
        yield log._sink.stream
    finally:
        log._sink.stream = before


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    form: dict[str, list[str]]
    body: bytes


@dataclass
class TokenServer:
    """Answers what `answer` says: (status, JSON or bytes); by default a token that names its number."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[Asked], tuple[int, Any]] | None = None
    lifetime: int = 3600

    def reply(self, asked: Asked) -> tuple[int, Any]:
        self.asked.append(asked)
        if self.answer is not None:
            return self.answer(asked)
        token = f"token-{len(self.asked)}"
        return 200, {"access_token": token, "expires_in": self.lifetime, "token_type": "Bearer"}


@contextmanager
def token_server() -> Iterator[TokenServer]:
    standin = TokenServer()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(length)
            path, _, query = self.path.partition("?")
            asked = Asked(
                self.command,
                path,
                parse_qs(query),
                {name.lower(): value for name, value in self.headers.items()},
                parse_qs(body.decode("latin-1")),
                body,
            )
            status, answer = standin.reply(asked)
            data = answer if isinstance(answer, bytes) else dumps(answer)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _serve

        def log_message(self, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    standin.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield standin
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
