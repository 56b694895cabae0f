"""Keeping what large bodies needed of memory for the next one, and giving it back when there is none.

glibc returns a freed block of more than 32 MB to the system at once. The JSON parser's room is twelve times
the body's size, so it gets there with 3 MB: from there on each body has its memory faulted in anew, page by
page, which costs as much as all that is done with it (benchmarks/README.md). Python does the same with the
arenas that its small objects live in, as soon as one is empty: that is most of them after each body of many
messages.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import repeat
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
_LARGE: Final = 256 * 1024
"""Bytes of a body whose objects need arenas of their own."""
_TIMES: Final = 4
"""Bytes of arenas that stay for each byte of the largest body: messages of 270 bytes and their translation
need less than 3."""
_MOST: Final = 64 * 1024 * 1024
"""Bytes of arenas that stay, however large a body was."""
_BLOCK: Final = 512
"""Bytes of the largest object that lives in an arena."""
_SPAN: Final = 128 * 1024
"""Bytes of which one block is held. An arena has 1 MiB (256 KiB on 32 bits), and may begin anywhere."""
_LONG: Final = 60.0
"""Seconds after the last large body for which arenas stay."""
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


class Arenas:
    """Python's memory for small objects. One that holds anything is kept, and so each has to hold a bit."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._reserve = self._wanted = 0
        self._timer: Any = None

    def expect(self, size: int) -> None:
        """To be called when a body has come."""
        if size >= _LARGE:
            self._wanted = max(self._wanted, min(size * _TIMES, _MOST))

    def exchanged(self) -> None:
        """To be called, in gevent's thread, when an exchange has ended: after a large one some arenas stay,
        for a minute from the last one on."""
        if not self._wanted:
            return
        if self._wanted > self._reserve:
            self._reserve = self._wanted
            self._held = _scattered(self._reserve)
        self._wanted = 0
        if self._timer is None:
            self._timer = get_hub().loop.timer(_LONG, ref=False)
        self._timer.stop()
        self._timer.start(self.close)

    def close(self) -> None:
        """Nothing is held any more, until the next large body."""
        self._held = []
        self._reserve = 0
        if self._timer is not None:
            self._timer.close()
            self._timer = None


def _scattered(reserve: int) -> list[bytes]:
    """Blocks that are spread over so many bytes."""
    room = _BLOCK - sys.getsizeof(b"")
    blocks = map(bytes, repeat(room, reserve // _BLOCK))
    return list({id(block) // _SPAN: block for block in list(blocks)}.values())


def _resident() -> int:
    """Bytes; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0
