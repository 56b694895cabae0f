"""Raw Llama servers: a prompt with Llama's marks in `inputs`, the answer in `generated_text`.

The shape is Kong's own for `llama2_format: raw`: `{"inputs", "parameters"}` out, and `{"data":
[{"generated_text"}]}`, `[{"generated_text"}]` or one such object back. No public recording of it exists;
built from Kong's driver (kong/llm/drivers/llama2.lua, 3.9) and Hugging Face's text generation API.
"""

from __future__ import annotations

from ...core.call import Call
from ...core.json import Json
from ..huggingface.generation import TextGeneration
from ..over_chat import single_prompt
from ..pivot import obj
from .prompt import chat_prompt


class RawLlama(TextGeneration):
    """Chat and completions alike: a completion's prompt is one user's turn."""

    def __init__(self, chat: bool) -> None:
        # These servers may know none of TGI's own parameters.
        super().__init__(chat, details=False)

    def request(self, body: Json, call: Call) -> Json | bytes:
        request = super().request(body, call)
        if isinstance(request, dict):
            # Kong says it here; text generation servers look for it at the top level.
            request["parameters"] = {**obj(request["parameters"]), "stream": call.stream}
        return request

    def prompt(self, body: Json, call: Call) -> str:
        if self._chat:
            return chat_prompt(body.get("messages"), call.model)
        return chat_prompt([{"role": "user", "content": single_prompt(body)}], call.model)


RAW_CHAT = RawLlama(chat=True)
RAW_COMPLETIONS = RawLlama(chat=False)
