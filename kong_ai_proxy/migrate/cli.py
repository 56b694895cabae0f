"""`kong-ai-proxy migrate config.yaml`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path as File
from typing import Any

from ..complaints import told
from ..config.check import check
from ..config.entries import UnreadableFile, read
from ..server.address import parse_address
from . import kong, litellm
from .report import Report

DEFAULT_RELAY = "127.0.0.1:8125"


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """The command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "migrate",
        help="turn a configuration of Kong's AI Proxy, or LiteLLM's, into one for these plugins",
        description="Read a declarative configuration with Kong's ai-proxy or ai-proxy-advanced, or "
        "LiteLLM's config.yaml, and print one for these plugins. What could not be carried over, and what is "
        "to be done by hand, is told on standard error. Exit status: 0 done, 1 something was not "
        "carried over and --strict, "
        "or the result is not valid, 2 a file cannot be read or written.",
    )
    parser.add_argument("file", metavar="FILE", help='the configuration; "-" reads stdin')
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="where the result goes (default: standard output)"
    )
    parser.add_argument(
        "--report",
        metavar="FILE",
        help="where to tell instead of standard error; JSON where the name ends so",
    )
    parser.add_argument(
        "--from", dest="source", choices=("kong", "litellm"), help="default: seen by its content"
    )
    parser.add_argument(
        "--relay",
        type=_address,
        default=DEFAULT_RELAY,
        metavar="HOST:PORT",
        help=f"the relay's address for Kong (default: {DEFAULT_RELAY})",
    )
    parser.add_argument("--no-usage-filter", action="store_true", help="do not add the usage filter")
    parser.add_argument(
        "--keep-secrets",
        action="store_true",
        help="leave secrets in clear text as they are (Kong's configurations)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="fail where something could not be carried over"
    )
    parser.set_defaults(run=main)
    return parser


def _address(text: str) -> str:
    try:
        parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def main(args: argparse.Namespace) -> int:
    """Migrate one file; gives the exit status."""
    report = Report()
    try:
        result = _migrated(args, report)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not UTF-8 text"
        return _refuse(f"{args.file}: cannot be read: {reason}")
    except UnreadableFile as error:
        return _refuse(f"{args.file}:{error.line or 1}: {error}")
    valid = _check(result, report)
    try:
        if args.output:
            File(args.output).write_text(result, encoding="utf-8")
        else:
            print(result, end="")
        _tell(args, report)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _refuse(f"cannot be written: {told(error)}")
    return int(not valid or (args.strict and bool(report.of("lost"))))


def _migrated(args: argparse.Namespace, report: Report) -> str:
    text = sys.stdin.read() if args.file == "-" else File(args.file).read_text(encoding="utf-8-sig")
    source = args.source or _source(text)
    if source == "litellm":
        return litellm.migrate(text, relay=args.relay, report=report, usage=not args.no_usage_filter)
    return kong.migrate(
        text,
        relay=args.relay,
        report=report,
        usage=not args.no_usage_filter,
        keep_secrets=args.keep_secrets,
    )


def _source(text: str) -> str:
    data = read(text).data
    if litellm.is_litellm(data):
        return "litellm"
    if kong.is_kong(data):
        return "kong"
    raise UnreadableFile("neither a declarative configuration of Kong's nor LiteLLM's config.yaml", 1)


def _check(result: str, report: Report) -> bool:
    """Our own check of the result; its findings join the report. False where there are errors."""
    findings = check(read(result), "result")
    for found in findings:
        told = f"the result's line {found.line}: {found.severity}: {found.message}"
        (report.lost if found.severity == "error" else report.todo)(told, path=found.path)
    return not any(found.severity == "error" for found in findings)


def _tell(args: argparse.Namespace, report: Report) -> None:
    if args.report:
        as_json = args.report.endswith(".json")
        text = report.json(args.file) if as_json else report.text(args.file)
        File(args.report).write_text(text, encoding="utf-8")
    elif text := report.text(args.file):
        print(text, end="", file=sys.stderr)


def _refuse(message: str) -> int:
    print(f"kong-ai-proxy migrate: {message}", file=sys.stderr)
    return 2
