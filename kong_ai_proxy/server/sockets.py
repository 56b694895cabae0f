"""The plugin server's unix sockets: one server per directory, nothing stale left in its way."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from pathlib import Path

_LONGEST_PATH = 107
"""Bytes a unix socket's path may have on Linux (sun_path holds 108 with the closing zero)."""


class SocketInUse(Exception):
    """Another server is running here."""


class SocketDirectory:
    """The directory that holds our sockets, claimed for this process.

    The claim is a lock on the directory itself: it goes with the process, leaves no file behind, and keeps
    two servers that start at the same moment from replacing each other's sockets.
    """

    def __init__(self, path: str | Path) -> None:
        """Raises SocketInUse, or OSError where the directory is not there."""
        self.path = Path(path)
        self._made: dict[Path, tuple[int, int]] = {}
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise SocketInUse(f"another plugin server runs in {self.path}") from None
            raise

    def bind(self, name: str, mode: int) -> socket.socket:
        """A bound socket file with these permissions. A socket nobody answers on is replaced; raises
        SocketInUse for one that is answered, ValueError for a path that is too long or no socket."""
        path = self.path / name
        if len(os.fsencode(path)) > _LONGEST_PATH:
            raise ValueError(f"socket path longer than {_LONGEST_PATH} bytes: {path}")
        _remove_stale(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Bound with no permissions at first: nobody connects before the mode is right.
            before = os.umask(0o777)
            try:
                sock.bind(str(path))
            finally:
                os.umask(before)
            os.chmod(path, mode)
            made = os.stat(path)
        except BaseException:
            sock.close()
            raise
        self._made[path] = (made.st_dev, made.st_ino)
        return sock

    def remove(self) -> None:
        """Remove the sockets made here, unless somebody else has put others in their place."""
        for path, inode in self._made.items():
            try:
                found = os.lstat(path)
                if (found.st_dev, found.st_ino) == inode:
                    os.unlink(path)
            except OSError:
                pass
        self._made.clear()

    def release(self) -> None:
        """Remove the sockets and let another server have the directory."""
        self.remove()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _remove_stale(path: Path) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ValueError(f"{path} exists and is not a socket")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.settimeout(1.0)
        probe.connect(str(path))
    except (ConnectionRefusedError, FileNotFoundError):
        path.unlink(missing_ok=True)
    except OSError as error:
        raise SocketInUse(f"{path}: {error.strerror or error}") from None
    else:
        raise SocketInUse(f"another server answers on {path}")
    finally:
        probe.close()
