"""Llama's raw prompt formats, for servers that take a prompt instead of messages (`llama2_format: raw`).

The adapters are in `raw`; `prompt` serves Hugging Face's text generation too.
"""
