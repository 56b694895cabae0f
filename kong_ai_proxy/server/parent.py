"""Going when Kong goes, if Kong is what started us."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import gevent


def kong_parent() -> int | None:
    """The pid of the nginx worker that started this process; None when something else did.

    An external plugin server (its own container, a service manager, a shell) must live on when its parent
    goes.
    """
    parent = os.getppid()
    if parent <= 1:
        return None
    try:
        command = Path(f"/proc/{parent}/cmdline").read_bytes()
    except OSError:
        return None
    name = os.path.basename(command.split(b"\0", 1)[0].split(b":", 1)[0].split(b" ", 1)[0])
    return parent if name in (b"nginx", b"kong") else None


def watch(parent: int, gone: Callable[[], None], every: float = 1.0) -> gevent.Greenlet:
    """Call `gone` once this process belongs to another parent than `parent`."""

    def poll() -> None:
        while os.getppid() == parent:
            gevent.sleep(every)
        gone()

    return gevent.spawn(poll)
