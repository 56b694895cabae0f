"""What the commands say when the machine refuses them something: for people, without Python's notation."""

from __future__ import annotations

import argparse
import os
import re
from typing import Final

_ADDRESS: Final = re.compile(r"\('(?P<host>[^']*)', (?P<port>\d+)\b")


def told(error: BaseException) -> str:
    """An error in a few words, with the file or the address it is about where it names one."""
    if not isinstance(error, OSError):
        return str(error) or type(error).__name__
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
    if error.filename:
        return f"{os.fsdecode(error.filename)}: {reason}"
    address = _ADDRESS.search(str(error))
    if address is None:
        return reason
    # Resolvers' errors have numbers of their own, and gevent puts the address behind the reason.
    reason = reason.partition(": (")[0]
    host = address["host"]
    return f"{f'[{host}]' if ':' in host else host}:{address['port']}: {reason}"


def port(text: str) -> int:
    """The number of a TCP port, as the type of an argument."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"not a port: {text!r}")
    return number
