"""`python -m kong_ai_proxy.devgateway.child COMMAND …`: the command line, ended together with its parent
process.

A gateway that is killed must not leave its plugin server behind.
"""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Have Linux send SIGTERM when the parent ends; elsewhere nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    end_with_parent()
    from kong_ai_proxy.cli import main

    sys.exit(main())
