"""The process's log: one JSON line for each event that matters, on stdout, with no secret in it.

Usage::

    log = get_logger("relay")
    log.info("listening", address="127.0.0.1", port=8125)

gives ``{"time": "2026-01-31T12:00:00.000Z", "level": "info", "component": "relay", "event": "listening",
…}``.

Three nets keep secrets out: values under a key that names a credential are masked, configured credentials
(`secrets.add`) are replaced wherever they appear, and so is what looks like a credential (bearer tokens,
keys in a URL's query, private keys).
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, TextIO
from urllib.parse import quote

MASK = "***"

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_SECRET_KEY = re.compile(
    r"(?:^|[_.-])(?:(?:proxy[_-])?authorization|(?:set[_-])?cookie|pass(?:word|wd)|secret|credentials?|"
    r"private[_-]?key|(?:api|access|auth|function|subscription)[_-]?key|apikey|access[_-]key[_-]id|"
    r"(?:access|session|security|refresh|id|api|auth|bearer)?[_-]?token|client[_-]secret|"
    r"header[_-]value|param[_-]value|service[_-]account[_-]json)$",
    re.IGNORECASE,
)

_LOOKS_SECRET = re.compile(
    r"""
    (?P<scheme> \b(?:bearer|basic)\s+ ) [A-Za-z0-9._~+/=\-]{8,}
  | (?P<query>
  [?&](?:key|api[-_]?key|(?:access_)?token|sig|signature|x-amz-(?:signature|credential|security-token)
        |x-goog-(?:signature|credential))= ) [^&\s"']+
  | (?P<userinfo> ://[^/\s:@]*: ) [^/\s@]+ (?=@)
  | \bsk-[A-Za-z0-9_\-]{16,}
  | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b
  | \bAIza[0-9A-Za-z_\-]{30,}
  | \bya29\.[0-9A-Za-z_\-.]{20,}
  | \beyJ[0-9A-Za-z_\-]{10,}\.[0-9A-Za-z_\-]{10,}\.[0-9A-Za-z_\-]*
  | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----.*?(?:-----END\ [A-Z ]*PRIVATE\ KEY-----|\Z)
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)

_SHORTEST_SECRET = 4
"""Characters; replacing something shorter would garble every line and hide nothing."""


class Secrets:
    """The configured credentials. Each may be added several times and stays until removed as often."""

    def __init__(self) -> None:
        self._known: Counter[str] = Counter()
        self._pattern: re.Pattern[str] | None = None

    def add(self, values: Iterable[str]) -> None:
        self._change(values, 1)

    def remove(self, values: Iterable[str]) -> None:
        self._change(values, -1)

    def _change(self, values: Iterable[str], by: int) -> None:
        before = len(self._known)
        grown = False
        for value in values:
            if len(value) >= _SHORTEST_SECRET:
                grown = grown or value not in self._known
                self._known[value] += by
                if self._known[value] <= 0:
                    del self._known[value]
        if grown or len(self._known) != before:
            longest_first = sorted({form for s in self._known for form in _forms(s)}, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def redact(self, text: str) -> str:
        """The text without any credential, known or evident."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        return _LOOKS_SECRET.sub(_masked, text)


def _forms(secret: str) -> set[str]:
    """How a credential may be written: as it is, in JSON, in Python's notation, in a URL."""
    encodable = secret.encode("utf-8", "surrogatepass")
    return {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(encodable, safe=""), quote(encodable)}


def _masked(match: re.Match[str]) -> str:
    kept = match["scheme"] or match["query"] or match["userinfo"] or ""
    return kept + MASK


secrets = Secrets()
"""Of this process."""


def redact(text: str) -> str:
    """The text without any credential; for messages that leave the process another way than by this log."""
    return secrets.redact(text)


def names_secret(key: str) -> bool:
    """True for the name of a field or header whose value must not be shown."""
    return _SECRET_KEY.search(key) is not None


def configured_secrets(config: Any) -> set[str]:
    """All credentials in a plugin's configuration: the values of fields that name one, whatever their
    depth."""
    found: set[str] = set()
    _collect(config, False, found)
    return found


def _collect(value: Any, secret: bool, found: set[str]) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key != "$refs":
                _collect(item, secret or names_secret(str(key)), found)
    elif isinstance(value, list):
        for item in value:
            _collect(item, secret, found)
    elif secret and isinstance(value, str) and value:
        found.add(value)
        scheme, _, rest = value.partition(" ")
        if rest and scheme.isalpha():
            found.add(rest)  # "Bearer …" may appear without its scheme
        if value.lstrip().startswith("{"):
            _collect_inner(value, found)


def _collect_inner(text: str, found: set[str]) -> None:
    """A credential that is itself JSON: a service account file."""
    try:
        inner = json.loads(text)
    except ValueError:
        return
    if isinstance(inner, dict):
        found.update(v for k, v in inner.items() if isinstance(v, str) and names_secret(k))


class _Sink:
    level: int = LEVELS["info"]
    stream: TextIO | None = None
    always: Mapping[str, Any] = {}

    def write(self, line: str) -> None:
        stream = self.stream or sys.stdout
        try:
            stream.write(line + "\n")
            stream.flush()
        except (OSError, ValueError):
            pass  # whoever read the log is gone; that must not stop the work


_sink = _Sink()


class Logger:
    """Events of one component."""

    __slots__ = ("component",)

    def __init__(self, component: str) -> None:
        self.component = component

    def enabled(self, level: str) -> bool:
        return LEVELS[level] >= _sink.level

    def debug(self, event: str, **fields: Any) -> None:
        self._log("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._log("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._log("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._log("error", event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """As `error`, with the traceback of the exception being handled."""
        if self.enabled("error"):
            fields.setdefault("traceback", traceback.format_exc())
            self._log("error", event, fields)

    def _log(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        if LEVELS[level] < _sink.level:
            return
        try:
            line = self._line(level, event, fields)
        except Exception as problem:  # a value that cannot even be shown; the work must go on
            line = self._line(level, event, {"unloggable": type(problem).__name__})
        _sink.write(line)

    def _line(self, level: str, event: str, fields: Mapping[str, Any]) -> str:
        now = time.time()
        head = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z",
            "level": level,
            "component": self.component,
            "event": secrets.redact(event),
            **_sink.always,
        }
        head.update({key: _clean(key, value) for key, value in fields.items()})
        return json.dumps(head, default=_text)


def _clean(key: str, value: Any) -> Any:
    # Numbers are no credentials; `time_per_token` and `time_to_first_token` of a usage record are numbers.
    if value is not None and not isinstance(value, (bool, int, float)) and names_secret(key):
        return MASK
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return secrets.redact(value)
    if isinstance(value, Mapping):
        return {str(name): _clean(str(name), item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean("", item) for item in value]
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return _text(value)


def _text(value: Any) -> str:
    return secrets.redact(str(value))


def get_logger(component: str) -> Logger:
    """`component` is where in the package the event happened: "server", "relay", "auth", …"""
    return Logger(component)


def configure(
    level: str = "info", stream: TextIO | None = None, always: Mapping[str, Any] | None = None
) -> None:
    """Set the lowest level shown and another stream than stdout. Takes over Python's `logging` too: what
    libraries report from `warning` up becomes a line here. `always` are fields of every line."""
    _sink.level = LEVELS[level]
    _sink.stream = stream
    _sink.always = always or {}
    root = logging.getLogger()
    if not any(isinstance(handler, _Bridge) for handler in root.handlers):
        root.addHandler(_Bridge(logging.WARNING))


def level() -> str:
    """The lowest level shown."""
    return next(name for name, number in LEVELS.items() if number == _sink.level)


def write_line(line: str) -> None:
    """A whole line that another process of ours made, credentials masked already."""
    _sink.write(line)


def take_over_gevent() -> None:
    """What fails in a greenlet nobody waits for becomes a line here, not a bare traceback on stderr."""
    import gevent

    logger = get_logger("gevent")

    def print_exception(context: Any, kind: Any, value: Any, trace: Any) -> None:
        text = "".join(traceback.format_exception(kind, value, trace)) if kind else str(value)
        logger.error("greenlet_failed", context=repr(context), traceback=text)

    gevent.get_hub().print_exception = print_exception


class _Bridge(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        fields: dict[str, Any] = {"message": record.getMessage()}
        if record.exc_info:
            fields["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        getattr(get_logger(record.name), level)("library", **fields)
