"""How many workers there are is said once, at the start."""

from __future__ import annotations

import pytest

from kong_ai_proxy import cli
from kong_ai_proxy.exchange.tickets import TicketStore
from kong_ai_proxy.plugin import Book
from kong_ai_proxy.relay.server import RelayServer
from kong_ai_proxy.server import serve
from kong_ai_proxy.workers.pool import WorkerPool


def parsed(*arguments: str) -> int:
    return int(cli._parser("serve").parse_args(["serve", *arguments]).workers)


def test_one_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KONG_AI_PROXY_WORKERS", raising=False)
    assert parsed() == 1
    assert parsed("--workers", "64") == 64
    monkeypatch.setenv("KONG_AI_PROXY_WORKERS", "3")
    assert parsed() == 3
    assert parsed("--workers", "2") == 2
    monkeypatch.setenv("KONG_AI_PROXY_WORKERS", "")
    assert parsed() == 1


@pytest.mark.parametrize("wrong", ["0", "65", "-1", "two", " ", "1.5", "²"])
def test_what_is_no_number_of_workers(
    wrong: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KONG_AI_PROXY_WORKERS", wrong)
    with pytest.raises(SystemExit) as ended:
        parsed()
    assert ended.value.code == 2
    assert "not a number from 1 to 64" in capsys.readouterr().err


def test_with_one_this_process_is_the_relay() -> None:
    for workers, kind in ((1, RelayServer), (2, WorkerPool)):
        options = serve.Options("/tmp", ("127.0.0.1", 0), workers=workers)
        relay = serve._relay_of(options)(("127.0.0.1", 0), TicketStore())
        assert type(relay) is kind
        assert isinstance(relay, Book) is (workers > 1)
        relay.stop(0)
