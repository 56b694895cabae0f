"""Freed memory stays for the next large body, and goes back to the system a while after the last."""

from __future__ import annotations

import subprocess
import sys

import gevent
import pytest

from kong_ai_proxy.relay import heap as module
from kong_ai_proxy.relay.heap import Arenas, Heap

_MB = 1024 * 1024


class _Library:
    """A C library that grants or refuses, and frees 30 MB when it is asked to."""

    def __init__(self, granted: int = 1) -> None:
        self.granted = granted
        self.resident = 50 * _MB
        self.trimmed = 0

    def mallopt(self, parameter: int, value: int) -> int:
        return self.granted

    def malloc_trim(self, pad: int) -> int:
        self.trimmed += 1
        self.resident -= 30 * _MB
        return 1


def _heap(library: _Library) -> Heap:
    heap = Heap(library, lambda: library.resident)
    heap.keep()
    return heap


def test_what_has_grown_goes_back() -> None:
    library = _Library()
    heap = _heap(library)
    library.resident += 15 * _MB
    heap.give_back()
    assert not library.trimmed, "not worth the while"
    library.resident += 1 * _MB
    heap.give_back()
    assert library.trimmed == 1
    library.resident += 15 * _MB
    heap.give_back()
    assert library.trimmed == 1, "it counts from the last time"


def test_what_other_code_freed_counts() -> None:
    library = _Library()
    heap = _heap(library)
    library.resident -= 20 * _MB
    heap.give_back()
    library.resident += 16 * _MB
    heap.give_back()
    assert library.trimmed == 1


def test_it_looks_once_after_many_exchanges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AFTER", 0.001)
    library = _Library()
    heap = _heap(library)
    library.resident += 40 * _MB
    for _ in range(3):
        heap.exchanged()
    with gevent.Timeout(10):
        while not library.trimmed:
            gevent.sleep(0.001)
    heap.exchanged()
    heap.close()
    assert library.trimmed == 1


@pytest.mark.parametrize("library", [_Library(granted=0), object()])
def test_another_c_library(library: object) -> None:
    heap = Heap(library, lambda: 0)
    heap.keep()
    heap.exchanged()
    assert heap._timer is None


_REALLY = """
from kong_ai_proxy.relay.heap import Heap, _resident
heap = Heap()
heap.keep()
before = _resident()
room = bytearray(64 << 20)
for at in range(0, len(room), 4096):
    room[at] = 1
del room
kept = _resident() - before
heap.give_back()
print(heap._kept, kept >> 20, _resident() - before >> 20)
"""


def test_really() -> None:
    told = subprocess.run([sys.executable, "-c", _REALLY], capture_output=True, text=True, check=True).stdout
    allowed, kept, left = told.split()
    if allowed == "False":
        pytest.skip("not glibc")
    assert int(kept) >= 63
    assert int(left) <= 4


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Path, "read_text", lambda self: "")
    assert Heap()._resident() == 0


def test_arenas_stay_for_a_while_after_a_large_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONG", 0.02)
    arenas = Arenas()
    arenas.expect(module._LARGE - 1)
    arenas.exchanged()
    assert not arenas._held
    arenas.expect(module._LARGE)
    arenas.expect(10)
    arenas.exchanged()
    held = arenas._held
    spans = {id(block) // module._SPAN for block in held}
    assert len(spans) == len(held) >= module._LARGE * module._TIMES // module._SPAN
    arenas.expect(module._LARGE)
    arenas.exchanged()
    assert arenas._held is held, "the next one only makes it last"
    arenas.expect(1 << 40)
    arenas.exchanged()
    assert 1 <= len(arenas._held) / (module._MOST // module._SPAN) <= 2, "a larger one takes more"
    with gevent.Timeout(10):
        while arenas._held:
            gevent.sleep(0.001)
    arenas.exchanged()
    assert not arenas._held
    arenas.close()


_ARENAS_REALLY = """
from kong_ai_proxy.relay import heap
arenas = heap.Arenas()
def grown():
    before = heap._resident()
    many = [[] for _ in range(200_000)]
    del many
    return heap._resident() - before
without = grown()
arenas.expect(4 << 20)
arenas.exchanged()
before = heap._resident()
again = grown()
arenas.close()
print(without >> 20, again >> 20, before - heap._resident() >> 20)
"""


def test_arenas_really() -> None:
    told = subprocess.run(
        [sys.executable, "-c", _ARENAS_REALLY], capture_output=True, text=True, check=True
    ).stdout
    without, again, given_back = map(int, told.split())
    assert without <= 4, "Python gives empty arenas back"
    assert again <= 1, "there was room"
    assert given_back >= 8
