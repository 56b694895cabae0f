"""`python -m kong_ai_proxy.workers.process CONTROL DOOR PARENT`: the program of a relay worker.

Started by `WorkerPool` with the descriptors of two sockets, one to talk on and one that connections come
over, and the process that it belongs to. What it does is in `worker`, loaded when gevent has been let in.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def end_with(parent: int) -> None:
    """Have Linux end this process with the plugin server, however that ends. (Elsewhere the end of the
    channel does.)"""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # it has gone already


def main(arguments: list[str], prepare: Callable[[], None] | None = None) -> int:
    """`prepare` is called when gevent has been let in, before anything else of the worker is loaded."""
    control, door, parent = map(int, arguments)
    # A terminal or a service manager signals all processes: how this one ends is the plugin server's to say.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    end_with(parent)
    from gevent import monkey

    monkey.patch_all()
    if prepare is not None:
        prepare()
    from .worker import Worker

    return Worker(control, door).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
