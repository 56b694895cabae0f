"""`kong-ai-proxy`: the command line.

Each command's own code is imported when it runs, so that `dump`, which Kong waits for at its start, is quick.
What serves requests patches the standard library for gevent before anything else is imported.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

DESCRIPTION = "Kong Gateway plugins that translate, stream, balance and meter LLM traffic"
DEFAULT_RELAY = "127.0.0.1:8125"
RELAY_VARIABLE = "KONG_AI_PROXY_RELAY"
ADVERTISE_VARIABLE = "KONG_AI_PROXY_RELAY_ADVERTISE"
DEPOSIT_VARIABLE = "KONG_AI_PROXY_DEPOSIT_URL"
WORKERS_VARIABLE = "KONG_AI_PROXY_WORKERS"
MOST_WORKERS = 64
"""More than any machine has use for."""
PLUGIN_NAMES = ("kong-ai-proxy", "kong-ai-proxy-advanced")

_ELSEWHERE = {
    "check": "kong_ai_proxy.config.check",
    "dev": "kong_ai_proxy.devgateway.cli",
    "mock": "kong_ai_proxy.mockllm.cli",
    "demo": "kong_ai_proxy.devgateway.demo",
    "usage": "kong_ai_proxy.usage.cli",
    "doctor": "kong_ai_proxy.doctor.cli",
    "migrate": "kong_ai_proxy.migrate.cli",
}
"""Commands whose module adds its own arguments (`add_parser(subparsers)`)."""

_GEVENT = frozenset({"serve", "dev", "mock", "demo"})

_HELP = {
    "serve": "run the plugin server and the relay",
    "dump": "print a plugin's name, phases and schema, for Kong's pluginserver_*_query_cmd",
    "usage-filter": "print the pre-function configuration that puts usage into Kong's log record",
    "check": "validate the plugin entries of a declarative configuration",
    "migrate": "turn a configuration of Kong's AI Proxy, or LiteLLM's, into one for these plugins",
    "doctor": "look at a running setup and say what is wrong with it",
    "usage": "add up tokens, cost, latency and errors from Kong's log records",
    "dev": "run a stand-in for Kong from a kong.yml, for development",
    "mock": "run mock providers",
    "demo": "show a chat through all of it",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in arguments if not word.startswith("-")), None)
    if command in _GEVENT:
        from gevent import monkey

        monkey.patch_all()
    args = _parser(command).parse_args(arguments)
    run: Callable[[argparse.Namespace], int | None] | None = getattr(args, "run", None)
    if run is None:
        _parser(None).print_help()
        return 2
    try:
        return run(args) or 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has enough; keep the interpreter from complaining at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if command == "serve":
            raise
        from .complaints import told

        print(f"kong-ai-proxy {command}: {told(error)}", file=sys.stderr)
        return 1


class _Command(argparse.ArgumentParser):
    """A command's parser: refuses what it does not know itself, with its own usage."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def _parser(command: str | None) -> argparse.ArgumentParser:
    """With the arguments of one command only: the others need not be imported."""
    parser = argparse.ArgumentParser(prog="kong-ai-proxy", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"kong-ai-proxy {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Command)
    for name, text in _HELP.items():
        if name in _ELSEWHERE and name == command:
            _add_elsewhere(commands, name)
        elif name in _ELSEWHERE:
            commands.add_parser(name, help=text, add_help=False)
        else:
            _OWN[name](commands.add_parser(name, help=text, description=text))
    return parser


def _add_elsewhere(commands: Any, name: str) -> None:
    module = importlib.import_module(_ELSEWHERE[name])
    parser = module.add_parser(commands)
    if parser is not None and parser.get_default("run") is None:
        parser.set_defaults(run=module.main)


def _version() -> str:
    from . import __version__

    return __version__


# serve


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kong-prefix",
        default=os.environ.get("KONG_PREFIX") or "/usr/local/kong",
        metavar="DIR",
        help="directory for the two sockets (default: KONG_PREFIX, else /usr/local/kong)",
    )
    parser.add_argument(
        "--relay",
        default=os.environ.get(RELAY_VARIABLE) or DEFAULT_RELAY,
        metavar="HOST:PORT",
        help=f"where the relay listens for Kong (default: {RELAY_VARIABLE}, else {DEFAULT_RELAY})",
    )
    parser.add_argument(
        "--relay-advertise",
        default=os.environ.get(ADVERTISE_VARIABLE),
        metavar="HOST[:PORT]",
        help="the relay's address for Kong, where Kong needs another than it listens on",
    )
    parser.add_argument(
        "--deposit-url",
        default=os.environ.get(DEPOSIT_VARIABLE),
        metavar="URL",
        help="Kong's route where records of realtime sessions and judges are left for its log; see "
        f"`usage-filter --deposit` (default: {DEPOSIT_VARIABLE}, else they are logged here)",
    )
    parser.add_argument(
        "--socket-mode",
        type=_octal,
        default=0o660,
        metavar="OCTAL",
        help="permissions of the sockets; who may connect may use the configured credentials (default: 660)",
    )
    parser.add_argument(
        "--grace",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="how long running exchanges may take to end on SIGTERM (default: 10)",
    )
    parser.add_argument(
        "--workers",
        type=_workers,
        default=os.environ.get(WORKERS_VARIABLE) or "1",
        metavar="N",
        help="processes that carry requests and streams; with 1 it is the plugin server itself "
        f"(default: {WORKERS_VARIABLE}, else 1)",
    )
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.set_defaults(run=_serve)


def _serve(args: argparse.Namespace) -> int:
    from . import log
    from .server.address import parse_address
    from .server.serve import Options, serve

    log.configure(args.log_level)
    try:
        relay = parse_address(args.relay)
        advertise = args.relay_advertise and parse_address(args.relay_advertise, default_port=relay[1])
    except ValueError as error:
        print(f"kong-ai-proxy serve: {error}", file=sys.stderr)
        return 2
    return serve(
        Options(
            args.kong_prefix,
            relay,
            advertise or None,
            args.socket_mode,
            args.grace,
            args.deposit_url or None,
            args.workers,
        )
    )


def _workers(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= number <= MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"not a number from 1 to {MOST_WORKERS}: {text!r}")
    return number


def _octal(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise argparse.ArgumentTypeError(f"not an octal file mode: {text!r}")
    return mode


# dump


def _dump_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plugin", nargs="?", choices=PLUGIN_NAMES, help="default: kong-ai-proxy")
    parser.add_argument(
        "--lean", action="store_true", help="leave the log phase out: faster, see docs/operations.md"
    )
    parser.set_defaults(run=_dump)


def _dump(args: argparse.Namespace) -> int:
    import json

    from .config.kong_schema import plugin_info

    # Kong reads the first plugin of the list only: one plugin for each name in pluginserver_names.
    print(json.dumps([plugin_info(args.plugin or PLUGIN_NAMES[0], lean=args.lean)], indent=1))
    return 0


# usage-filter


def _filter_arguments(parser: argparse.ArgumentParser) -> None:
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--lua", action="store_true", help="print the Lua text with its sections instead")
    instead.add_argument(
        "--deposit",
        action="store_true",
        help="print the route where the relay leaves records of sessions and judges instead (--deposit-url)",
    )
    parser.set_defaults(run=_filter)


def _filter(args: argparse.Namespace) -> int:
    from .server import usage_filter

    if args.deposit:
        print(usage_filter.deposit_snippet(), end="")
    else:
        print(usage_filter.lua() if args.lua else usage_filter.snippet(), end="")
    return 0


_OWN: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "serve": _serve_arguments,
    "dump": _dump_arguments,
    "usage-filter": _filter_arguments,
}


if __name__ == "__main__":
    sys.exit(main())
