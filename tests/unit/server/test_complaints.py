"""What a newcomer's mistakes are answered with: a line that says what is wrong, a status, no traceback."""

from __future__ import annotations

import argparse
import errno
import gzip
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kong_ai_proxy import cli
from kong_ai_proxy.complaints import port, told
from kong_ai_proxy.server.serve import _hint

IN_USE = "Address already in use"
BINDING = "in use (while attempting to bind on address ('::1', 80, 0, 0))"
ERRORS = [
    (FileNotFoundError(errno.ENOENT, "not here", "a.yml"), "a.yml: No such file or directory"),
    (OSError(errno.EADDRINUSE, "in use: ('127.0.0.1', 80)"), f"127.0.0.1:80: {IN_USE}"),
    (OSError(errno.EADDRINUSE, BINDING), f"[::1]:80: {IN_USE}"),
    (socket.gaierror(-2, "Name not known: ('no.invalid', 80)"), "no.invalid:80: Name not known"),
    (OSError(errno.ENOSPC, "full"), "No space left on device"),
    (OSError("odd"), "odd"),
    (ValueError("a word"), "a word"),
    (RuntimeError(), "RuntimeError"),
]


@pytest.mark.parametrize(("error", "said"), ERRORS)
def test_errors_are_told_in_words(error: Exception, said: str) -> None:
    assert told(error) == said


@pytest.mark.parametrize("text", ["-1", "65536", "abc", "", "٣", "1e3"])
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="not a port"):
        port(text)
    assert port("0") == 0 and port("65535") == 65535


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cli, "_dump", full)
    assert cli.main(["dump"]) == 1
    assert capsys.readouterr().err == "kong-ai-proxy dump: No space left on device\n"


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (FileNotFoundError(errno.ENOENT, "", "/usr/local/kong"), "--kong-prefix"),
        (NotADirectoryError(errno.ENOTDIR, "", "kong.yml"), "--kong-prefix"),
        (OSError(errno.EADDRINUSE, ""), "--relay"),
        (OSError(errno.EADDRNOTAVAIL, ""), ""),
        (ValueError("what"), ""),
    ],
)
def test_serve_says_how_to_mend_it(error: Exception, hint: str) -> None:
    assert hint in _hint(error).get("hint", "")
    assert bool(_hint(error)) == bool(hint)


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KONG_PREFIX", "KONG_AI_PROXY_RELAY", "KONG_AI_PROXY_WORKERS"):
        monkeypatch.setenv(name, "")
    args = cli._parser("serve").parse_args(["serve"])
    assert (args.kong_prefix, args.relay, args.workers) == ("/usr/local/kong", cli.DEFAULT_RELAY, 1)


def test_a_mock_on_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        ran = subprocess.run(
            [sys.executable, "-m", "kong_ai_proxy.cli", "mock", "--port", str(number)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert ran.returncode == 1
    assert ran.stderr == f"kong-ai-proxy mock: 127.0.0.1:{number}: Address already in use\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file or directory"), (b"\xff\xfe\x00", "not UTF-8 text"), (b"a: [", "line 1, column 5")],
)
def test_dev_with_a_file_it_cannot_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, said: str
) -> None:
    from kong_ai_proxy.devgateway.cli import _read

    path = tmp_path / "kong.yml"
    if content is not None:
        path.write_bytes(content)
    assert _read(path) is None
    told_ = capsys.readouterr().err
    assert told_.startswith(f"kong-ai-proxy dev: {path}: ") and said in told_ and told_.count(str(path)) == 1


def test_dev_takes_what_windows_writes(tmp_path: Path) -> None:
    from kong_ai_proxy.devgateway.cli import _read

    path = tmp_path / "kong.yml"
    path.write_bytes(b"\xef\xbb\xbf_format_version: '3.0'\r\nservices: []\r\n")
    assert _read(path) == {"_format_version": "3.0", "services": []}


KONGS = "_format_version: '3.0'\nplugins:\n- name: ai-proxy\n  config: {}\n"


def test_check_tells_of_kongs_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "kong.yml"
    path.write_text(KONGS)
    assert cli.main(["check", str(path)]) == 0
    said = capsys.readouterr().err
    assert "0 plugin entries checked" in said and "1 entry of Kong's own" in said and "migrate" in said


def test_dev_tells_of_kongs_own() -> None:
    from kong_ai_proxy.devgateway.gateway import _unknown

    assert "migrate" in _unknown("ai-proxy", ["kong-ai-proxy"])
    assert "migrate" not in _unknown("cors", ["kong-ai-proxy"])


def test_check_suggests_the_provider_that_was_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kong.yml"
    path.write_text(
        "_format_version: '3.0'\nplugins:\n- name: kong-ai-proxy\n  config:\n    route_type: llm/v1/chat\n"
        "    model: {provider: Antropic, name: sk-secret}\n"
    )
    assert cli.main(["check", str(path)]) == 1
    said = capsys.readouterr().out
    assert "did you mean anthropic?" in said and "Antropic" not in said and "sk-secret" not in said


@pytest.mark.parametrize("option", [["-o"], ["--report"]])
def test_migrate_into_a_directory_there_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    (tmp_path / "kong.yml").write_text(KONGS)
    assert cli.main(["migrate", str(tmp_path / "kong.yml"), *option, str(tmp_path / "no" / "x.yml")]) == 2
    assert "x.yml: No such file or directory" in capsys.readouterr().err


RECORD = json.dumps({
    "started_at": 1700000000000, "response": {"status": 200},
    "ai": {"proxy": {
        "meta": {"provider_name": "openai", "request_model": "gpt-4o", "response_model": "gpt-4o"},
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }},
})  # fmt: skip


def test_usage_of_a_rotated_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "kong.log.1.gz"
    path.write_bytes(gzip.compress(f"{RECORD}\n{RECORD}\n".encode()))
    assert cli.main(["usage", str(path)]) == 0
    assert "2 requests" in capsys.readouterr().out
    path.write_bytes(path.read_bytes()[:-20])
    assert cli.main(["usage", str(path)]) == 2
    assert "cut off" in capsys.readouterr().err
    path.write_bytes(b"\x1f\x8b" + os.urandom(40))
    assert cli.main(["usage", str(path)]) == 2
    assert str(path) in capsys.readouterr().err


def test_usage_of_records_without_any(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "kong.log"
    path.write_text('{"response": {"status": 200}}\n')
    assert cli.main(["usage", str(path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("0 requests") and "log_statistics" in said and "by model" not in said


def test_usage_as_a_page_for_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "kong.log"
    path.write_text(RECORD + "\n")
    assert cli.main(["usage", str(path), "--html"]) == 0
    assert capsys.readouterr().out.startswith("<!doctype html>")


@pytest.mark.parametrize("number", ["0", "-3", "x"])
def test_usage_of_no_group(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["usage", "f", "--top", number])
    assert "not a number from 1 on" in capsys.readouterr().err
