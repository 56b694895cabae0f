"""The command `doctor`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ..cli import DEFAULT_RELAY, PLUGIN_NAMES, RELAY_VARIABLE
from .admin import Unreachable, check_kong
from .findings import Finding
from .local import check_relay, check_socket
from .trust import check_provider, check_store

_SECONDS: Final = 10.0
_MOST: Final = 64 * 1024 * 1024
_APART: Final = 30.0
"""Seconds two clocks may differ. AWS refuses signatures that are five minutes off."""
_TOKEN: Final = "KONG_ADMIN_TOKEN"
_MARKS: Final = {"ok": "ok     ", "warning": "warning", "problem": "PROBLEM"}


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """The command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "doctor",
        help="look at a running setup and say what is wrong with it",
        description="Look at the plugin server's sockets, the relay and, with --kong-admin, Kong's "
        "configuration; at TLS trust and, with --provider, at providers' certificates. Nothing is changed, "
        "and no credential is printed: where Kong could not resolve one, its log names the reference. Exit "
        "status: 0 nothing but warnings, 1 problems, 2 an argument cannot be used.",
    )
    parser.add_argument(
        "--kong-prefix",
        default=os.environ.get("KONG_PREFIX", "/usr/local/kong"),
        metavar="DIR",
        help="where the sockets are (default: KONG_PREFIX, else /usr/local/kong)",
    )
    parser.add_argument(
        "--relay",
        default=os.environ.get(RELAY_VARIABLE, DEFAULT_RELAY),
        metavar="HOST:PORT",
        help=f"the relay's address (default: {RELAY_VARIABLE}, else {DEFAULT_RELAY})",
    )
    parser.add_argument(
        "--kong-admin",
        metavar="URL",
        help=f"Kong's Admin API; a token for it is taken from {_TOKEN}",
    )
    parser.add_argument(
        "--provider",
        action="append",
        default=[],
        metavar="HOST[:PORT]",
        help="a provider's host to reach, and whose certificate to verify, from here; may be given again",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument("--strict", action="store_true", help="count warnings as problems")
    parser.set_defaults(run=main)
    return parser


def main(args: argparse.Namespace) -> int:
    """Look, print, give the exit status."""
    from ..server.address import parse_address

    try:
        relay = parse_address(args.relay)
        admin = AdminApi(args.kong_admin) if args.kong_admin else None
        providers = [parse_address(each, default_port=443) for each in args.provider]
    except ValueError as error:
        print(f"kong-ai-proxy doctor: {error}", file=sys.stderr)
        return 2
    findings = [*_look(Path(args.kong_prefix), relay, admin), *check_store()]
    findings += [check_provider(host, port) for host, port in providers]
    worst = {finding.level for finding in findings}
    failed = "problem" in worst or (args.strict and "warning" in worst)
    if args.format == "json":
        print(json.dumps({"ok": not failed, "findings": [asdict(each) for each in findings]}, indent=2))
    else:
        for each in findings:
            print(f"{_MARKS[each.level]}  {_plain(each.subject)}: {_plain(each.text)}")
            if each.mend:
                print(f"         → {_plain(each.mend)}")
    return int(failed)


def _look(prefix: Path, relay: tuple[str, int], admin: AdminApi | None) -> Iterator[Finding]:
    for name in PLUGIN_NAMES:
        yield check_socket(prefix, name)
    host = "127.0.0.1" if relay[0] in ("", "0.0.0.0", "::", "*") else relay[0]
    yield from check_relay(host, relay[1])
    if admin is None:
        return
    yield from check_kong(admin.fetch, relay)
    if admin.ahead is not None and abs(admin.ahead) > _APART:
        yield Finding(
            "warning",
            "clock",
            f"Kong's is {abs(admin.ahead):.0f} s {'ahead' if admin.ahead > 0 else 'behind'}",
            "set both by NTP: cloud providers refuse signatures and tokens of another time",
        )


class AdminApi:
    """Kong's Admin API over HTTP."""

    def __init__(self, url: str) -> None:
        """Raises ValueError for what is no http(s) URL; one with a password is refused as well."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("--kong-admin is not an http(s) URL")
        if parts.username or parts.password:
            raise ValueError(f"--kong-admin must not hold a password; put a token into {_TOKEN}")
        self._base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self.ahead: float | None = None
        """Seconds that Kong's clock is ahead of ours."""

    def fetch(self, path: str) -> Any:
        """The JSON there. Raises Unreachable."""
        request = urllib.request.Request(f"{self._base}{path}", headers={"accept": "application/json"})
        token = os.environ.get(_TOKEN)
        if token:
            request.add_unredirected_header("Kong-Admin-Token", token)
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as response:
                self._note_clock(response.headers.get("date"))
                return json.loads(response.read(_MOST))
        except urllib.error.HTTPError as error:
            error.close()
            raise Unreachable(f"status {error.code}") from None
        except urllib.error.URLError as error:
            raise Unreachable(str(getattr(error.reason, "strerror", None) or error.reason)) from None
        except (OSError, ValueError) as error:
            raise Unreachable(getattr(error, "strerror", None) or "no JSON came") from None

    def _note_clock(self, date: str | None) -> None:
        try:
            self.ahead = parsedate_to_datetime(date or "").timestamp() - time.time()
        except ValueError:
            self.ahead = None


def _plain(text: str) -> str:
    """On one line and harmless in a terminal: names come from configurations."""
    return "".join(each if each.isprintable() else "?" for each in text)
