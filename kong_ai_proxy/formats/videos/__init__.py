"""OpenAI's videos API at providers that make videos in another way: one file a provider's form.

Source of the client's side: https://platform.openai.com/docs/api-reference/videos.
"""
