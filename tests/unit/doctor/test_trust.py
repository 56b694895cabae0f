"""What `doctor` says of certificates: a server of TLS that the test makes up."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from relay_support import certificate

from kong_ai_proxy import cli
from kong_ai_proxy.doctor.local import judge_metrics
from kong_ai_proxy.doctor.trust import check_provider, check_store


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[int]:
    """The port of a server whose certificate `ca.pem` in `tmp_path` vouches for, as localhost."""
    context = certificate(tmp_path, "localhost", None)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with suppress(OSError), plain, context.wrap_socket(plain, server_side=True) as secured:
                secured.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


def test_a_trusted_provider_is_well(provider: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert check_provider("localhost", provider).level == "ok"
    assert [each.level for each in check_store()] == ["ok"]


def test_an_authority_that_nobody_knows_is_named(provider: int) -> None:
    found = check_provider("localhost", provider)
    assert (found.level, "not trusted" in found.text) == ("problem", True)
    assert "SSL_CERT_FILE" in found.mend


def test_a_certificate_for_another_host_is_named(
    provider: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    found = check_provider("127.0.0.1", provider)
    assert found.level == "problem"
    assert "127.0.0.1" in found.text


def test_what_speaks_no_tls_and_what_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            plain, _ = listener.accept()
            with plain:
                plain.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                plain.recv(65536)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        found = check_provider("127.0.0.1", port)
        thread.join(10)
    assert found.level == "problem"
    gone = check_provider("127.0.0.1", port)
    assert (gone.level, "cannot be reached" in gone.text) == ("problem", True)


def test_a_store_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    (found,) = check_store()
    assert (found.level, found.text) == ("warning", "SSL_CERT_FILE leads to nothing")


def test_a_store_that_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setattr(ssl, "create_default_context", lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    (found,) = check_store()
    assert (found.level, "no certificate authority" in found.text) == ("warning", True)
    (tmp_path / "0123abcd.0").touch()
    assert [each.level for each in check_store()] == ["ok"]


def test_the_command_looks_at_the_providers_named(
    provider: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--kong-prefix", str(tmp_path), "--relay", "127.0.0.1:1"]
    assert cli.main(["doctor", *where, "--provider", f"localhost:{provider}"]) == 1
    said = capsys.readouterr().out
    assert f"PROBLEM  provider localhost:{provider}: its certificate is not trusted" in said
    assert cli.main(["doctor", *where, "--provider", "host:port"]) == 2


def test_tokens_that_could_not_be_fetched_are_told() -> None:
    text = 'kong_ai_proxy_token_fetches_total{outcome="failed"} %d\n'
    assert not list(judge_metrics("relay", text % 0))
    (found,) = judge_metrics("relay", text % 3)
    assert "3 access tokens" in found.text


def test_a_reference_without_a_value_is_a_problem() -> None:
    labels = 'plugin_id="p",target="2",model="openai/gpt-4o"'
    found = list(judge_metrics("relay", f"kong_ai_proxy_credential_unresolved{{{labels}}} 1\n"))
    assert [(each.level, each.subject) for each in found] == [
        ("problem", "target 2 (openai/gpt-4o) of plugin p")
    ]
    assert not list(judge_metrics("relay", f"kong_ai_proxy_credential_unresolved{{{labels}}} 0\n"))
