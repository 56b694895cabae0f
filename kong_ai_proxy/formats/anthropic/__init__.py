"""Anthropic's Messages API: towards providers (`adapter`), in passing (`observer`), from clients (`client`).

Sources: https://platform.claude.com/docs/en/api/messages and the types of the `anthropic` SDK.
"""
