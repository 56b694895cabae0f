"""Small tools for adapters that translate to and from OpenAI's forms: safe reading, answers, chunks, errors.

Sources: https://platform.openai.com/docs/api-reference/chat/object and .../chat/streaming.
"""

from __future__ import annotations

import base64
import binascii
import struct
from array import array
from datetime import datetime
from typing import Any

from ..core.call import Call
from ..core.errors import ApiError, BadRequest
from ..core.http import Headers
from ..core.json import Json, JSONDecodeError, dumps_text, loads
from ..core.usage import Usage, UsageSource

TRUNCATED = "upstream_stream_truncated"
"""The `code` of the error that ends a stream whose answer did not end."""

_KEPT_HEADERS = ("retry-after", "retry-after-ms", "x-request-id", "request-id")
_KEPT_PREFIXES = ("x-ratelimit-", "ratelimit-", "anthropic-ratelimit-")


# Reading what others wrote: a member may be missing, null or of another type.


def obj(value: Any) -> Json:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def objects(value: Any) -> list[Json]:
    """The objects in a list; other members are skipped."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: Any) -> str:
    """The value if it is a string, else ""."""
    return value if isinstance(value, str) else ""


def integer(value: Any) -> int | None:
    """The value as a whole number if it is one (3, 3.0) and fits JSON's 64 bits, else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else None
    if isinstance(value, float) and value.is_integer() and -(2.0**63) <= value < 2.0**63:
        return int(value)
    return None


def count(value: Any) -> int | None:
    """The value as a number of tokens; None where it is none, as a negative one is."""
    found = integer(value)
    return None if found is None or found < 0 else found


def number(value: Any) -> float | int | None:
    """The value if it is a number, else None."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def merged_body(body: Json) -> Json:
    """The body with what stands under a literal `extra_body` moved to its top level.

    OpenAI's SDK merges `extra_body` itself; other clients send the key as it is.
    """
    extra = body.get("extra_body")
    if not isinstance(extra, dict):
        return body
    merged = {**body, **extra}
    if "extra_body" not in extra:
        del merged["extra_body"]
    return merged


def content_text(content: Any) -> str:
    """The text of a message's `content`: a string, or the text (and refusal) parts of a list, joined."""
    if isinstance(content, str):
        return content
    parts = []
    for part in items(content):
        if isinstance(part, str):
            parts.append(part)
        elif isinstance(part, dict):
            parts.append(text(part.get("text")) or text(part.get("refusal")))
    return "".join(parts)


def data_url(url: str) -> tuple[str, str] | None:
    """(media type, base64) of a `data:` URL; None for any other URL, and for one that is not base64.

    Source: https://www.rfc-editor.org/rfc/rfc2397.
    """
    if url[:5].lower() != "data:":
        return None
    head, comma, data = url[5:].partition(",")
    if not comma or not head.lower().endswith(";base64"):
        return None
    return head[:-7].partition(";")[0] or "text/plain", data


def arguments_object(arguments: Any) -> Json:
    """A tool call's arguments as an object. Text that is not a JSON object is kept under `arguments`."""
    if not isinstance(arguments, str):
        return obj(arguments)
    try:
        value = loads(arguments)
    except JSONDecodeError:
        return {"arguments": arguments} if arguments.strip() else {}
    return value if isinstance(value, dict) else {"arguments": arguments}


def json_object(value: str) -> Json | None:
    """The object that a text is the JSON of; None for any other text."""
    if value.lstrip()[:1] != "{":
        return None
    try:
        found = loads(value)
    except JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def tool_call(name: str, arguments: Any, call_id: str) -> Json:
    """OpenAI's tool call; arguments that are not text yet become JSON text."""
    return {
        "id": call_id,
        "type": "function",
        "function": {
            "name": name,
            "arguments": arguments if isinstance(arguments, str) else dumps_text(arguments),
        },
    }


def is_word(value: str) -> bool:
    """Whether it is of ASCII's letters, digits and `_` alone, and begins with no digit: as most ids are."""
    return value.isascii() and value.isidentifier()


def unix_time(moment: Any) -> int:
    """An RFC 3339 time in Unix seconds; 0 for anything else."""
    if not isinstance(moment, str) or not moment:
        return 0
    try:
        return int(datetime.fromisoformat(moment).timestamp())
    except (ValueError, OverflowError):
        return 0


def joined_base64(pieces: list[str]) -> str:
    """Bytes that came in pieces, each in base64 for itself, in base64 as a whole."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return base64.b64encode(b"".join(map(base64.b64decode, pieces))).decode()
    except (binascii.Error, ValueError):
        return "".join(pieces)


def utf8_size(value: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))


# Answers.


def completion(call: Call, choices: list[Json], *, id: str = "", model: str = "", created: int = 0) -> Json:
    """A chat completion with the call's usage. Notes id, model and finish reasons on the call."""
    call.response_id = id or call.new_id()
    call.response_model = model or call.model or None
    call.finish_reasons = [text(choice.get("finish_reason")) for choice in choices]
    answer: Json = {
        "id": call.response_id,
        "object": "chat.completion",
        "created": created or call.created,
        "model": model or call.model,
        "choices": choices,
    }
    if call.usage.source is not UsageSource.NONE:
        answer["usage"] = call.usage.to_openai()
    return answer


class Chunks:
    """Makes the chunks of one streamed chat completion: the same id, time and model on each."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.id = ""
        self.model = ""
        self.created = call.created
        self._begun: set[int] = set()

    def identify(self, id: str = "", model: str = "", created: int = 0) -> None:
        """What the provider says of the answer. The id stays what it was in the first chunk."""
        call = self.call
        if id and not self._begun:
            self.id = call.response_id = id
        if model and model != self.model:
            self.model = call.response_model = model
        if created and not self._begun:
            self.created = created

    def delta(self, index: int, delta: Json, finish_reason: str | None = None) -> Json:
        """A chunk for one choice; the role goes with the first one."""
        if index not in self._begun:
            self._begun.add(index)
            delta = {"role": "assistant", **delta}
        return self._chunk([{"index": index, "delta": delta, "finish_reason": finish_reason}])

    def usage(self, usage: Usage) -> Json:
        """The last chunk: usage and no choices."""
        return {**self._chunk([]), "usage": usage.to_openai()}

    def _chunk(self, choices: list[Json]) -> Json:
        if not self.id:
            self.id = self.call.response_id = self.call.response_id or self.call.new_id()
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model or self.call.model,
            "choices": choices,
        }


def embeddings(call: Call, vectors: list[Any], *, model: str = "") -> Json:
    """OpenAI's embeddings answer. Vectors become base64 where the client asked for that.

    Raises ApiError (502) where one is no list of numbers.
    """
    for vector in vectors:
        try:
            # The fastest check of many numbers there is.
            array("d", vector if isinstance(vector, list) else [None])
        except (TypeError, OverflowError):
            raise not_an_answer(call.provider) from None
    call.response_model = model or call.model or None
    encode = _wants_base64(call)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _packed(vector) if encode else vector}
            for index, vector in enumerate(vectors)
        ],
        "model": model or call.model,
        "usage": {"prompt_tokens": call.usage.prompt_tokens, "total_tokens": call.usage.total},
    }


def _wants_base64(call: Call) -> bool:
    if b"base64" not in call.request.body:
        return False
    try:
        return bool(obj(loads(call.request.body)).get("encoding_format") == "base64")
    except JSONDecodeError:
        return False


def _packed(vector: Any) -> Any:
    """Little-endian 32-bit floats in base64, as OpenAI's `encoding_format: base64` has it."""
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except (struct.error, TypeError, OverflowError):
        return vector


# Errors.


def truncated() -> ApiError:
    """What ends a stream that stopped before its answer did."""
    return ApiError(502, "the provider's stream ended before the answer was complete", code=TRUNCATED)


def not_an_answer(provider: str) -> ApiError:
    """A 2xx body that is nothing this format knows."""
    return ApiError(
        502, f"{provider} sent an answer that cannot be understood", code="upstream_invalid_answer"
    )


def kept_headers(headers: Headers) -> Headers:
    """Of a provider's error answer: the headers a client can act on."""
    return {
        name: value
        for name, value in headers.items()
        if name in _KEPT_HEADERS or name.startswith(_KEPT_PREFIXES)
    }


def decoded(body: bytes) -> Any:
    """A body's JSON; None where it is none."""
    try:
        return loads(body)
    except JSONDecodeError:
        return None


def error_text(body: bytes, limit: int = 2000) -> str:
    """A body that is not JSON as an error's message: plain text kept, markup left out."""
    found = body.decode("utf-8", "replace").strip()
    if found in ("", "null") or found[0] == "<":
        return ""
    return found[:limit]


# Requests.


def modern_messages(messages: Any, call: Call | None = None) -> list[Json]:
    """The messages with OpenAI's former `function_call` and `function` role as tool calls and tool results.
    The same list where there are none of them.

    Raises BadRequest where a message is no object.
    """
    given = items(messages)
    rest = special_messages(given, call)
    if set(map(type, rest)) <= {dict} and not speak_of_functions(rest):
        return given
    made: list[Json] = []
    calls = 0
    for position, message in enumerate(given):
        if not isinstance(message, dict):
            raise BadRequest("a message must be an object", param=f"messages.{position}")
        if "function_call" not in message and message.get("role") != "function":
            made.append(message)
            continue
        function = message.get("function_call")
        if isinstance(function, dict):
            calls += 1
            one = tool_call(text(function.get("name")), text(function.get("arguments")), f"call_{calls}")
            message = {key: value for key, value in message.items() if key != "function_call"}
            message["tool_calls"] = [*objects(message.get("tool_calls")), one]
        elif message.get("role") == "function":
            message = {"role": "tool", "tool_call_id": f"call_{calls}", "content": message.get("content")}
        made.append(message)
    return made


def speak_of_functions(messages: list[Json]) -> bool:
    """Whether any of them has OpenAI's former `function_call`, or is of the `function` role."""
    return any("function_call" in message or message.get("role") == "function" for message in messages)


def plain_texts(messages: list[Any], call: Call | None = None) -> list[str | None]:
    """What a user or the model says in each message that is nothing but that: a role and a text. Else None.

    Most messages are of that kind, and a long conversation has thousands. So formats ask for it first, for
    all at once; it is found once for a call.
    """
    return _told_apart(messages, call)[1]


def special_messages(messages: list[Any], call: Call | None = None) -> list[Any]:
    """The messages that are more, or something else, than `plain_texts`."""
    return _told_apart(messages, call)[2]


def _told_apart(messages: list[Any], call: Call | None) -> tuple[list[Any], list[str | None], list[Any]]:
    if call is not None and call.plain is not None and call.plain[0] is messages:
        return call.plain
    found: list[str | None] = []
    special: list[Any] = []
    add = found.append
    for message in messages:
        try:
            if (
                len(message) == 2
                and isinstance(said := message["content"], str)
                and ((role := message["role"]) == "user" or role == "assistant")
            ):
                add(said)
                continue
        except (TypeError, KeyError):
            pass
        add(None)
        special.append(message)
    if call is not None:
        call.plain = (messages, found, special)
    return messages, found, special


def plain_parts(parts: list[Any]) -> list[str | None]:
    """What each part of a message's content says that is nothing but a text. Else None: as `plain_texts`."""
    found: list[str | None] = []
    add = found.append
    for part in parts:
        try:
            if len(part) == 2 and part["type"] == "text" and isinstance(said := part["text"], str):
                add(said)
                continue
        except (TypeError, KeyError):
            pass
        add(None)
    return found


_CALL_KEYS = frozenset({"id", "type", "function", "index"})


def note_unsaid(message: Json, known: frozenset[str], call: Call) -> None:
    """Note what a message holds beside the `known` members: it does not get to the provider."""
    if not known.issuperset(message):
        for key in sorted(message.keys() - known):
            if message[key] is not None:
                call.drop(f"messages.{key}")
    for one in items(message.get("tool_calls")):
        if isinstance(one, dict) and not _CALL_KEYS.issuperset(one):
            for key in sorted(one.keys() - _CALL_KEYS):
                call.drop(f"messages.tool_calls.{key}")
    for part in items(message.get("content")):
        if isinstance(part, dict) and part.get("cache_control") is not None:
            call.drop("messages.content.cache_control")


def text_only(content: Any, call: Call) -> str:
    """The text of a message's `content` where there is room for nothing else; other parts are noted."""
    for part in items(content):
        if isinstance(part, dict) and "text" not in part and "refusal" not in part:
            call.drop(f"messages.content.{text(part.get('type')) or 'unknown'}")
    return content_text(content)


def note_tool_cache(body: Json, call: Call) -> None:
    """Note cache breakpoints on tools, where there is no room for them."""
    if any(tool.get("cache_control") is not None for tool in objects(body.get("tools"))):
        call.drop("tools.cache_control")


def chosen_functions(body: Json) -> list[Json]:
    """The functions of `tools` and of the former `functions`."""
    functions = [obj(tool["function"]) for tool in objects(body.get("tools")) if "function" in tool]
    return functions + objects(body.get("functions"))


def named(functions: list[Json], names: list[str]) -> list[Json]:
    """Those of the functions that have one of these names."""
    wanted = set(names)
    return [function for function in functions if text(function.get("name")) in wanted]


def tool_choice(body: Json) -> tuple[str, list[str]]:
    """("", []) where nothing is chosen, ("auto" | "none" | "required", names it is limited to) otherwise.

    Raises BadRequest for what is no tool choice.
    """
    choice = body.get("tool_choice")
    if choice is None:
        choice = body.get("function_call")
    if choice is None:
        return "", []
    if isinstance(choice, str):
        if choice in ("auto", "none", "required"):
            return choice, []
        if choice == "any":
            return "required", []
    elif isinstance(choice, dict):
        if choice.get("type") == "allowed_tools":
            allowed = obj(choice.get("allowed_tools"))
            names = [name for tool in objects(allowed.get("tools")) if (name := _named(tool))]
            return ("required" if allowed.get("mode") == "required" else "auto"), names
        if name := _named(choice):
            return "required", [name]
    raise BadRequest("tool_choice must be none, auto, required or name a function", param="tool_choice")


def _named(tool: Json) -> str:
    return text(obj(tool.get("function")).get("name")) or text(tool.get("name"))


def stop_list(body: Json) -> list[str]:
    """`stop` as a list."""
    stop = body.get("stop")
    if isinstance(stop, str):
        return [stop] if stop else []
    return [one for one in items(stop) if isinstance(one, str)]


def token_limit(body: Json) -> Any:
    """`max_completion_tokens`, or the older `max_tokens`."""
    limit = body.get("max_completion_tokens")
    return body.get("max_tokens") if limit is None else limit
