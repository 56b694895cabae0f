"""The socket files: stale ones are replaced, live ones are left alone, nothing stays behind."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from kong_ai_proxy.server.sockets import SocketDirectory, SocketInUse


def test_sockets_have_their_mode_and_go_with_the_server(tmp_path):
    directory = SocketDirectory(tmp_path)
    with directory.bind("a.sock", 0o660), directory.bind("b.sock", 0o600):
        assert stat.S_IMODE(os.stat(tmp_path / "a.sock").st_mode) == 0o660
        assert stat.S_IMODE(os.stat(tmp_path / "b.sock").st_mode) == 0o600
    directory.release()
    assert list(tmp_path.iterdir()) == []
    directory.release()


def test_a_stale_socket_is_replaced(tmp_path):
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "a.sock"))
    dead.close()
    directory = SocketDirectory(tmp_path)
    with directory.bind("a.sock", 0o660) as sock:
        sock.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "a.sock"))
    directory.release()


def test_a_socket_somebody_answers_on_is_refused(tmp_path):
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(tmp_path / "a.sock"))
        live.listen()
        directory = SocketDirectory(tmp_path)
        with pytest.raises(SocketInUse, match="answers"):
            directory.bind("a.sock", 0o660)
        directory.release()
        assert (tmp_path / "a.sock").exists()


def test_one_server_a_directory(tmp_path):
    first = SocketDirectory(tmp_path)
    with pytest.raises(SocketInUse, match="another plugin server"):
        SocketDirectory(tmp_path)
    first.release()
    SocketDirectory(tmp_path).release()


def test_what_is_no_socket_is_not_removed(tmp_path):
    (tmp_path / "a.sock").write_text("mine")
    directory = SocketDirectory(tmp_path)
    with pytest.raises(ValueError, match="not a socket"):
        directory.bind("a.sock", 0o660)
    directory.release()
    assert (tmp_path / "a.sock").read_text() == "mine"


def test_a_socket_another_server_put_there_is_left(tmp_path):
    directory = SocketDirectory(tmp_path)
    with directory.bind("a.sock", 0o660), socket.socket(socket.AF_UNIX) as other:
        os.unlink(tmp_path / "a.sock")
        other.bind(str(tmp_path / "a.sock"))
        directory.release()
        assert (tmp_path / "a.sock").exists()


def test_paths_that_cannot_work_are_named(tmp_path):
    with pytest.raises(FileNotFoundError):
        SocketDirectory(tmp_path / "none")
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    directory = SocketDirectory(Path(deep))
    with pytest.raises(ValueError, match="longer than 107"):
        directory.bind("kong-ai-proxy-advanced.sock", 0o660)
    directory.release()
