"""Keeping what large bodies needed of memory for the next one, and giving it back when there is none.

glibc returns a freed block of more than 32 MB to the system at once. The JSON parser's room is twelve times
the body's size, so it gets there with 3 MB: from there on each body has its memory faulted in anew, page by
page, which costs as much as all that is done with it (benchmarks/README.md).
"""

from __future__ import annotations

import ctypes
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from gevent import get_hub

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_MAX: Final = -4
"""malloc.h's numbers, for `mallopt`."""
_KEPT: Final = 512 * 1024 * 1024
"""Bytes at the end of the heap that stay for the moment. Of most of them no page was ever touched."""
_AFTER: Final = 5.0
"""Seconds from an exchange to the look at what may go back; under load, from one look to the next."""
_PAGE: Final = resource.getpagesize()
_GROWN: Final = 16 * 1024 * 1024
"""Bytes of resident memory more than after the last time make it worth the while."""


class Heap:
    """The C library's heap of this process. Where that is not glibc's it does nothing."""

    def __init__(self, library: Any = None, resident: Callable[[], int] | None = None) -> None:
        """For tests: the C library, and who tells the process's resident bytes."""
        self._library = library or ctypes.CDLL(None)
        self._resident = resident or _resident
        self._kept = False
        self._least = 0
        self._timer: Any = None

    def keep(self) -> None:
        """From now on what is freed stays with the process, until an `exchanged` has it given back."""
        with suppress(AttributeError):
            mallopt = self._library.mallopt
            self._kept = bool(mallopt(_M_TRIM_THRESHOLD, _KEPT) and mallopt(_M_MMAP_MAX, 0))
        self._least = self._resident()

    def exchanged(self) -> None:
        """To be called, in gevent's thread, when an exchange has ended: what it needed is given back soon."""
        if self._kept and self._timer is None:
            self._timer = get_hub().loop.timer(_AFTER, ref=False)
            self._timer.start(self.give_back)

    def give_back(self) -> None:
        """Frees what is worth the while."""
        self.close()
        now = self._resident()
        if now - self._least >= _GROWN:
            self._library.malloc_trim(0)
            self._least = self._resident()
        else:
            self._least = min(self._least, now)

    def close(self) -> None:
        """Nothing is given back any more, unless something is exchanged."""
        if self._timer is not None:
            self._timer.close()
            self._timer = None


def _resident() -> int:
    """Bytes; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0
