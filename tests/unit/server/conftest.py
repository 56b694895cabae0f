"""The plugin server fixture, for the tests in this folder."""

from served_support import served

__all__ = ["served"]
