"""How providers are asked what a prompt comes to in tokens: from the chat request that they would get.

Sources: https://platform.claude.com/docs/en/api/messages/count_tokens (Azure's and Vertex's too, the latter
as Anthropic's SDK calls it), https://ai.google.dev/api/tokens,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html,
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/count-tokens,
https://platform.openai.com/docs/api-reference/responses/input-tokens,
recordings anthropic/count-tokens, bedrock/count-tokens, gemini/count-tokens, vertex/count-tokens,
openai/responses-manage/009.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any, Final
from urllib.parse import quote, unquote

from ..config.models import Target
from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import Url
from ..core.json import Json, dumps
from ..formats.anthropic.models import traits
from ..formats.pivot import count, number, obj
from ..formats.responses.counting import input_tokens_request
from .gemini import vertex_options
from .native import serves

CANNOT: Final = "tokens_not_counted"

_MESSAGES: Final = (
    "model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control",
    "context_management", "mcp_servers", "anthropic_version",
)  # fmt: skip
_CONVERSE: Final = ("messages", "system", "toolConfig", "additionalModelRequestFields")
_VERTEX: Final = ("contents", "systemInstruction", "tools", "generationConfig")
_TOTALS: Final = ("input_tokens", "inputTokens", "totalTokens")

_GEO: Final = re.compile(r"^(?:us|us-gov|eu|apac|jp|au|ca|sa|me|af|global)\.(?=[a-z0-9]+\.)")
"""A cross-region inference profile: only the model itself counts (bedrock/count-tokens/002, /003)."""
_CLAUDE_ON_VERTEX: Final = re.compile(r"(/publishers/anthropic/models/)[^/:]+:rawPredict$")


def may_count(target: Target) -> bool:
    """Whether this target's provider counts tokens, as far as its configuration tells."""
    provider, options = target.model.provider, target.model.options
    if provider == "openai":
        # Whoever else is called as OpenAI seldom has its Responses API.
        return not (options.upstream_url or options.upstream_path)
    return provider in ("anthropic", "bedrock", "gemini") or serves(target, "anthropic")


def counting_request(chat: Url, body: Json, call: Call) -> tuple[Url, Json]:
    """Where to ask, and what: from the request of a chat. Raises ApiError (`CANNOT`) where nobody can say."""
    path, made = _counting(chat.path, body, call)
    return Url(chat.scheme, chat.host, chat.port, path, ""), made


def counted(answer: Any) -> int:
    """The count. Raises ApiError where the answer has none."""
    for name in _TOTALS:
        if (found := count(obj(answer).get(name))) is not None:
            return found
    raise _cannot()


def _counting(path: str, body: Json, call: Call) -> tuple[str, Json]:
    if path.endswith("/messages"):
        return f"{path}/count_tokens", _only(body, _MESSAGES)
    if path.endswith(":generateContent"):
        path = path.removesuffix("generateContent") + "countTokens"
        if vertex_options(call) is not None:
            return path, _only(body, _VERTEX)
        model = f"models/{call.model.removeprefix('models/')}"
        return path, {"generateContentRequest": {**body, "model": model}}
    if _CLAUDE_ON_VERTEX.search(path):
        made = {**_only(body, _MESSAGES), "model": call.model.rpartition("/")[2]}
        return _CLAUDE_ON_VERTEX.sub(r"\1count-tokens:rawPredict", path), made
    if call.provider == "openai" and path == "/v1/chat/completions":
        return "/v1/responses/input_tokens", input_tokens_request(body)
    head, _, action = path.rpartition("/")
    if call.provider == "bedrock" and action in ("converse", "invoke"):
        start, _, model = head.rpartition("/")
        path = f"{start}/{quote(_GEO.sub('', unquote(model)), safe='')}/count-tokens"
        if action == "converse":
            return path, {"input": {"converse": _only(body, _CONVERSE)}}
        return path, {"input": {"invokeModel": {"body": b64encode(dumps(_with_limit(body, call))).decode()}}}
    raise _cannot()


def _with_limit(body: Json, call: Call) -> Json:
    """InvokeModel's bodies name a limit, and it is above what is to be thought."""
    if body.get("max_tokens") is not None:
        return body
    budget = number(obj(body.get("thinking")).get("budget_tokens")) or 0
    return {**body, "max_tokens": max(traits(call.model).max_tokens, int(budget) + 1)}


def _only(body: Json, names: tuple[str, ...]) -> Json:
    return {name: body[name] for name in names if name in body}


def _cannot() -> ApiError:
    return ApiError(501, "this provider counts no tokens", code=CANNOT)
