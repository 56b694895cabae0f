"""What the relay tells monitoring about itself, in Prometheus' text format.

Kong's `prometheus` plugin counts requests, tokens and cost; this is what Kong cannot see. `exposition` is the
format, `sources` and `process` read the numbers, `manage` decides who may ask.
"""
