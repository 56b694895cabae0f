"""`model.options` as defaults of a request in OpenAI's form: what the client says itself wins.

Source: https://developer.konghq.com/plugins/ai-proxy/ (FAQ: request values override the configured ones).
"""

from __future__ import annotations

from typing import Final

from ..core.call import Call
from ..core.json import Json

_DEFAULTS: Final = ("temperature", "top_p", "top_k", "max_tokens")
_SAMPLED: Final = frozenset({"chat", "completions"})


def with_defaults(body: Json, call: Call) -> Json:
    """A copy of the body with what the configuration adds: model, stream, default parameters.

    A parameter that is null is one that is not there, as SDKs mean it.
    """
    filled = {name: value for name, value in body.items() if value is not None}
    if call.model:
        filled["model"] = call.model
    if call.stream:
        filled["stream"] = True
    elif "stream" in filled:
        filled["stream"] = False
    if call.operation in _SAMPLED:
        for name in _DEFAULTS:
            value = getattr(call.options, name)
            if value is not None:
                _default(filled, name, value)
    elif call.operation == "embeddings" and call.options.embeddings_dimensions is not None:
        _default(filled, "dimensions", call.options.embeddings_dimensions)
    return filled


def _default(body: Json, name: str, value: object) -> None:
    if name == "max_tokens" and "max_completion_tokens" in body:
        return
    body.setdefault(name, value)
