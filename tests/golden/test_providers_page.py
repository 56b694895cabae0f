"""docs/providers.md, made from the code's own tables: `GOLDEN=update pytest tests/golden` writes it anew."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import yaml
from golden_support import TARGETS, UPDATE, make

from kong_ai_proxy.config.models import Options, Record
from kong_ai_proxy.config.models.base import ProviderName
from kong_ai_proxy.config.parse import parse
from kong_ai_proxy.core.operations import OPERATIONS
from kong_ai_proxy.formats.openai.dialect import Dialect
from kong_ai_proxy.providers import provider

PAGE = Path(__file__).resolve().parents[2] / "docs" / "providers.md"
NAMES = sorted(get_args(ProviderName))
CHAT = {"messages": [{"role": "user", "content": "Hello"}]}
HEAD = """# Providers

Made from the code's own tables by `tests/golden/test_providers_page.py`. Which field of a request each
of them can carry is in [fidelity](fidelity.md), which route types go where and how in
[routes](routes.md), every option in [configuration](configuration.md). `{vault://env/openai-key}` is
Kong's reference to a secret, here to the environment variable `OPENAI_KEY`; where a whole header is the
secret, the variable holds `Bearer sk-…`.
"""
BEARER: Any = "Authorization"
HEADERS = {"anthropic": "x-api-key", "azure": "api-key", "gemini": "x-goog-api-key"}
"""Where a key goes, by each provider's documentation as the modules cite it; elsewhere `Authorization`."""
NO_KEY = frozenset({"llama2-ollama", "llama2-openai", "llama2-raw", "mistral-ollama", "ollama", "vllm"})
"""Servers of one's own."""
CLOUD = {
    "aws": "AWS: static keys (`auth.aws_access_key_id`, `aws_secret_access_key`), the default chain, a role"
    " to assume (`model.options.bedrock.aws_assume_role_arn`), or a bearer token as header",
    "gcp": "Google: `auth.gcp_use_service_account` with `gcp_service_account_json`, or the workload's own; or"
    " a key as header",
    "azure": "Azure: a key as header, or `auth.azure_use_managed_identity`, with `azure_client_id`,"
    " `azure_client_secret` and `azure_tenant_id` for a client of its own",
}
QUIRKS = {
    "rejected": "left out and reported",
    "renamed": "under another name",
    "roles": "roles",
    "token_limit": "one name for the limit of output tokens",
}


def test_the_page_is_current() -> None:
    text = page()
    if UPDATE:
        PAGE.write_text(text)
    assert PAGE.read_text() == text, "run GOLDEN=update pytest tests/golden and read the diff"


def test_each_example_is_a_configuration() -> None:
    for name in TARGETS:
        assert parse("kong-ai-proxy", example(name)).model.provider in NAMES


def page() -> str:
    parts = [HEAD]
    for name in NAMES:
        parts.append(f"\n## {name}\n\n{described(name)}\n\n{facts(name)}")
        for target in TARGETS:
            if TARGETS[target]["provider"] == name:
                address = made_url(target)
                dumped = yaml.safe_dump({"config": example(target)}, sort_keys=False, width=100)
                parts.append(f"\n```yaml\n# A chat goes to {address}\n{dumped}```\n")
    return "".join(parts)


def described(name: str) -> str:
    """What the provider's module says of it."""
    text = inspect.getdoc(import_module(f"kong_ai_proxy.providers.{name}")) or ""
    text = re.sub(r"[\w/]*shared/kong/providers\.json( \([^)]*\))?", "Kong's documentation", text)
    text = re.sub(r"(?<!`)(https?://[^\s,;)]*[^\s,;).:])", r"<\1>", text)
    return re.sub(r"^=+(?: +=+)+\n(.+)\n=+.*\n((?:.+\n)+?)=+.*$", as_table, text, flags=re.MULTILINE)


def as_table(found: re.Match[str]) -> str:
    """A table of the docstring's as the page's: the columns begin where the rule's do."""
    starts = [rule.start() for rule in re.finditer("=+", found[0].splitlines()[0])]
    cuts = list(zip(starts, [*starts[1:], None], strict=True))
    rows = [[row[a:b].strip() for a, b in cuts] for row in (found[1], *found[2].splitlines())]
    head, *rest = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(cuts), *rest])


def facts(name: str) -> str:
    own = provider(name)
    routes = [route for route, operation in OPERATIONS.items() if operation in own.operations]
    rows = [("route types", ", ".join(f"`{route}`" for route in routes))]
    if own.cloud:
        rows.append(("credentials", CLOUD[own.cloud]))
    else:
        rows.append(("credentials", f"header `{HEADERS.get(name, BEARER)}`"))
    options = options_of(name)
    if options:
        rows.append(("options", "; ".join(f"`{option}`: {text}" for option, text in options)))
    if own.forward_headers:
        listed = ", ".join(f"`{header}`" for header in sorted(own.forward_headers))
        rows.append(("client headers passed on", listed))
    dialect = getattr(own, "dialect", None)
    if isinstance(dialect, Dialect):
        rows += [
            (text, quirk(getattr(dialect, field)))
            for field, text in QUIRKS.items()
            if getattr(dialect, field)
        ]
        if not dialect.stream_options:
            rows.append(("`stream_options`", "not taken: usage comes without asking, or is estimated"))
    return "| | |\n|---|---|\n" + "".join(f"| {label} | {text} |\n" for label, text in rows)


def quirk(value: Any) -> str:
    if isinstance(value, str):
        return f"`{value}`"
    if isinstance(value, frozenset):
        return ", ".join(f"`{each}`" for each in sorted(value))
    return ", ".join(f"`{old}` → `{new}`" for old, new in value.items())


def options_of(name: str) -> list[tuple[str, str]]:
    """Fields of `model.options` for this provider alone, with what they mean."""
    found = []
    for field, info in Options.model_fields.items():
        if not (field == name or field.startswith(f"{name}_")):
            continue
        model = next((each for each in get_args(info.annotation) if isinstance(each, type)), None)
        if model is not None and issubclass(model, Record):
            found += [
                (f"{field}.{inner}", told.description or "") for inner, told in model.model_fields.items()
            ]
        else:
            found.append((field, info.description or ""))
    return [(option, text.rstrip(".").replace("|", "\\|")) for option, text in found]


def example(target: str) -> dict[str, Any]:
    described = TARGETS[target]
    name = described["provider"]
    config: dict[str, Any] = {"route_type": "llm/v1/chat"}
    if name == "bedrock":
        config["auth"] = {
            "aws_access_key_id": "{vault://env/aws-access-key-id}",
            "aws_secret_access_key": "{vault://env/aws-secret-access-key}",
        }
    elif target.startswith("vertex"):
        config["auth"] = {
            "gcp_use_service_account": True,
            "gcp_service_account_json": "{vault://env/gcp-service-account}",
        }
    elif target not in NO_KEY:
        config["auth"] = {
            "header_name": HEADERS.get(name, BEARER),
            "header_value": f"{{vault://env/{name}-key}}",
        }
    return {**config, "model": described, "logging": {"log_statistics": True}}


def made_url(target: str) -> str:
    upstream = make(target, CHAT).upstream
    assert upstream is not None
    url = upstream.url
    return f"{url.scheme}://{url.authority}{url.target}"
