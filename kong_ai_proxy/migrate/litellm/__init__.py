"""From LiteLLM's config.yaml: one route, one kong-ai-proxy-advanced, a target for each deployment.

Sources: LiteLLM's documentation in its repository, docs/my-website/docs/proxy/configs.md,
proxy/config_settings.md,
proxy/reliability.md, routing.md, providers/*.md, and litellm/litellm_core_utils/get_llm_provider_logic.py.
"""

from .config import is_litellm, migrate

__all__ = ["is_litellm", "migrate"]
