"""What do large requests cost? CPU of the plugin server for one chat, by the body's size, shape and target.

    python benchmarks/bodies.py                          a table: 4 MB, every shape, every target
    python benchmarks/bodies.py --sizes 0.5,1,2,4,8      whether it grows with the size alone
    python benchmarks/bodies.py --relay                  in a running relay: reading and sending, too

Without `--relay` the pure part: the body parsed, checked, translated and written for the provider, in this
process, garbage collector and all. With it, the CPU of a relay process as the scheduler counts it, from the
request's first byte to the answer's last one. The numbers are medians; shapes and targets take turns, so that
all see the same machine. The bar is 30 ms for 4 MB.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
_MB = 1_000_000
_WORDS = ("answer", "question", "found", "in", "the", "last", "line", "of", '"what"', "was", "said,\n")

_AWS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "not-a-key"}
TARGETS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "openai": ("gpt-4o-mini", {}, {}),
    "mistral": ("mistral-large-latest", {"mistral_format": "openai"}, {}),
    "anthropic": ("claude-sonnet-4-5", {"anthropic_version": "2023-06-01"}, {}),
    "gemini": ("gemini-2.5-flash", {}, {}),
    "bedrock": ("anthropic.claude-sonnet-4-5-20250929-v1:0", {"bedrock": {"aws_region": "us-east-1"}}, _AWS),
    "cohere": ("command-a-03-2025", {}, {}),
}
"""Provider → model, options, auth."""


def _text(size: int, seed: int = 0) -> str:
    """So many bytes of English with some characters that JSON escapes."""
    choose = random.Random(seed)
    block = " ".join(choose.choice(_WORDS) for _ in range(2000))
    return (block * (size // len(block) + 1))[:size]


def one_text(size: int) -> list[Any]:
    return [{"role": "user", "content": _text(size)}]


def other_script(size: int) -> list[Any]:
    """Three bytes a character, and some emoji."""
    return [{"role": "user", "content": "这是一个很长的问题，需要认真回答。🙂" * (size // 55)}]


def _turns(size: int, each: int) -> list[Any]:
    """`each` bytes a message, its JSON included."""
    words = _text(max(10, each - 38))
    return [
        {"role": "assistant" if number % 2 else "user", "content": words} for number in range(size // each)
    ]


def long_messages(size: int) -> list[Any]:
    return _turns(size, 20_000)


def short_messages(size: int) -> list[Any]:
    return _turns(size, 270)


def tool_calls(size: int) -> list[Any]:
    """An agent's loop: calls with arguments of 200 bytes, results of 2 kB."""
    result = _text(2000)
    arguments = json.dumps({"path": "src/main.py", "query": _text(150)})
    messages: list[Any] = [{"role": "user", "content": "Mend it."}]
    for number in range(size // 2450):
        name = f"call_{number:06}"
        function = {"name": "read_file", "arguments": arguments}
        calls = [{"id": name, "type": "function", "function": function}]
        messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        messages.append({"role": "tool", "tool_call_id": name, "content": result})
    return messages


def parts(size: int) -> list[Any]:
    """Content in parts of 1 kB, as several SDKs and coding agents send all of it."""
    words = _text(960)
    content = [{"type": "text", "text": words}] * 10
    roles = ("user", "assistant")
    return [{"role": roles[number % 2], "content": content} for number in range(size // 10_000)]


def images(size: int) -> list[Any]:
    data = base64.b64encode(random.Random(0).randbytes(375_000)).decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    return [
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}
        for _ in range(max(1, size // 500_000))
    ]


SHAPES: dict[str, Callable[[int], list[Any]]] = {
    "one text": one_text,
    "one text, Chinese": other_script,
    "messages of 20 kB": long_messages,
    "messages of 270 B": short_messages,
    "tool calls": tool_calls,
    "parts of 1 kB": parts,
    "images": images,
}


def body(shape: str, size: int) -> bytes:
    tools = [{"type": "function", "function": {"name": "read_file", "parameters": {"type": "object"}}}]
    asked = {"temperature": 0.5, "max_tokens": 512, "messages": SHAPES[shape](size)}
    if shape == "tool calls":
        asked["tools"] = tools
    return json.dumps(asked, ensure_ascii=False).encode()


def instance(target: str, port: int = 0) -> Any:
    """The plugin as configured for a target; with a port, the provider is there."""
    from kong_ai_proxy.exchange.instance import PROXY, Instance

    model, options, auth = TARGETS[target]
    if port:
        options = {**options, "upstream_url": f"http://127.0.0.1:{port}/{target}"}
    auth = auth or {"header_name": "authorization", "header_value": "Bearer not-a-key"}
    return Instance.from_config(
        PROXY,
        {
            "route_type": "llm/v1/chat",
            "max_request_body_size": 64 * 1024 * 1024,
            "auth": auth,
            "model": {"provider": target, "name": model, "options": options},
        },
    )


# In this process: the pure part.


def translate(ticket: Any, data: bytes) -> int:
    """What the relay does with a request before it sends it on; the size of what it sends."""
    from kong_ai_proxy.core.http import ClientRequest
    from kong_ai_proxy.exchange.exchange import Exchange

    headers = {"content-type": "application/json", "content-length": str(len(data))}
    exchange = Exchange.open(ticket, ClientRequest("POST", "/chat", "", headers, data))
    attempt = exchange.next_attempt()
    assert attempt is not None
    size = len(attempt.translation.request().body)
    exchange.close()
    return size


def pure(targets: list[str]) -> Callable[[str, bytes], float]:
    """Milliseconds of CPU for a target and a body."""
    from kong_ai_proxy import log
    from kong_ai_proxy.exchange.tickets import Ticket
    from kong_ai_proxy.relay.memory import settle

    log.configure("error")
    tickets = {
        target: Ticket(instance=instance(target), filter_installed=True, buffered=False) for target in targets
    }
    for ticket in tickets.values():
        translate(ticket, body("one text", 1000))
    settle()

    def measure(target: str, data: bytes) -> float:
        began = time.thread_time()
        translate(tickets[target], data)
        return (time.thread_time() - began) * 1000

    return measure


# In a relay.


def serve(port: int) -> None:
    """The relay's process: tickets are the targets' names, and never run out."""
    from gevent import monkey

    monkey.patch_all()
    import gevent

    from kong_ai_proxy import log
    from kong_ai_proxy.exchange.tickets import Ticket, TicketStore
    from kong_ai_proxy.relay.server import RelayServer

    class Endless(TicketStore):
        def __init__(self) -> None:
            super().__init__()
            self.instances = {target: instance(target, port) for target in TARGETS}

        def redeem(self, token: str) -> Ticket | None:
            found = self.instances.get(token)
            return Ticket(instance=found, filter_installed=True, buffered=False) if found else None

    log.configure("error")
    relay = RelayServer(("127.0.0.1", 0), Endless(), log_usage=lambda record: None, settle=True)
    relay.start()
    print(relay.port, flush=True)
    gevent.get_hub().join()


_OPENAI = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Two."}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}
_ANSWERS: dict[str, Any] = {
    "openai": _OPENAI,
    "mistral": _OPENAI,
    "anthropic": {
        "id": "x",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Two."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 9, "output_tokens": 2},
    },
    "gemini": {
        "candidates": [
            {"index": 0, "content": {"role": "model", "parts": [{"text": "Two."}]}, "finishReason": "STOP"}
        ],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11},
    },
    "bedrock": {
        "output": {"message": {"role": "assistant", "content": [{"text": "Two."}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 9, "outputTokens": 2, "totalTokens": 11},
    },
    "cohere": {
        "id": "x",
        "message": {"role": "assistant", "content": [{"type": "text", "text": "Two."}]},
        "finish_reason": "COMPLETE",
        "usage": {"tokens": {"input_tokens": 9, "output_tokens": 2}},
    },
}


def _read(sock: socket.socket) -> bytes:
    """One message's head; its body is read and forgotten. b"" at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    left = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]) - len(rest)
    room = bytearray(1024 * 1024)
    while left > 0:
        left -= sock.recv_into(room, min(left, len(room)))
    return head


def _provide(sock: socket.socket) -> None:
    """One connection of the mock's: reads any request and gives its target's answer."""
    with sock:
        while head := _read(sock):
            answer = json.dumps(_ANSWERS[head.split(b"/", 2)[1].split(b" ")[0].decode()]).encode()
            fields = f"content-type: application/json\r\ncontent-length: {len(answer)}"
            sock.sendall(f"HTTP/1.1 200 OK\r\n{fields}\r\n\r\n".encode() + answer)


@contextmanager
def relay() -> Iterator[Callable[[str, bytes], float]]:
    """Milliseconds of a relay's CPU for a target and a body."""
    from streams import cpu_seconds

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                sock = listener.accept()[0]
                threading.Thread(target=_provide, args=(sock,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        command = [sys.executable, str(HERE), "--serve", str(listener.getsockname()[1])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                with socket.create_connection(("127.0.0.1", int(process.stdout.readline()))) as sock:

                    def measure(target: str, data: bytes) -> float:
                        fields = "host: x\r\ncontent-type: application/json\r\n"
                        fields += f"x-kong-ai-ticket: {target}\r\ncontent-length: {len(data)}"
                        head = f"POST /chat HTTP/1.1\r\n{fields}\r\n\r\n".encode()
                        before = cpu_seconds((process.pid,))
                        sock.sendall(head + data)
                        status = _read(sock).split(b" ", 2)[1]
                        if status != b"200":
                            raise SystemExit(f"{target}: answered with {status.decode()}")
                        time.sleep(0.005)  # what it does after the answer counts, too
                        return (cpu_seconds((process.pid,)) - before) * 1000

                    for target in TARGETS:
                        for _ in range(3):
                            measure(target, body("one text", 1000))
                    yield measure
            finally:
                process.terminate()


def table(
    measure: Callable[[str, bytes], float],
    targets: list[str],
    shapes: list[str],
    sizes: list[float],
    rounds: int,
) -> None:
    taken: dict[tuple[str, float, str], list[float]] = {}
    for size in sizes:
        bodies = {shape: body(shape, int(size * _MB)) for shape in shapes}
        for number in range(rounds + 1):
            for shape, data in bodies.items():
                for target in targets:
                    took = measure(target, data)
                    if number:  # the first round warms up
                        taken.setdefault((shape, size, target), []).append(took)
    print(f"| shape | MB | {' | '.join(targets)} |")
    print(f"|---|---|{'---|' * len(targets)}")
    for shape in shapes:
        for size in sizes:
            cells = [f"{statistics.median(taken[shape, size, target]):.1f}" for target in targets]
            print(f"| {shape} | {size:g} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", default="4", help="MB, comma-separated")
    parser.add_argument("--shapes", default=",".join(SHAPES), help="whose names begin so, comma-separated")
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--relay", action="store_true", help="in a relay process")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve)
        return
    targets = args.targets.split(",")
    shapes = [shape for shape in SHAPES if shape.startswith(tuple(args.shapes.split(",")))]
    sizes = [float(each) for each in args.sizes.split(",")]
    load = os.getloadavg()[0]
    print(f"ms of CPU a chat; Python {sys.version.split()[0]}, {os.cpu_count()} CPUs, load {load:.1f}\n")
    if args.relay:
        with relay() as measure:
            table(measure, targets, shapes, sizes, args.rounds)
    else:
        table(pure(targets), targets, shapes, sizes, args.rounds)


if __name__ == "__main__":
    main()
