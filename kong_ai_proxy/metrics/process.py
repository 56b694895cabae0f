"""The process itself, by the names that Prometheus' clients share
(https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .. import __version__
from .exposition import Family

_STARTED: Final = time.time()
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def collect() -> Iterator[Family]:
    """Memory and descriptors only where there is a /proc."""
    yield Family("kong_ai_proxy_build_info", "gauge", "Always 1; the version is in the label.").add(
        1, {"version": __version__}
    )
    yield Family("process_start_time_seconds", "gauge", "When the process started, seconds since 1970.").add(
        _STARTED
    )
    yield Family("process_cpu_seconds_total", "counter", "CPU time of the process.").add(time.process_time())
    memory = Family("process_resident_memory_bytes", "gauge", "Resident memory.")
    descriptors = Family("process_open_fds", "gauge", "Open file descriptors.")
    try:
        memory.add(int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE)
        descriptors.add(len(os.listdir("/proc/self/fd")) - 1)  # without the one that reads the directory
    except (OSError, ValueError, IndexError):
        pass
    yield memory
    yield descriptors
