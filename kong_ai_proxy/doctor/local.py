"""Asks the plugin server's sockets and the relay."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgpack

from .findings import Finding

_SECONDS: Final = 5.0
_ANSWER: Final = 4 * 1024 * 1024
_OLD_TICKET: Final = 120.0
"""Seconds a request may be on its way from access to the relay before it is strange: bodies take time."""
_SAMPLE: Final = re.compile(r"^(kong_ai_proxy_[a-z_]+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_SERVE: Final = "start `kong-ai-proxy serve` with this --kong-prefix, or read its log"


def check_socket(directory: Path, plugin: str) -> Finding:
    """Whether Kong could talk to the plugin server over its socket."""
    path = directory / f"{plugin}.sock"
    subject = f"socket {path}"
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return Finding("problem", subject, "is not there", _SERVE)
    except OSError as error:
        return Finding(
            "problem", subject, f"cannot be looked at: {error.strerror}", "run this as Kong's user"
        )
    if not stat.S_ISSOCK(mode):
        return Finding("problem", subject, "is not a socket", "remove it, then restart the plugin server")
    try:
        answer = ping(path)
    except PermissionError:
        return Finding(
            "problem",
            subject,
            "may not be used by this user",
            "run this, and Kong, as a user or group that owns the socket; see serve's --socket-mode",
        )
    except TimeoutError:
        return Finding("problem", subject, "does not answer", "restart the plugin server; see its log")
    except OSError as error:
        return Finding("problem", subject, f"nobody listens ({error.strerror or error})", _SERVE)
    except ValueError:
        return Finding("problem", subject, "something else answers", "remove it; restart the plugin server")
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        return Finding(
            "warning",
            subject,
            f"answers, but every user of this machine may use it (mode {mode & 0o777:o})",
            "set serve's --socket-mode to 660: who may connect may use the configured credentials",
        )
    return Finding("ok", subject, answer)


def ping(path: Path) -> str:
    """Ask for an instance that cannot be there, as Kong asks for one. Gives what to say of the answer; raises
    OSError, or ValueError where it is not the plugin server that answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_SECONDS)
        sock.connect(os.fspath(path))
        sock.sendall(msgpack.packb([0, 1, "plugin.InstanceStatus", [-1]]))
        unpacker = msgpack.Unpacker(max_buffer_size=_ANSWER)
        until = time.monotonic() + _SECONDS
        while True:
            if time.monotonic() > until:
                raise TimeoutError
            data = sock.recv(65536)
            if not data:
                raise ValueError("closed")
            try:
                unpacker.feed(data)
                messages: list[Any] = list(unpacker)
            except Exception:
                raise ValueError("not MessagePack") from None
            for message in messages:
                known = isinstance(message, list) and len(message) == 4 and message[:2] == [1, 1]
                if known and "no plugin instance" in str(message[2]):
                    return "answers"
                raise ValueError("not the plugin server")


def check_relay(host: str, port: int) -> Iterator[Finding]:
    """Whether the relay is there and well."""
    subject = f"relay {host}:{port}"
    try:
        status, body = get(host, port, "/health")
        said = json.loads(body)
        state = said.get("status") if isinstance(said, dict) else None
    except ValueError:
        said, state, status = None, None, 0
    except (OSError, http.client.HTTPException) as error:
        yield Finding(
            "problem",
            subject,
            f"cannot be reached: {getattr(error, 'strerror', None) or type(error).__name__}",
            f"{_SERVE}; or name the relay's address with --relay",
        )
        return
    if state == "stopping":
        yield Finding("warning", subject, "is shutting down", "")
        return
    workers = said.get("workers") if isinstance(said, dict) else None
    if state == "degraded" and isinstance(workers, dict):
        yield Finding(
            "warning",
            subject,
            f"{workers.get('up')} of {workers.get('wanted')} relay workers answer",
            "read the plugin server's log (worker_died); a worker that died is started again",
        )
    elif state != "ok" or status != 200:
        yield Finding(
            "problem", subject, "something else answers on this address", "name the relay's with --relay"
        )
        return
    yield Finding("ok", subject, "is reachable from here")
    try:
        status, body = get(host, port, "/metrics")
    except (OSError, http.client.HTTPException):
        return
    if status == 200:
        yield from judge_metrics(subject, body.decode("utf-8", "replace"))


def judge_metrics(subject: str, text: str) -> Iterator[Finding]:
    """What the relay's own numbers say is wrong."""
    for name, labels, value in _SAMPLE.findall(text):
        told = dict(_LABEL.findall(labels))
        if name == "kong_ai_proxy_target_unhealthy" and value == "1":
            yield Finding(
                "warning",
                f"target {told.get('target')} ({told.get('model')}) of plugin {told.get('plugin_id')}",
                "is taken for unhealthy after repeated failures",
                "see the provider's status and the plugin server's log (target_unhealthy)",
            )
        elif name == "kong_ai_proxy_credential_unresolved" and value == "1":
            yield Finding(
                "problem",
                f"target {told.get('target')} ({told.get('model')}) of plugin {told.get('plugin_id')}",
                "a vault reference of its credential has no value: Kong could not resolve it",
                "Kong's error log names the reference; see that the vault, or Kong's environment, has it",
            )
        elif name == "kong_ai_proxy_tickets_oldest_age_seconds" and float(value) > _OLD_TICKET:
            yield Finding(
                "warning",
                subject,
                f"a request passed the plugin {float(value):.0f} s ago and has not come to the relay",
                "see that Kong reaches the relay's address (serve's --relay and --relay-advertise)",
            )
        elif name == "kong_ai_proxy_token_fetches_total" and told.get("outcome") == "failed" and float(value):
            yield Finding(
                "warning",
                subject,
                f"{float(value):.0f} access tokens could not be fetched from cloud providers",
                "the plugin server's log names the credential and why (it never prints one)",
            )
        elif name == "kong_ai_proxy_instances" and value == "0":
            yield Finding(
                "warning",
                subject,
                "Kong has started no plugin instance yet",
                "instances start with the first request; if there were some, Kong uses another plugin server",
            )


def get(host: str, port: int, path: str) -> tuple[int, bytes]:
    """Status and body. Raises OSError, HTTPException."""
    connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(_ANSWER)
    finally:
        connection.close()
