"""LiteLLM's providers in terms of ours.

Sources: litellm/litellm_core_utils/get_llm_provider_logic.py (prefixes, default addresses, variables of
keys) and
docs/my-website/docs/providers/*.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Known:
    """What stands before the slash of a LiteLLM model."""

    provider: str
    """Ours."""
    key: str = ""
    """The variable LiteLLM reads the key from by default; "" where none is needed."""
    header: str = "Authorization"
    base: str = ""
    """The address that LiteLLM uses by default, where our provider has another or none."""

    @property
    def prefix(self) -> str:
        return "Bearer " if self.header == "Authorization" else ""


def _compatible(key: str, base: str = "") -> Known:
    """One that speaks OpenAI's API."""
    return Known("openai", key, base=base)


_OPENAI: Final = Known("openai", "OPENAI_API_KEY")
_COHERE: Final = Known("cohere", "COHERE_API_KEY")
_OLLAMA: Final = Known("ollama", base="http://localhost:11434")
_VLLM: Final = Known("vllm", "HOSTED_VLLM_API_KEY")

PROVIDERS: Final[dict[str, Known]] = {
    "openai": _OPENAI,
    "custom_openai": _OPENAI,
    "text-completion-openai": _OPENAI,
    "azure": Known("azure", "AZURE_API_KEY", "api-key"),
    "azure_text": Known("azure", "AZURE_API_KEY", "api-key"),
    "azure_ai": Known("azure", "AZURE_AI_API_KEY", "api-key"),
    "anthropic": Known("anthropic", "ANTHROPIC_API_KEY", "x-api-key"),
    "bedrock": Known("bedrock"),
    "bedrock_converse": Known("bedrock"),
    "vertex_ai": Known("gemini"),
    "vertex_ai_beta": Known("gemini"),
    "gemini": Known("gemini", "GEMINI_API_KEY", "x-goog-api-key"),
    "cohere": _COHERE,
    "cohere_chat": _COHERE,
    "mistral": Known("mistral", "MISTRAL_API_KEY"),
    "huggingface": Known("huggingface", "HUGGINGFACE_API_KEY"),
    "ollama": _OLLAMA,
    "ollama_chat": _OLLAMA,
    "vllm": _VLLM,
    "hosted_vllm": _VLLM,
    "deepseek": Known("deepseek", "DEEPSEEK_API_KEY"),
    "xai": Known("xai", "XAI_API_KEY"),
    "cerebras": Known("cerebras", "CEREBRAS_API_KEY"),
    "dashscope": Known("dashscope", "DASHSCOPE_API_KEY"),
    "databricks": Known("databricks", "DATABRICKS_API_KEY"),
    "ai21_chat": _compatible("AI21_API_KEY", "https://api.ai21.com/studio/v1"),
    "deepinfra": _compatible("DEEPINFRA_API_KEY", "https://api.deepinfra.com/v1/openai"),
    "fireworks_ai": _compatible("FIREWORKS_API_KEY", "https://api.fireworks.ai/inference/v1"),
    "friendliai": _compatible("FRIENDLI_TOKEN", "https://api.friendli.ai/serverless/v1"),
    "groq": _compatible("GROQ_API_KEY", "https://api.groq.com/openai/v1"),
    "litellm_proxy": _compatible("LITELLM_PROXY_API_KEY"),
    "llamafile": _compatible(""),
    "lm_studio": _compatible("LM_STUDIO_API_KEY"),
    "meta_llama": _compatible("LLAMA_API_KEY", "https://api.llama.com/compat/v1"),
    "nvidia_nim": _compatible("NVIDIA_NIM_API_KEY", "https://integrate.api.nvidia.com/v1"),
    "openrouter": _compatible("OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"),
    "perplexity": _compatible("PERPLEXITYAI_API_KEY", "https://api.perplexity.ai"),
    "sambanova": _compatible("SAMBANOVA_API_KEY", "https://api.sambanova.ai/v1"),
    "together_ai": _compatible("TOGETHERAI_API_KEY", "https://api.together.xyz/v1"),
    "volcengine": _compatible("VOLCENGINE_API_KEY", "https://ark.cn-beijing.volces.com/api/v3"),
    "xinference": _compatible(""),
}
"""By LiteLLM's prefix."""

_FAMILIES: Final = (
    (re.compile(r"(ft:)?(gpt-|o\d|chatgpt-|text-embedding-|dall-e|whisper|tts-|codex-)"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"(gemini|text-bison|chat-bison|codechat)"), "vertex_ai"),
    (re.compile(r"(command|embed-(english|multilingual))"), "cohere_chat"),
    (re.compile(r"((us|eu|apac|global)\.)?(anthropic|amazon|meta|cohere|mistral|ai21)\."), "bedrock"),
)
"""Names without a prefix, which LiteLLM looks up in its list of models."""

_BEDROCK_PARTS: Final = re.compile(r"(converse|converse_like|invoke|[a-z]{2}(-[a-z]+)+-\d)/")


def split_model(model: str) -> tuple[str, str]:
    """LiteLLM's provider and the model's name there; ("", model) where the provider is not known."""
    prefix, slash, name = model.partition("/")
    if slash and prefix in PROVIDERS:
        if prefix.startswith("bedrock"):
            while found := _BEDROCK_PARTS.match(name):
                name = name[found.end() :]
        return prefix, name
    for pattern, provider in _FAMILIES:
        if not slash and pattern.match(model):
            return provider, model
    return "", model


def bedrock_region(model: str) -> str | None:
    """`bedrock/us-west-2/…` names a region."""
    found = re.match(r"bedrock[a-z_]*/(?:[a-z_]+/)?([a-z]{2}(?:-[a-z]+)+-\d)/", model)
    return found[1] if found else None


ROUTE_TYPES: Final = {
    "chat": "llm/v1/chat",
    "completion": "llm/v1/completions",
    "embedding": "llm/v1/embeddings",
    "responses": "llm/v1/responses",
    "image_generation": "image/v1/images/generations",
    "audio_transcription": "audio/v1/audio/transcriptions",
    "audio_speech": "audio/v1/audio/speech",
    "batch": "llm/v1/batches",
}
"""`model_info.mode` → route_type."""
PATHS: Final = {
    "llm/v1/chat": "/chat/completions",
    "llm/v1/completions": "/completions",
    "llm/v1/embeddings": "/embeddings",
    "llm/v1/responses": "/responses",
    "image/v1/images/generations": "/images/generations",
    "audio/v1/audio/transcriptions": "/audio/transcriptions",
    "audio/v1/audio/speech": "/audio/speech",
    "llm/v1/batches": "/batches",
}
"""What an OpenAI client adds to its base address."""
_BY_NAME: Final = (
    (re.compile(r"embed"), "embedding"),
    (re.compile(r"dall-e|gpt-image|imagen|stable-diffusion"), "image_generation"),
    (re.compile(r"whisper|transcribe"), "audio_transcription"),
    (re.compile(r"(^|[-/])tts(-|$)"), "audio_speech"),
)


def guessed_mode(model: str) -> str:
    """The mode of a deployment that does not tell: by its model's name."""
    return next((mode for pattern, mode in _BY_NAME if pattern.search(model.lower())), "chat")
