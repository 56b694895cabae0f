"""The vocabulary everything else shares: HTTP messages, one call to a model, its usage, its errors.

Nothing here does I/O or knows a provider.
"""
