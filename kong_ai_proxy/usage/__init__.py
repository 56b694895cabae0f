"""`kong-ai-proxy usage`: what Kong's log records say about tokens, cost, latency and errors.

`records` reads one record, `summary` adds them up (no I/O in either), `text` and `page` show the sum, `cli`
and `follow` do the reading.
"""
