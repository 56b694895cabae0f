"""An embedded stand-in for Kong Gateway: development and tests only.

It reads a declarative `kong.yml`, takes requests like nginx, talks to the plugin server as Kong does
(`rpc`), and proxies. Everything is gevent, without patching: a test may run it in a thread of its own.
"""
