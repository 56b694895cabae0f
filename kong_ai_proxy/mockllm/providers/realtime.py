"""Mock realtime sessions: OpenAI's form (Azure's and xAI's too) and Gemini Live's.

A session answers what it is told, counting a token for each word and each 100 bytes of sound, and the whole
conversation as the input of every response, as the providers do. Source of the events:
https://platform.openai.com/docs/api-reference/realtime-server-events, https://ai.google.dev/api/live.
"""

from __future__ import annotations

import base64
import itertools
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

from ...core.json import Json, JSONDecodeError, dumps, loads
from ...wire.websocket import BINARY, TEXT, Frames, ProtocolError, accept_key, close_frame, frame
from ..answers import Answer
from ..received import Received

PATH: Final = re.compile(r"/realtime$|BidiGenerateContent")
SPEECH: Final = b"\x10\x20" * 400
"""The sound of every spoken answer: 8 tokens."""
_BYTES_PER_TOKEN: Final = 100
_FAIL: Final = re.compile(r"refuse-(\d{3})")
"""A model of this name is refused with that status before the upgrade."""


def respond(received: Received) -> Answer:
    """The upgrade, or what refuses it."""
    if received.headers.get("upgrade", "").lower() != "websocket":
        return _refusal(426, "this needs a WebSocket")
    headers = received.headers
    if not any(headers.get(name) for name in ("authorization", "api-key", "x-goog-api-key")):
        return _refusal(401, "no credential")
    asked = _FAIL.search(received.query)
    if asked:
        return _refusal(int(asked[1]), "as asked for")
    talk = _Live if "BidiGenerateContent" in received.path else _Realtime
    return Answer(takeover=lambda sock: _Socket(sock, received).hold(talk))


def _refusal(status: int, message: str) -> Answer:
    error = {"message": message, "type": "invalid_request_error", "code": None, "param": None}
    return Answer.json({"error": error}, status, {"x-request-id": "mock"})


class _Socket:
    """One session's frames."""

    def __init__(self, sock: socket.socket, received: Received) -> None:
        self._sock = sock
        self.received = received
        self._frames = Frames(masked=True, limit=1 << 24, collect=True)

    def hold(self, talk: Callable[[_Socket], _Realtime | _Live]) -> None:
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Connection: Upgrade",
            "Upgrade: websocket",
            f"Sec-WebSocket-Accept: {accept_key(self.received.headers.get('sec-websocket-key', ''))}",
            "X-Request-Id: mock",
        ]
        offered = self.received.headers.get("sec-websocket-protocol", "").split(",")
        if "realtime" in [name.strip() for name in offered]:
            lines.append("Sec-WebSocket-Protocol: realtime")
        self._sock.sendall("\r\n".join([*lines, "", ""]).encode())
        session = talk(self)
        for message in self._messages():
            try:
                event = loads(message)
            except JSONDecodeError:
                continue
            if isinstance(event, dict):
                session.take(event)

    def _messages(self) -> Iterator[bytes]:
        frames = self._frames
        while frames.close is None:
            data = self._sock.recv(65536)
            if not data:
                self.received.closed.set()
                return
            try:
                frames.feed(data)
            except ProtocolError as error:
                self._sock.sendall(close_frame(error.code, error.reason, mask=False))
                return
            messages, frames.messages = frames.messages, []
            yield from messages
        self._sock.sendall(close_frame(1000, "", mask=False))

    def text(self, event: Json) -> None:
        self._sock.sendall(frame(TEXT, dumps(event), mask=False))

    def binary(self, event: Json) -> None:
        self._sock.sendall(frame(BINARY, dumps(event), mask=False))


class _Realtime:
    """OpenAI's form."""

    def __init__(self, sock: _Socket) -> None:
        self._sock = sock
        self._ids = itertools.count(1)
        query = dict(pair.partition("=")[::2] for pair in sock.received.query.split("&"))
        model = query.get("model") or query.get("deployment") or "mock-realtime"
        self._session: Json = {"id": "sess_1", "object": "realtime.session", "model": model, "tools": []}
        self._words = self._sound = 0
        self._heard = 0
        """Bytes of sound that were not committed."""
        self._last = ""
        self._result: str | None = None
        self._say({"type": "session.created", "session": self._session})

    def take(self, event: Json) -> None:
        """One event of the client's."""
        match event.get("type"):
            case "session.update":
                self._session = {**self._session, **event.get("session", {}), "model": self._session["model"]}
                self._say({"type": "session.updated", "session": self._session})
            case "input_audio_buffer.append":
                self._heard += len(base64.b64decode(event.get("audio", "")))
            case "input_audio_buffer.commit":
                self._commit()
            case "conversation.item.create":
                self._item(event.get("item", {}))
            case "response.create":
                self._respond()
            case kind:
                error = {"type": "invalid_request_error", "message": f"unknown event {kind}"}
                self._say({"type": "error", "error": error})

    def _say(self, event: Json) -> None:
        self._sock.text({"event_id": f"event_{next(self._ids)}", **event})

    def _commit(self) -> None:
        tokens = self._heard // _BYTES_PER_TOKEN
        self._heard = 0
        self._sound += tokens
        self._last = f"{tokens} tokens of sound"
        item = f"item_{next(self._ids)}"
        self._say({"type": "input_audio_buffer.committed", "item_id": item})
        if (self._session.get("audio") or {}).get("input", {}).get("transcription"):
            usage = {
                "type": "tokens",
                "total_tokens": tokens + 2,
                "input_tokens": tokens,
                "input_token_details": {"text_tokens": 0, "audio_tokens": tokens},
                "output_tokens": 2,
            }
            kind = "conversation.item.input_audio_transcription.completed"
            self._say({"type": kind, "item_id": item, "transcript": "some sound", "usage": usage})

    def _item(self, item: Json) -> None:
        if item.get("type") == "function_call_output":
            self._result = str(item.get("output", ""))
            self._words += len(self._result.split())
        else:
            texts = [part.get("text") or "" for part in item.get("content", []) if isinstance(part, dict)]
            self._last = " ".join(texts)
            self._words += len(self._last.split())
        item = {"id": f"item_{next(self._ids)}", **item}
        self._say({"type": "conversation.item.added", "item": item})

    def _respond(self) -> None:
        response_id, item_id = f"resp_{next(self._ids)}", f"item_{next(self._ids)}"
        response: Json = {"id": response_id, "object": "realtime.response", "status": "in_progress"}
        self._say({"type": "response.created", "response": response})
        where = {"response_id": response_id, "item_id": item_id, "output_index": 0}
        tools, result = self._session.get("tools") or [], self._result
        self._result = None
        spoken = "audio" in self._session.get("output_modalities", ["audio"])
        words = sound = 0
        if tools and result is None:
            item, words = self._call(tools[0], where)
        else:
            text = f"You said: {self._last}" if result is None else f"It says: {result}"
            words = len(text.split())
            sound = len(SPEECH) // _BYTES_PER_TOKEN if spoken else 0
            item = self._speak(text, spoken, where)
        self._say({"type": "response.output_item.done", **where, "item": item})
        usage = {
            "total_tokens": self._words + self._sound + words + sound,
            "input_tokens": self._words + self._sound,
            "output_tokens": words + sound,
            "input_token_details": {
                "text_tokens": self._words,
                "audio_tokens": self._sound,
                "cached_tokens": self._words // 2,
            },
            "output_token_details": {"text_tokens": words, "audio_tokens": sound},
        }
        self._words += words
        self._sound += sound
        response = {**response, "status": "completed", "output": [item], "usage": usage}
        self._say({"type": "response.done", "response": response})

    def _call(self, tool: Json, where: Json) -> tuple[Json, int]:
        arguments = dumps({"query": self._last}).decode()
        name = str(tool.get("name", ""))
        self._say({"type": "response.function_call_arguments.delta", **where, "delta": arguments})
        call: Json = {"call_id": "call_1", "name": name, "arguments": arguments}
        self._say({"type": "response.function_call_arguments.done", **where, **call})
        return {"id": where["item_id"], "type": "function_call", "status": "completed", **call}, 3

    def _speak(self, text: str, spoken: bool, where: Json) -> Json:
        part: Json
        if spoken:
            audio = base64.b64encode(SPEECH).decode()
            self._say({"type": "response.output_audio.delta", **where, "content_index": 0, "delta": audio})
            self._say({"type": "response.output_audio.done", **where, "content_index": 0})
            part = {"type": "output_audio", "transcript": text}
        else:
            for word in text.split(" "):
                self._say({"type": "response.output_text.delta", **where, "content_index": 0, "delta": word})
            part = {"type": "output_text", "text": text}
        item: Json = {"id": where["item_id"], "type": "message", "role": "assistant", "status": "completed"}
        return {**item, "content": [part]}


class _Live:
    """Gemini's. Its messages come as binary frames."""

    def __init__(self, sock: _Socket) -> None:
        self._sock = sock
        self._words = 0
        self._sound = 0

    def take(self, event: Json) -> None:
        """One message of the client's."""
        content: Any = event.get("clientContent") or event.get("client_content")
        if "setup" in event:
            # What else would be in a request's body.
            self._sock.received.body = dumps(event)
            self._sock.binary({"setupComplete": {}})
        elif isinstance(content, dict):
            texts = [p.get("text", "") for turn in content.get("turns", []) for p in turn.get("parts", [])]
            self._words += len(" ".join(texts).split())
            self._turn()

    def _turn(self) -> None:
        audio = base64.b64encode(SPEECH).decode()
        inline = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": audio}}
        self._sock.binary({"serverContent": {"modelTurn": {"parts": [inline]}}})
        sound = len(SPEECH) // _BYTES_PER_TOKEN
        prompt = self._words + self._sound
        usage = {
            "promptTokenCount": prompt,
            "responseTokenCount": sound,
            "thoughtsTokenCount": 2,
            "totalTokenCount": prompt + sound,
            "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": sound}],
        }
        self._sound += sound
        self._sock.binary({"serverContent": {"turnComplete": True}, "usageMetadata": usage})
