"""OpenAI's files and batches APIs at providers that have a batch API of their own: one file a provider.

Source of the client's side: https://platform.openai.com/docs/api-reference/files, …/batch, and the recordings
openai/files and openai/batches.
"""
