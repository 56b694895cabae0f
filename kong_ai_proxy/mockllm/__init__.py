"""Mock providers that speak each upstream's wire format, with errors, pacing and streaming on demand.

`MockLLM` is the whole of it: a small threaded HTTP server that answers by path (see `providers`), that
tests can script (`mock.answer(...)`, `mock.serve_recording(...)`), and that remembers what it received and
when its peer hung up. In a process patched by gevent its threads are greenlets.
"""

from .answers import Answer, Drop, Gate, Hang, Pause, Reset
from .received import Received
from .server import MockLLM

__all__ = ["Answer", "Drop", "Gate", "Hang", "MockLLM", "Pause", "Received", "Reset"]
