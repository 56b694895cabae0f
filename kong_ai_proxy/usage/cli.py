"""The command `usage`."""

from __future__ import annotations

import argparse
import gzip
import os
import re
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Final, TextIO
from zoneinfo import ZoneInfo

from .follow import FollowedFile, FollowedPipe
from .page import GROUPINGS, as_html
from .records import read_line
from .summary import DIMENSIONS, Key, Summary
from .text import as_csv, as_json, as_table, many

_AGO: Final = re.compile(r"(\d+)([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_GZIP: Final = b"\x1f\x8b"
"""How a file begins that log rotation has compressed (RFC 1952)."""
_CLEAR: Final = "\033[H\033[2J"
_LEFT_OUT: Final = 1
"""Exit status where no line could be read as a record."""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """The command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "usage",
        help="add up tokens, cost, latency and errors from Kong's log records",
        description="Add up what the records of Kong's file-log or http-log, and usage lines of the plugin "
        "server's own log, say. Exit status: 0; 1 where there were lines but none was a record; 2 a file or "
        "an argument cannot be used.",
    )
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help='records, one JSON a line, gzip or not; "-" reads stdin'
    )
    parser.add_argument(
        "--by",
        action="append",
        type=_grouping,
        metavar="NAME[,NAME]",
        help=f"group by {', '.join(DIMENSIONS)}; names joined by commas make one grouping, repeating the "
        "option another (default: model; for html: day, model, provider, consumer, route)",
    )
    parser.add_argument(
        "--since", metavar="TIME", help="from then on: 2026-01-31, 2026-01-31T12:00, 24h or 7d ago"
    )
    parser.add_argument("--until", metavar="TIME", help="before then")
    parser.add_argument("--timezone", default="UTC", metavar="NAME", help="where days begin (default: UTC)")
    parser.add_argument(
        "--all",
        action="store_true",
        help="count records without AI usage too: requests that were refused before a provider was asked",
    )
    parser.add_argument("--format", choices=("table", "json", "csv", "html"), default="table")
    for name in ("json", "csv", "html"):
        parser.add_argument(
            f"--{name}", dest="format", action="store_const", const=name, help=f"the same as --format {name}"
        )
    parser.add_argument("--top", type=_top, default=0, metavar="N", help="groups in a table (default: all)")
    parser.add_argument("--follow", action="store_true", help="keep reading one file, show the table anew")
    parser.add_argument(
        "--interval", type=float, default=2.0, metavar="SECONDS", help="between two tables (default: 2)"
    )
    parser.set_defaults(run=main)
    return parser


def main(args: argparse.Namespace) -> int:
    """Read, add up, print."""
    try:
        summary = _summary(args)
        if args.follow:
            return _follow(args, summary)
    except ValueError as error:
        return _refused(str(error))
    except OSError as error:
        return _refused(f"{error.filename}: {error.strerror or error}")
    for name in args.files:
        try:
            for line in _lines(name):
                for read in read_line(line, everything=args.all):
                    summary.add(read)
        except EOFError:
            return _refused(f"{name}: the compressed file is cut off")
        except (OSError, zlib.error) as error:
            return _refused(f"{name}: {getattr(error, 'strerror', None) or error}")
    table = args.format == "table"
    sys.stdout.write(as_table(summary, args.top) if table else _FORMATS[args.format](summary))
    if summary.bad_lines and not table:
        told = many(summary.bad_lines, "line")
        print(f"kong-ai-proxy usage: {told} could not be read, left out", file=sys.stderr)
    nothing = not summary.totals.requests and not summary.other_records and not summary.outside
    return _LEFT_OUT if summary.bad_lines and nothing else 0


_FORMATS: Final[dict[str, Callable[[Summary], str]]] = {"json": as_json, "csv": as_csv, "html": as_html}


def _summary(args: argparse.Namespace) -> Summary:
    zone = _zone(args.timezone)
    now = datetime.now(UTC)
    groupings: list[Key] = args.by or (list(GROUPINGS) if args.format == "html" else [("model",)])
    return Summary(
        dict.fromkeys(groupings),
        since=_moment(args.since, zone, now) if args.since else None,
        until=_moment(args.until, zone, now) if args.until else None,
        zone=zone,
    )


def _grouping(text: str) -> Key:
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in DIMENSIONS:
            raise argparse.ArgumentTypeError(f"not one of {', '.join(DIMENSIONS)}: {name!r}")
    return tuple(dict.fromkeys(names))


def _top(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"not a number from 1 on: {text!r}")
    return number


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"no such time zone here: {name!r}") from None


def _moment(text: str, zone: tzinfo, now: datetime) -> float:
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            return (now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).timestamp()
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"not a time: {text!r}") from None


def _lines(name: str) -> Iterator[bytes]:
    if name == "-":
        yield from _unpacked(sys.stdin.buffer)
        return
    with Path(name).open("rb") as file:
        yield from _unpacked(file)


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    # What has no `peek` (a test's pipe) is read as it is.
    if isinstance(file, BufferedReader) and file.peek(2)[:2] == _GZIP:
        with gzip.open(file) as text:
            yield from text
    else:
        yield from file


def _follow(args: argparse.Namespace, summary: Summary) -> int:
    if len(args.files) != 1 or args.format != "table":
        raise ValueError("--follow takes one file, and shows tables only")
    [name] = args.files
    interval = max(0.1, args.interval)
    show = partial(_show, sys.stdout, args.top)
    if name == "-":
        pipe = FollowedPipe(sys.stdin.fileno())
        while not pipe.ended:
            _add(summary, pipe.read(interval), args.all)
            show(summary)
        return 0
    followed = FollowedFile(name)
    try:
        while True:
            _add(summary, followed.read(), args.all)
            show(summary)
            time.sleep(interval)
    finally:
        followed.close()


def _add(summary: Summary, lines: Iterator[bytes], everything: bool) -> None:
    for line in lines:
        for read in read_line(line, everything=everything):
            summary.add(read)


def _show(out: TextIO, top: int, summary: Summary) -> None:
    """On a terminal in place of the last table, elsewhere below it."""
    room = 0
    if out.isatty():
        out.write(_CLEAR)
        room = max(3, os.get_terminal_size(out.fileno()).lines - 10)
    out.write(as_table(summary, top or room) + ("" if room else "\n"))
    out.flush()


def _refused(reason: str) -> int:
    print(f"kong-ai-proxy usage: {reason}", file=sys.stderr)
    return 2
