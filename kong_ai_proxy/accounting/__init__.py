"""From what a call used to what Kong's logs say: cost, the `ai.proxy` record, its way through Kong.

Pure computation.
"""
