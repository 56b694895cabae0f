"""One request's journey: ticket → plan → attempts (translation, balancing) → answer → usage and log record.

No I/O here: `relay` carries what is decided here.
"""
