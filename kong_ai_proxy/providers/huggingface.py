"""Hugging Face: the router to inference providers, or a dedicated endpoint by `upstream_url`.

Chat speaks OpenAI's form, embeddings are feature extraction. An `upstream_url` that leads to a classic text
generation API (TGI's `/generate`, the Inference API's `/models/…`) is spoken to in that form.

Sources: https://huggingface.co/docs/inference-providers and
https://huggingface.co/docs/text-generation-inference/messages_api.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Final
from urllib.parse import quote

from ..core.call import Call
from ..core.errors import ApiError, BadRequest
from ..core.http import Headers, Url
from ..formats.base import Adapter
from ..formats.huggingface import FEATURE_EXTRACTION, TEXT_CHAT, TEXT_COMPLETIONS
from ..formats.openai.dialect import Dialect
from .compatible import CompatibleProvider, upstream_base, upstream_url

_CLASSIC: Final = re.compile(r"/(generate|generate_stream|pipeline/text-generation)/?$|/models/(?!.*/v1/)")
"""Paths of text generation APIs that take `inputs`."""


class HuggingFace(CompatibleProvider):
    name = "huggingface"
    operations = frozenset({"chat", "completions", "embeddings"})
    base_url = "https://router.huggingface.co"
    paths: ClassVar[Mapping[str, str]] = {
        "chat": "/v1/chat/completions",
        # TGI's own; the router has none.
        "completions": "/v1/completions",
    }
    dialect = Dialect(
        "huggingface",
        token_limit="max_tokens",
        roles={"developer": "system"},
    )

    def supports(self, call: Call) -> None:
        super().supports(call)
        if call.operation == "completions" and not call.options.upstream_url:
            raise ApiError(
                400,
                "the Hugging Face router has no completions; set upstream_url",
                code="unsupported_route_type",
            )

    def adapter(self, call: Call) -> Adapter:
        if call.operation == "embeddings":
            return FEATURE_EXTRACTION
        if _is_classic(call):
            return TEXT_CHAT if call.operation == "chat" else TEXT_COMPLETIONS
        return super().adapter(call)

    def url(self, call: Call) -> Url:
        options = call.options
        if call.operation == "embeddings":
            if options.upstream_url and not options.upstream_path:
                return upstream_url(options.upstream_url)
            path = options.upstream_path or f"/hf-inference/models/{_model(call)}/pipeline/feature-extraction"
            return upstream_base(options.upstream_url or self.base_url, path)
        if options.upstream_url:
            path = options.upstream_path or self.paths[call.operation]
            url = upstream_base(options.upstream_url, path)
            if call.stream and url.path.endswith("/generate"):
                url.path += "_stream"
            return url
        return super().url(call)

    def headers(self, call: Call) -> Headers:
        """As headers, for the router refuses unknown members of a body:
        https://huggingface.co/docs/api-inference/parameters."""
        options = call.options.huggingface
        headers: Headers = {}
        if options is not None and options.use_cache is not None:
            headers["x-use-cache"] = str(options.use_cache).lower()
        if options is not None and options.wait_for_model is not None:
            headers["x-wait-for-model"] = str(options.wait_for_model).lower()
        return headers


def _is_classic(call: Call) -> bool:
    options = call.options
    path = options.upstream_path or (upstream_url(options.upstream_url).path if options.upstream_url else "")
    return _CLASSIC.search(path.partition("?")[0]) is not None


def _model(call: Call) -> str:
    """`owner/name` as part of a path; whoever may name the model must not leave the path with it."""
    segments = call.model.split("/")
    if not call.model or len(segments) > 2 or any(segment in ("", ".", "..") for segment in segments):
        raise BadRequest("Hugging Face needs a model as owner/name", param="model")
    return "/".join(quote(segment, safe="") for segment in segments)


PROVIDER: Final = HuggingFace()
