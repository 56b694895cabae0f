"""Input items as chat messages.

Items of one answer (reasoning, text, function calls) follow each other; in chat they are one message.
Source: https://platform.openai.com/docs/api-reference/responses/create (input).
"""

from __future__ import annotations

from typing import Any, Final

from ...core.call import Call
from ...core.errors import BadRequest
from ...core.json import Json, dumps_text
from ..pivot import items, obj, objects, text, tool_call
from .carried import unpacked

_ROLES: Final = {"user": "user", "assistant": "assistant", "system": "system", "developer": "developer"}
_CALLS: Final = frozenset({"function_call", "custom_tool_call"})
_OUTPUTS: Final = frozenset({"function_call_output", "custom_tool_call_output"})
_HOSTED: Final = frozenset({
    "additional_tools", "apply_patch_call", "apply_patch_call_output", "code_interpreter_call", "compaction",
    "compaction_trigger", "computer_call", "computer_call_output", "configuration_update", "file_search_call",
    "image_generation_call", "local_shell_call", "local_shell_call_output", "mcp_approval_request",
    "mcp_approval_response", "mcp_call", "mcp_list_tools", "program", "program_output", "shell_call",
    "shell_call_output", "tool_search_call", "tool_search_output", "web_search_call",
})  # fmt: skip
"""What OpenAI's own tools and services left in a conversation: no other model can read it."""


class History:
    """Messages in the making."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._messages: list[Json] = []
        self._answer: Json | None = None
        """The assistant's message that further items still belong to."""

    def add(self, message: Json) -> None:
        """A message of its own."""
        self._answer = None
        self._messages.append(message)

    def finish(self) -> list[Json]:
        """All messages."""
        return self._messages

    def item(self, item: Any, where: str) -> None:
        """One input item. Raises BadRequest naming where it stands."""
        if isinstance(item, str):
            self.add({"role": "user", "content": item})
            return
        if not isinstance(item, dict):
            raise BadRequest(f"{where} must be a JSON object", param=where)
        kind = item.get("type") or "message"
        if not isinstance(kind, str):
            raise BadRequest(f"{where}.type must be a string", param=f"{where}.type")
        if kind == "message":
            self._message(item, where)
        elif kind in _CALLS:
            self._call_item(item, kind)
        elif kind in _OUTPUTS:
            self._output(item, where)
        elif kind == "reasoning":
            self._reasoning(item, where)
        elif kind in _HOSTED:
            self._call.drop(f"{where}.{kind}")
        elif kind == "item_reference":
            raise BadRequest(
                f"{where} refers to a stored item, which is not supported for this provider",
                param=where,
                code="unsupported_parameter",
            )
        else:
            raise BadRequest(f"{where}: items of type {kind!r} are not supported", param=f"{where}.type")

    def _message(self, item: Json, where: str) -> None:
        role = _ROLES.get(text(item.get("role")))
        if role is None:
            raise BadRequest(f"{where}.role must be user, assistant, system or developer", param=where)
        content = self._content(item.get("content"), f"{where}.content")
        if role != "assistant":
            message: Json = {"role": role, "content": content}
            self.add(message)
            return
        message = self._assistant()
        if message.get("content") is None and "tool_calls" not in message:
            message["content"] = content
        elif "tool_calls" in message or not (
            isinstance(content, str) and isinstance(message.get("content"), str)
        ):
            # What is said after a call, before its result, comes as a message of its own.
            message = {"role": "assistant", "content": content}
            self._messages.append(message)
            self._answer = message
        else:
            message["content"] += content
        if item.get("extra_content") is not None:
            message["extra_content"] = item["extra_content"]

    def _assistant(self) -> Json:
        if self._answer is None:
            self._answer = {"role": "assistant", "content": None}
            self._messages.append(self._answer)
        return self._answer

    def _call_item(self, item: Json, kind: str) -> None:
        arguments = item.get("arguments")
        if kind == "custom_tool_call":
            arguments = dumps_text({"input": text(item.get("input"))})
        made = tool_call(
            text(item.get("name")),
            arguments if arguments is not None else "{}",
            text(item.get("call_id")) or text(item.get("id")),
        )
        if item.get("extra_content") is not None:
            made["extra_content"] = item["extra_content"]
        self._assistant().setdefault("tool_calls", []).append(made)

    def _output(self, item: Json, where: str) -> None:
        output = item.get("output")
        if isinstance(output, list):
            content: Any = self._content(output, f"{where}.output")
        elif isinstance(output, str) or output is None:
            content = output or ""
        else:
            content = dumps_text(output)
        self.add({"role": "tool", "tool_call_id": text(item.get("call_id")), "content": content})

    def _reasoning(self, item: Json, where: str) -> None:
        if self._answer is not None and (self._answer.get("content") or "tool_calls" in self._answer):
            # A new turn of the model's begins with its reasoning.
            self._answer = None
        said = [text(part.get("text")) for part in objects(item.get("summary"))]
        said += [text(part.get("text")) for part in objects(item.get("content"))]
        message = self._assistant()
        if any(said):
            message["reasoning_content"] = text(message.get("reasoning_content")) + "\n\n".join(said)
        hidden = item.get("encrypted_content")
        if isinstance(hidden, str) and hidden:
            blocks = unpacked(hidden)
            if blocks is None:
                # Another model's, that this one could not read.
                self._call.drop(f"{where}.encrypted_content")
            else:
                message.setdefault("thinking_blocks", []).extend(blocks)

    def _content(self, content: Any, where: str) -> Any:
        """Chat's content: text where there is nothing else."""
        if isinstance(content, str):
            return content
        if content is not None and not isinstance(content, list):
            raise BadRequest(f"{where} must be a string or an array", param=where)
        parts = [self._part(part, f"{where}[{position}]") for position, part in enumerate(items(content))]
        if all(part["type"] == "text" and len(part) == 2 for part in parts):
            return "".join(part["text"] for part in parts)
        return parts

    def _part(self, part: Any, where: str) -> Json:
        if isinstance(part, str):
            return {"type": "text", "text": part}
        part = obj(part)
        kind = text(part.get("type"))
        made: Json
        if kind in ("input_text", "output_text", "text", "summary_text"):
            made = {"type": "text", "text": text(part.get("text"))}
        elif kind == "refusal":
            made = {"type": "text", "text": text(part.get("refusal"))}
        elif kind == "input_image":
            made = {"type": "image_url", "image_url": self._image(part, where)}
        elif kind == "input_file":
            made = {"type": "file", "file": self._file(part, where)}
        elif kind == "input_audio":
            made = {"type": "input_audio", "input_audio": obj(part.get("input_audio"))}
        else:
            raise BadRequest(f"{where}: content of type {kind!r} is not supported", param=f"{where}.type")
        if part.get("prompt_cache_breakpoint") is not None:
            self._call.drop("input.content.prompt_cache_breakpoint")
        if part.get("cache_control") is not None:
            made["cache_control"] = part["cache_control"]
        return made

    def _image(self, part: Json, where: str) -> Json:
        url = part.get("image_url")
        if isinstance(url, dict):
            url = url.get("url")
        if not isinstance(url, str) or not url:
            raise BadRequest(
                f"{where}.image_url is missing: files stored at OpenAI are not supported for this provider",
                param=f"{where}.image_url",
            )
        image: Json = {"url": url}
        if isinstance(part.get("detail"), str):
            image["detail"] = part["detail"]
        return image

    def _file(self, part: Json, where: str) -> Json:
        file: Json = {}
        data = text(part.get("file_data")) or text(part.get("file_url"))
        if data:
            file["file_data"] = data
        elif text(part.get("file_id")):
            file["file_id"] = part["file_id"]
        else:
            raise BadRequest(f"{where} has no file_data", param=where)
        if text(part.get("filename")):
            file["filename"] = part["filename"]
        return file
