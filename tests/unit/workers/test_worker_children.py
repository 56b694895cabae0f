"""Processes that are started and waited for."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from typing import Any

import gevent
import pytest

from kong_ai_proxy.workers import child as children
from kong_ai_proxy.workers.child import Child

BARE = ("-I", "-S", "-c")


def python(code: str, *inherited: int) -> Child:
    return Child([*BARE, code, *map(str, inherited)], inherited)


@pytest.mark.parametrize("with_pidfd", [True, False])
def test_how_it_ended(with_pidfd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not with_pidfd:
        monkeypatch.setattr(children, "_POLL_SECONDS", 0.005)

        def unknown(pid: int) -> int:
            raise OSError("not in this sandbox")

        monkeypatch.setattr(os, "pidfd_open", unknown)
    with gevent.Timeout(10, AssertionError("the test hangs")):
        one = python("raise SystemExit(3)")
        other = python("import os; os.kill(os.getpid(), 15)")
        assert one.status is None
        waiting = [gevent.spawn(each.wait) for each in (one, other)]
        assert [each.get() for each in waiting] == [3, -15]
        assert (one.status, other.status) == (3, -15)
        one.kill()  # it has ended: nobody else who has its number now is hit


def test_a_killed_one() -> None:
    child = python("import time; time.sleep(60)")
    child.kill()
    with gevent.Timeout(10, AssertionError("the test hangs")):
        assert child.wait() == -9


def test_one_that_somebody_else_waited_for() -> None:
    child = python("pass")
    os.waitpid(child.pid, 0)
    child.kill()
    assert child.wait() == -1


def test_it_has_what_it_was_given_and_no_input() -> None:
    mine, given = socket.socketpair()
    _, kept = pair = socket.socketpair()
    code = (
        "import os, sys\n"
        "fd = int(sys.argv[1])\n"
        "there = [n for n in range(3, 256) if os.path.exists(f'/proc/self/fd/{n}')]\n"
        "own = [n for n in there if os.readlink(f'/proc/self/fd/{n}').startswith('socket:')]\n"
        "os.write(fd, repr((own == [fd], sys.stdin.read())).encode())\n"
    )
    with mine, given, pair[0], kept:
        child = python(code, given.fileno())
        assert not os.get_inheritable(given.fileno())
        mine.settimeout(5)
        assert mine.recv(100) == b"(True, '')"
        assert child.wait() == 0


def test_a_worker_that_comes_after_the_end_of_its_plugin_server() -> None:
    command: Any = [sys.executable, "-m", "kong_ai_proxy.workers.process", "0", "0", "1"]
    began = time.monotonic()
    ended = subprocess.run(command, timeout=10, capture_output=True)
    assert ended.returncode == 1 and not ended.stderr
    assert time.monotonic() - began < 10
