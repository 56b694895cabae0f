"""docs/configuration.md: every field of both plugins, from the models."""

from __future__ import annotations

import json
from typing import Final

from .models import AdvancedConfig, ProxyConfig, Record
from .spec import Spec, fields_of

_INTRODUCTION: Final = """\
# Configuration

Every field of both plugins. This page is generated from the code (`python -m
kong_ai_proxy.config.generate`).

`kong-ai-proxy` and `kong-ai-proxy-advanced` take the configuration of Kong's `ai-proxy` and
`ai-proxy-advanced` (Gateway 3.15), field for field: to move over, change the plugin's name. What is not
Kong's stands in the block [`kong_ai_proxy`](#extensions) alone and is off by default.

A whole example is [`kong.yml.example`](../kong.yml.example). `kong-ai-proxy check kong.yml` validates a
declarative configuration offline, and `schema/*.schema.json` are JSON Schemas of `config` for editors and
CI.

## Vault references

Fields marked *reference* take `{vault://env/my-secret}` or any other [vault
reference](https://developer.konghq.com/gateway/entities/vault/) as their whole value: for a bearer token
the secret holds `Bearer …`. Kong resolves it. Fields marked *secret* are kept encrypted where Kong's
keyring is on.

## Templates

`model.name` and every free text below `model.options` may hold templates, several in one value, text around
them:

| template | value |
|---|---|
| `$(headers.x-model)` | a request header |
| `$(uri_captures.model)` | a named capture of the route's regular expression |
| `$(query_params.model)` | a query parameter |

A request without the value gets a 400 that names the template. Values come from the client, so they are
checked for the place they go to: no control characters anywhere, only a host name's characters in host
names, no way out of a URL's path.

## Rules across fields

Besides each field's own type and range:

- `auth.header_name` and `auth.header_value` go together; so do `auth.param_name`, `auth.param_value` and
  `auth.param_location`.
- Provider `gemini` needs `auth.allow_override: false`. For Vertex AI, `model.options.gemini` needs
  `api_endpoint`, `project_id` and `location_id` together.
- Providers `llama2`, `ollama` and `vllm` need `model.options.upstream_url`; so does `mistral_format:
  ollama`. `llama2` needs `llama2_format`.
- Provider `azure` needs `azure_instance` and `azure_deployment_id`, unless `upstream_url` is set.
- Provider `anthropic` has no `llm/v1/embeddings`, and no `log_statistics` for `llm/v1/completions`.
  `llama2_format: raw` has no `llm/v1/embeddings`.
- Video generation with provider `bedrock` needs `model.options.bedrock.video_output_s3_uri`.
- `realtime/v1/realtime` is served by `kong-ai-proxy-advanced` only.
- `llm_format: cohere` and `huggingface` work with their own provider only.
- `balancer.algorithm: semantic` needs `embeddings` and a `description` for every target. `vectordb` may be
  left out: the vectors are then kept in memory.
- `balancer.tokens_count_strategy: cost` with `lowest-usage` needs `input_cost` or `output_cost` for every
  target.
- `balancer.tokens_count_strategy: llm-accuracy` needs `kong_ai_proxy.judge`, and goes by weight without. The
  judge's `llm` has the rules of a target, `route_type: llm/v1/chat`, a `model.name`, and no templates.
- An access rule of type `header` needs a `key`; `ip` takes addresses and networks.

Kong's Admin API refuses most of this by itself. The rest is refused when the plugin instance starts.

## Control planes

Kong learns a plugin's schema from `pluginserver_*_query_cmd`; `cat schema/kong-ai-proxy.json` is enough, also
on a control plane of your own, where no plugin server runs. For one that takes a Lua schema instead (Konnect)
there is `schema/lua/<plugin>/schema.lua`.
"""


def reference() -> str:
    """The whole page."""
    records: dict[str, type[Record]] = {}
    sections = [
        _section("kong-ai-proxy", ProxyConfig, records),
        _section("kong-ai-proxy-advanced", AdvancedConfig, records),
    ]
    written: set[str] = set()
    while waiting := [name for name in sorted(records) if name not in written]:
        for name in waiting:
            written.add(name)
            sections.append(_section(_title(name), records[name], records))
    return "\n".join([_INTRODUCTION, *sections])


def _section(title: str, model: type[Record], records: dict[str, type[Record]]) -> str:
    lines = [
        f"## {title}",
        "",
        _purpose(model),
        "",
        "| field | type | default | meaning |",
        "|---|---|---|---|",
    ]
    for spec in fields_of(model):
        meaning = " ".join(spec.description.split())  # a line's end would be the table's
        lines.append(f"| `{spec.name}` | {_type(spec, records)} | {_default(spec)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _purpose(model: type[Record]) -> str:
    return " ".join((model.__doc__ or "").strip().split("\n\n")[0].split())


def _type(spec: Spec, records: dict[str, type[Record]]) -> str:
    text = _kind(spec, records)
    marks = [
        mark for mark, there in (("*reference*", spec.referenceable), ("*secret*", spec.encrypted)) if there
    ]
    return ", ".join([text, *marks])


def _kind(spec: Spec, records: dict[str, type[Record]]) -> str:
    if spec.record:
        name = spec.record.__name__
        records[name] = spec.record
        return f"[{_title(name)}](#{_title(name).replace(' ', '-')})"
    if spec.element:
        least = f", at least {spec.min_length}" if spec.min_length else ""
        return f"list of {_kind(spec.element, records)}{least}"
    if spec.choices:
        return " \\| ".join(f"`{choice}`" for choice in spec.choices)
    if spec.minimum is not None and spec.maximum is not None:
        return f"{spec.kind}, {spec.minimum} to {spec.maximum}"
    return spec.kind


def _default(spec: Spec) -> str:
    if spec.required:
        return "**required**"
    return f"`{json.dumps(spec.default)}`" if spec.default is not None else ""


def _title(name: str) -> str:
    """`BedrockOptions` → `bedrock options`."""
    return "".join(f" {char.lower()}" if char.isupper() else char for char in name).strip()
