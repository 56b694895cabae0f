"""OpenAI's Responses API towards clients, for providers that have chat alone.

Source: https://platform.openai.com/docs/api-reference/responses and the recordings openai/responses*.
"""
