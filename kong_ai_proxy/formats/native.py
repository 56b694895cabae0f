"""Who reads the answers of which native API."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Final

from ..core.native import NativeApi, NativeCall
from .passing import PassingObserver, Reader

_READERS: Final[dict[tuple[str, str], tuple[str, str]]] = {
    ("anthropic", "complete"): (".anthropic.complete", "OBSERVER"),
    ("anthropic", "message_batches"): (".results", "MESSAGE_RESULTS"),
    ("gemini", "batches"): (".results", "GENERATE_RESULTS"),
    ("gemini", "download"): (".results", "GENERATE_RESULTS"),
    ("gemini", "embedContent"): (".gemini.observer", "EMBEDDINGS_OBSERVER"),
    ("gemini", "batchEmbedContents"): (".gemini.observer", "EMBEDDINGS_OBSERVER"),
    ("gemini", "predict"): (".gemini.observer", "EMBEDDINGS_OBSERVER"),
    ("gemini", "rawPredict"): (".gemini.observer", "RAW_OBSERVER"),
    ("gemini", "streamRawPredict"): (".gemini.observer", "RAW_OBSERVER"),
    ("bedrock", "invoke"): (".bedrock.observer", "INVOKE_OBSERVER"),
    ("bedrock", "invoke-with-response-stream"): (".bedrock.observer", "INVOKE_OBSERVER"),
    ("bedrock", "retrieveAndGenerate"): (".bedrock.observer", "RAG_OBSERVER"),
    ("bedrock", "retrieveAndGenerateStream"): (".bedrock.observer", "RAG_STREAM_OBSERVER"),
    ("cohere", "chat"): (".cohere.observer", "OBSERVER"),
    ("cohere", "embed"): (".cohere.observer", "OBSERVER"),
    ("cohere", "generate"): (".cohere.observer", "OBSERVER"),
    ("cohere", "rerank"): (".cohere.observer", "OBSERVER"),
    ("huggingface", "generate"): (".huggingface.observer", "OBSERVER"),
    ("huggingface", "generate_stream"): (".huggingface.observer", "OBSERVER"),
}
"""(format, API) → module and constant; all others are not read."""

_UNREAD: Final = PassingObserver(Reader)


def observer_for(llm_format: str, native: NativeCall) -> PassingObserver:
    """The observer of an API's answers."""
    return _observer(llm_format, native.api)


@cache
def _observer(llm_format: str, api: NativeApi) -> PassingObserver:
    found = _READERS.get((llm_format, api.name))
    if found is None:
        return _UNREAD
    observer: PassingObserver = getattr(import_module(found[0], __package__), found[1])
    return observer
