"""`kong-ai-proxy dev`: the development gateway and, unless told otherwise, its plugin server."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from pathlib import Path

from ..complaints import port, told

_EXAMPLE = "kong.yml"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's."""
    text = "run a stand-in for Kong from a kong.yml, for development"
    parser = subparsers.add_parser("dev", help=text, description=text)
    parser.add_argument("config", nargs="?", default=_EXAMPLE, help="declarative configuration (%(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address for clients (default: %(default)s)")
    parser.add_argument("--port", type=port, default=8000, help="port for clients (default: %(default)s)")
    parser.add_argument(
        "--relay",
        metavar="HOST:PORT",
        help="where the relay listens; the services' URL (default: from the file)",
    )
    parser.add_argument(
        "--kong-prefix",
        metavar="DIR",
        help="use the plugin server that serves its sockets in DIR instead of starting one",
    )
    parser.add_argument("--mock", type=port, metavar="PORT", help="run the mock providers too, on this port")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted. The command line has patched the process for gevent."""
    from gevent.event import Event

    from ..mockllm import MockLLM
    from ..server.usage_filter import DEPOSIT_PATH
    from .declared import ConfigError, Declared
    from .embedded import PluginServer, build, free_port, temporary_prefix, with_deposit

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s [%(levelname)s] %(message)s")
    document = _read(Path(args.config))
    if document is None:
        return 2
    for reference in unresolved(document):
        _say(f"no value for {reference}: what needs it will be refused")
    ended = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    _say("development gateway: a stand-in for Kong, for development and tests only")
    with temporary_prefix() as temporary:
        prefix = Path(args.kong_prefix) if args.kong_prefix else temporary
        server = mock = None
        try:
            gateway, _ = build(with_deposit(document), prefix)
            at = args.port or free_port(args.host)
            if not args.kong_prefix:
                # Where this gateway is, seen from the same machine.
                host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(args.host, args.host)
                deposit = f"http://{f'[{host}]' if ':' in host else host}:{at}{DEPOSIT_PATH}"
                relay = args.relay or _relay_of(gateway.declared)
                server = PluginServer(prefix, relay, arguments=("--deposit-url", deposit))
                server.start()
            if args.mock is not None:
                mock = MockLLM(port=args.mock, keep=False).start()
                _say(f"mock providers    {mock.url}")
            gateway.start(args.host, at)
            declared: Declared = gateway.declared
            _say(f"gateway           http://{args.host}:{gateway.port}")
            for route in declared.routes:
                _say(f"  route {route.get('name') or route['id']}: {', '.join(route.get('paths') or ['*'])}")
            ended.wait()
            gateway.stop()
        except BrokenPipeError:
            raise
        except (ConfigError, OSError, RuntimeError) as error:
            print(f"kong-ai-proxy dev: {told(error)}", file=sys.stderr)
            return 1
        finally:
            if server is not None:
                server.stop()
            if mock is not None:
                mock.stop()
    return 0


def _read(path: Path) -> object:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        said = told(error)
    except UnicodeDecodeError:
        said = f"{path}: not UTF-8 text"
    except yaml.YAMLError as error:
        said = f"{path}: {error}"
    print(f"kong-ai-proxy dev: {said}", file=sys.stderr)
    return None


def unresolved(value: object) -> list[str]:
    """The vault references anywhere in a document that nothing is found for, each once."""
    from .pdk import resolve_vault

    if isinstance(value, str):
        missing = value.startswith("{vault://") and not resolve_vault(value)
        return [value] if missing else []
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return list(dict.fromkeys(reference for each in inner for reference in unresolved(each)))


def _relay_of(declared: object) -> str:
    """The address the services point at, where that is on this machine; else the default."""
    from ..cli import DEFAULT_RELAY
    from ..server.usage_filter import DEPOSIT_NAME
    from .declared import Declared

    assert isinstance(declared, Declared)
    for service in declared.services:
        local = service["protocol"] == "http" and service["host"] in ("127.0.0.1", "localhost")
        if local and service.get("name") != DEPOSIT_NAME:
            return f"127.0.0.1:{service['port']}"
    return DEFAULT_RELAY


def _say(line: str) -> None:
    print(line, flush=True)
