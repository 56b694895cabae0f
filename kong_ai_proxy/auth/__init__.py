"""Credentials towards providers: keys, AWS SigV4, Google and Azure tokens; cached and refreshed.

This package may do I/O (token endpoints), through gevent's patched sockets, and is called from the relay only.
"""
