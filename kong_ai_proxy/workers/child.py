"""Child processes, without a signal handler: nobody else's children are touched."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import gevent
from gevent import get_hub

_READ: Final = 1
_POLL_SECONDS: Final = 0.1


class Child:
    """A process of ours, from its start until it was waited for."""

    def __init__(self, arguments: Sequence[str], inherited: Sequence[int]) -> None:
        """Runs this program's interpreter with these arguments. Of the descriptors it has the standard ones
        and those `inherited`, by the same numbers; its input is empty. Raises OSError."""
        self.status: int | None = None
        """The exit status, or the negative number of the signal that ended it; None while it runs."""
        # posix_spawn comes back only with the new process: nothing else of this thread is started between.
        for fd in inherited:
            os.set_inheritable(fd, True)
        try:
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, *arguments],
                os.environ,
                file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            )
        finally:
            for fd in inherited:
                os.set_inheritable(fd, False)

    def wait(self) -> int:
        """Lets others run until the process has ended; gives its status."""
        pidfd = _pidfd(self.pid)
        if pidfd is None:
            while not self._ended():
                gevent.sleep(_POLL_SECONDS)
        else:
            watcher: Any = get_hub().loop.io(pidfd, _READ)
            try:
                while not self._ended():
                    get_hub().wait(watcher)
            finally:
                watcher.close()
                os.close(pidfd)
        assert self.status is not None
        return self.status

    def kill(self) -> None:
        """At once. Nothing happens where it has ended."""
        if self.status is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _ended(self) -> bool:
        try:
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            self.status = -1  # somebody else has waited for it
            return True
        if found is None:
            return False
        self.status = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        return True


def _pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where there is none to be had: before
    Linux 5.3, or in a sandbox that forbids it."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
