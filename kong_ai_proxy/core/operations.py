"""What a client asks for, by Kong's route_type."""

from __future__ import annotations

from typing import Final

OPERATIONS: Final[dict[str, str]] = {
    "llm/v1/chat": "chat",
    "llm/v1/completions": "completions",
    "llm/v1/embeddings": "embeddings",
    "llm/v1/responses": "responses",
    "llm/v1/assistants": "assistants",
    "llm/v1/files": "files",
    "llm/v1/batches": "batches",
    "audio/v1/audio/speech": "audio.speech",
    "audio/v1/audio/transcriptions": "audio.transcriptions",
    "audio/v1/audio/translations": "audio.translations",
    "image/v1/images/generations": "image.generations",
    "image/v1/images/edits": "image.edits",
    "video/v1/videos/generations": "video.generations",
    "realtime/v1/realtime": "realtime",
    "preserve": "preserve",
}
"""route_type → operation, the capability names of Kong's provider matrix."""
