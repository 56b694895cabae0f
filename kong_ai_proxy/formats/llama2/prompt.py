"""Messages → one prompt, as the models were trained on it.

Sources: https://huggingface.co/blog/llama2#how-to-prompt-llama-2 and github.com/meta-llama/llama
(llama/generation.py); https://www.llama.com/docs/model-cards-and-prompt-formats/meta-llama-3/ and …/llama4/;
https://docs.mistral.ai/cookbooks/concept-deep-dive-tokenization-chat_templates (Mistral's form of Llama 2's).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ...core.errors import BadRequest
from ...core.json import Json
from ..pivot import content_text, items, modern_messages, obj, objects, text


@dataclass(frozen=True, slots=True)
class Template:
    """One family's prompt format."""

    reserved: tuple[str, ...]
    """Tokens that mark turns: in a message they could forge one, so they are refused there, as in Meta's own
    code.
    """
    stop: tuple[str, ...] = ()
    """What ends the model's turn where the server does not know that by itself."""
    answer: str = ""
    """What comes right before an answer, where a server sends the prompt back with it."""
    headers: tuple[str, str] | None = None
    """Around the role, for the families that write turns with headers."""
    end: str = ""
    """Closes a turn written with headers."""
    begin: str = ""
    system_marks: tuple[str, str] = ("", "")


LLAMA2 = Template(
    reserved=("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<s>", "</s>"),
    answer="[/INST]",
    begin="<s>",
    system_marks=("<<SYS>>\n", "\n<</SYS>>\n\n"),
)
MISTRAL = Template(
    reserved=("[INST]", "[/INST]", "<s>", "</s>"), answer="[/INST]", begin="<s>", system_marks=("", "\n\n")
)
LLAMA3 = Template(
    reserved=("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"),
    stop=("<|eot_id|>",),
    answer="<|start_header_id|>assistant<|end_header_id|>",
    headers=("<|start_header_id|>", "<|end_header_id|>\n\n"),
    end="<|eot_id|>",
    begin="<|begin_of_text|>",
)
LLAMA4 = Template(
    reserved=("<|begin_of_text|>", "<|header_start|>", "<|header_end|>", "<|eot|>", "<|eom|>"),
    stop=("<|eot|>",),
    answer="<|header_start|>assistant<|header_end|>",
    headers=("<|header_start|>", "<|header_end|>\n\n"),
    end="<|eot|>",
    begin="<|begin_of_text|>",
)
CHATML = Template(
    reserved=("<|im_start|>", "<|im_end|>"),
    stop=("<|im_end|>",),
    answer="<|im_start|>assistant",
    headers=("<|im_start|>", "\n"),
    end="<|im_end|>\n",
)
"""Qwen and many fine-tunes: https://huggingface.co/docs/transformers/chat_templating."""

_FAMILIES = (
    (re.compile(r"llama[-_. ]?4"), LLAMA4),
    (re.compile(r"llama[-_. ]?3"), LLAMA3),
    (re.compile(r"mistral|mixtral"), MISTRAL),
    (re.compile(r"qwen|chatml|smollm|smolvlm|hermes"), CHATML),
)

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "user"}


def template_for(model: str) -> Template:
    """The prompt format by the model's name; Llama 2's for a name that tells nothing."""
    name = model.lower()
    return next((template for pattern, template in _FAMILIES if pattern.search(name)), LLAMA2)


def chat_prompt(messages: Any, model: str) -> str:
    """The prompt that asks for the next answer. Raises BadRequest for what cannot be said in text."""
    template = template_for(model)
    turns = _turns(messages, template)
    if template.headers is not None:
        before, after = template.headers
        written = "".join(f"{before}{role}{after}{said}{template.end}" for role, said in turns)
        return f"{template.begin}{written}{before}assistant{after}"
    return _instructions(turns, template)


def _instructions(turns: list[tuple[str, str]], template: Template) -> str:
    """Llama 2's form: every exchange between <s> and </s>, the system prompt inside the first."""
    system = "\n\n".join(said for role, said in turns if role == "system")
    talk = [(role, said) for role, said in turns if role != "system"]
    if not talk and system:
        talk, system = [("user", system)], ""
    written = ""
    pending = template.system_marks[0] + system + template.system_marks[1] if system else ""
    for position, (role, said) in enumerate(talk):
        if role == "user":
            pending += said
            if position + 1 < len(talk) and talk[position + 1][0] == "user":
                pending += "\n\n"
                continue
            written += f"{template.begin}[INST] {pending} [/INST]"
            pending = ""
        else:
            if pending:
                written += f"{template.begin}[INST] {pending} [/INST]"
                pending = ""
            written += f" {said} </s>"
    return written


def _turns(messages: Any, template: Template) -> list[tuple[str, str]]:
    turns = []
    for position, message in enumerate(modern_messages(messages)):
        where = f"messages.{position}"
        role = message.get("role")
        own = _ROLES.get(role) if isinstance(role, str) else None
        if own is None:
            raise BadRequest("unknown role of a message", param=f"{where}.role")
        said = _said(message, where).strip()
        for token in template.reserved:
            if token in said:
                raise BadRequest(f"a message must not hold {token}, a mark of the prompt format", param=where)
        turns.append((own, said))
    return turns


def _said(message: Json, where: str) -> str:
    if objects(message.get("tool_calls")):
        raise BadRequest("tool calls cannot be said in a raw prompt", param=f"{where}.tool_calls")
    for index, part in enumerate(items(message.get("content"))):
        kind = obj(part).get("type")
        if isinstance(part, dict) and kind not in ("text", "input_text", "output_text", "refusal"):
            raise BadRequest(
                f"a raw prompt has no place for a part of type {kind!r}", param=f"{where}.content.{index}"
            )
    return content_text(message.get("content")) or text(message.get("refusal"))


def model_answer(generated: str, model: str) -> str:
    """The answer alone, where the server sent the prompt back in front of it or the end mark behind it."""
    template = template_for(model)
    if template.answer:
        generated = generated.rpartition(template.answer)[2]
    for token in (*template.stop, "</s>"):
        generated = generated.removesuffix(token)
    return generated.strip()
