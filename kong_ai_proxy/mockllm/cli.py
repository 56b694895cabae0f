"""`kong-ai-proxy mock`: the mock providers as a process of their own."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from ..complaints import port, told

PORT = 8787
TEXT = "run mock providers that speak every upstream's wire format"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's."""
    parser = subparsers.add_parser("mock", help=TEXT, description=TEXT)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=port, default=PORT, help="port, 0 for a free one (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    from gevent import monkey

    monkey.patch_all()
    from .server import MockLLM

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        mock = MockLLM(args.host, args.port, keep=False).start()
    except OSError as error:
        print(f"kong-ai-proxy mock: {told(error)}", file=sys.stderr)
        return 1
    print(f"mock providers listen on {mock.url} (development only)", flush=True)
    while not ended.wait(0.5):
        pass
    mock.stop()
    return 0
