"""Kong Gateway plugins that translate, stream, balance and meter LLM traffic."""

__version__ = "0.1.0"
