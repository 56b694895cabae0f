"""LiteLLM's config.yaml becomes a declarative configuration that serves the same models.

The configurations here are written after LiteLLM's documentation (docs/my-website/docs/proxy/configs.md,
proxy/reliability.md, routing.md, providers/*.md in its repository).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from exchange_support import client_request, open_exchange

from kong_ai_proxy import cli
from kong_ai_proxy.config.check import check
from kong_ai_proxy.config.entries import read
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.exchange.instance import Instance
from kong_ai_proxy.migrate.litellm import migrate
from kong_ai_proxy.migrate.litellm.providers import PROVIDERS, split_model
from kong_ai_proxy.migrate.report import Report

Json = dict[str, Any]

CONFIG = """\
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: azure/gpt-4o-eu
      api_base: https://my-eu.openai.azure.com/
      api_key: os.environ/AZURE_API_KEY_EU
      api_version: "2024-10-21"
      rpm: 6
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      api_key: sk-plain-secret
      organization: org-1
      temperature: 0.2
      weight: 3
  - model_name: claude
    litellm_params:
      model: bedrock/us-west-2/anthropic.claude-3-5-sonnet-20241022-v2:0
      aws_access_key_id: os.environ/CUSTOM_ID
      aws_secret_access_key: os.environ/CUSTOM_SECRET
    model_info: {id: claude-here}
  - model_name: embeddings
    litellm_params: {model: text-embedding-3-small, api_key: os.environ/OPENAI_API_KEY}
    model_info: {mode: embedding, input_cost_per_token: 0.00000002}
  - model_name: other
    litellm_params: {model: sagemaker/some-endpoint}
router_settings:
  num_retries: 2
  timeout: 30
  allowed_fails: 3
  cooldown_time: 30
  fallbacks: [{"gpt-4o": ["claude"]}]
  model_group_alias: {"gpt-4": "gpt-4o"}
litellm_settings:
  drop_params: true
  callbacks: [langfuse]
general_settings:
  master_key: sk-1234-master
  max_request_size_mb: 8
"""


def migrated(text: str, **options: Any) -> tuple[Json, Report]:
    """Data of the result, which our own check finds no error in."""
    report = Report()
    result = migrate(text, relay="127.0.0.1:8125", report=report, **options)
    assert [found.text() for found in check(read(result)) if found.severity == "error"] == []
    for secret in ("sk-plain-secret", "sk-1234-master"):
        assert secret not in result + report.text("f") + report.json("f")
    return yaml.safe_load(result), report


def plugin_config(data: Json) -> Json:
    (plugin,) = data["services"][0]["routes"][0]["plugins"]
    assert plugin["name"] == "kong-ai-proxy-advanced"
    return plugin["config"]  # type: ignore[no-any-return]


def one(params: str, info: str = "{}") -> tuple[Json, Report]:
    """The only target of a configuration with one deployment."""
    data, report = migrated(
        f"model_list: [{{model_name: m, litellm_params: {params}, model_info: {info}}}]", usage=True
    )
    (target,) = plugin_config(data)["targets"]
    return target, report


def told(report: Report) -> str:
    return report.text("config.yaml")


def test_a_whole_configuration() -> None:
    data, report = migrated(CONFIG)
    config = plugin_config(data)
    assert config["balancer"] == {
        "algorithm": "priority",
        "failover_criteria": [
            "error", "timeout", "http_429", "http_500", "http_502", "http_503", "http_504", "non_idempotent"
        ],
        "retries": 2,
        "read_timeout": 30000,
        "max_fails": 4,
        "fail_timeout": 30000,
    }  # fmt: skip
    assert config["max_request_body_size"] == 8 * 1024 * 1024
    names = [
        (target["model"]["model_alias"], target["model"]["provider"], target["weight"])
        for target in config["targets"]
    ]
    gpt = [("azure", 100), ("openai", 100), ("bedrock", 90)]
    assert names == [
        *(("gpt-4o", *each) for each in gpt),
        ("claude", "bedrock", 100),
        ("embeddings", "openai", 100),
        *(("gpt-4", *each) for each in gpt),
    ]
    azure, openai, bedrock = config["targets"][:3]
    assert azure["model"]["options"] == {
        "azure_instance": "my-eu", "azure_deployment_id": "gpt-4o-eu", "azure_api_version": "2024-10-21"
    }  # fmt: skip
    assert azure["auth"] == {"header_name": "api-key", "header_value": "{vault://env/azure-api-key-eu}"}
    assert openai["auth"]["header_value"] == "{vault://env/gpt-4o-openai-authorization}"
    assert openai["model"]["options"] == {"temperature": 0.2}
    assert bedrock["model"]["name"] == "anthropic.claude-3-5-sonnet-20241022-v2:0"
    assert bedrock["model"]["options"] == {"bedrock": {"aws_region": "us-west-2"}}
    assert bedrock["auth"]["aws_secret_access_key"] == "{vault://env/custom-secret}"
    embeddings = config["targets"][4]
    assert embeddings["route_type"] == "llm/v1/embeddings"
    assert embeddings["model"]["options"] == {"input_cost": 0.02}
    assert embeddings["auth"]["header_value"] == "{vault://env/openai-authorization}"
    assert [plugin["name"] for plugin in data["services"][0]["plugins"]] == ["pre-function", "key-auth"]
    assert data["consumers"][0]["keyauth_credentials"] == [{"key": '${{ env "DECK_LLM_MASTER_KEY" }}'}]
    text = told(report)
    for part in (
        "sagemaker",
        "organization",
        "rpm",
        "callbacks",
        "weights within a model",
        "OPENAI_AUTHORIZATION",
    ):
        assert part in text, part
    assert report.of("lost")[0].line == 2


def test_requests_find_their_models() -> None:
    data, _ = migrated(CONFIG)
    instance = Instance.from_config("kong-ai-proxy-advanced", plugin_config(data))

    def providers(body: Json) -> list[str]:
        exchange = open_exchange(instance, client_request(body))
        found = []
        while attempt := exchange.next_attempt():
            found.append(attempt.call.provider)
            attempt.connected("127.0.0.1", 0.0)
            if not attempt.rejected(503, {}):
                break
        return found

    messages = [{"role": "user", "content": "Hello"}]
    tried = providers({"model": "gpt-4", "messages": messages})
    assert set(tried[:2]) == {"azure", "openai"} and tried[2:] == ["bedrock"]
    assert providers({"model": "claude", "messages": messages}) == ["bedrock"]
    assert providers({"model": "embeddings", "input": "x"}) == ["openai"]
    with pytest.raises(ApiError):
        providers({"model": "nothing", "messages": messages})


@pytest.mark.parametrize(
    ("strategy", "algorithm"),
    [
        ("simple-shuffle", "round-robin"),
        ("least-busy", "least-connections"),
        ("latency-based-routing", "lowest-latency"),
        ("usage-based-routing-v2", "lowest-usage"),
        ("cost-based-routing", "round-robin"),
    ],
)
def test_strategies(strategy: str, algorithm: str) -> None:
    data, report = migrated(
        "model_list:\n"
        "- {model_name: m, litellm_params: {model: gpt-4o, rpm: 900}}\n"
        "- {model_name: m, litellm_params: {model: gpt-4.1, tpm: 100}}\n"
        f"router_settings: {{routing_strategy: {strategy}, disable_cooldowns: true, allowed_fails: 2}}\n"
    )
    config = plugin_config(data)
    assert config["balancer"]["algorithm"] == algorithm
    assert "max_fails" not in config["balancer"]
    assert [target["weight"] for target in config["targets"]] == [900, 100]
    assert ("cost-based-routing" in told(report)) is (strategy == "cost-based-routing")


@pytest.mark.parametrize(
    ("params", "provider", "name", "options", "auth"),
    [
        ("{model: claude-sonnet-4-5}", "anthropic", "claude-sonnet-4-5", {}, ("x-api-key",
        "anthropic-api-key")),
        (
            "{model: anthropic/claude-x, api_base: 'https://proxy.example/'}",
            "anthropic", "claude-x", {"upstream_url": "https://proxy.example/v1/messages"},
            ("x-api-key", "anthropic-api-key"),
        ),
        ("{model: gemini/gemini-2.5-pro}", "gemini", "gemini-2.5-pro", {}, ("x-goog-api-key",
        "gemini-api-key")),
        (
            "{model: groq/llama-3.1-8b-instant}", "openai", "llama-3.1-8b-instant",
            {"upstream_url": "https://api.groq.com/openai/v1/chat/completions"},
            ("Authorization", "groq-authorization"),
        ),
        (
            "{model: openai/facebook/opt-125m, api_base: 'http://0.0.0.0:4000/v1', api_key: none}",
            "openai", "facebook/opt-125m", {"upstream_url": "http://0.0.0.0:4000/v1/chat/completions"}, None,
        ),
        (
            "{model: hosted_vllm/qwen, api_base: 'http://vllm:8000/v1'}", "vllm", "qwen",
            {"upstream_url": "http://vllm:8000/v1/chat/completions"}, ("Authorization",
            "hosted-vllm-authorization"),
        ),
        ("{model: ollama/mistral}", "ollama", "mistral", {"upstream_url": "http://localhost:11434"}, ()),
        (
            "{model: mistral/mistral-large}", "mistral", "mistral-large", {"mistral_format": "openai"},
            ("Authorization", "mistral-authorization"),
        ),
        (
            "{model: huggingface/together/deepseek-ai/DeepSeek-R1}", "huggingface", 
            "deepseek-ai/DeepSeek-R1:together",
            {},
            ("Authorization",
            "huggingface-authorization"),
        ),
        (
            "{model: command-r-plus, api_key: 'os.environ/MyCohere'}", "cohere", "command-r-plus", {},
            ("Authorization", "mycohere-authorization"),
        ),
        (
            "{model: databricks/dbrx, api_base: 'https://adb-1.2.azuredatabricks.net/serving-endpoints'}",
            "databricks", "dbrx", {"databricks": {"workspace_instance_id": "adb-1.2.azuredatabricks.net"}},
            ("Authorization", "databricks-authorization"),
        ),
        (
            "{model: databricks/dbrx}", "databricks", "dbrx",
            {"upstream_url": '${{ env "DECK_DATABRICKS_API_BASE" }}/v1/chat/completions'},
            ("Authorization", "databricks-authorization"),
        ),
        (
            "{model: azure/dep, api_base: os.environ/AZURE_API_BASE, api_version: "
            "os.environ/AZURE_API_VERSION}",
            "azure", "dep",
            {
                "azure_api_version": '${{ env "DECK_AZURE_API_VERSION" }}',
                "azure_deployment_id": "dep",
                "upstream_url": '${{ env "DECK_AZURE_API_BASE" }}/openai/deployments/dep/chat/completions',
            },
            ("api-key", "azure-api-key"),
        ),
        (
            "{model: azure_ai/mistral-large, api_base: 'https://x.services.ai.azure.com', "
            "api_version: '2024-05-01'}",
            "azure", "mistral-large",
            {
                "azure_api_version": "2024-05-01",
                "upstream_url": "https://x.services.ai.azure.com/models/chat/completions",
            },
            ("api-key", "azure-ai-api-key"),
        ),
    ],
)  # fmt: skip
def test_providers(
    params: str, provider: str, name: str, options: Json, auth: tuple[str, str] | None
) -> None:
    target, _ = one(params)
    assert (target["model"]["provider"], target["model"]["name"]) == (provider, name)
    assert target["model"].get("options", {}) == options
    if auth is None:
        # Never without any credential: the client's own would go there.
        assert target["auth"] == {"header_name": "Authorization", "header_value": "Bearer none"}
    elif not auth:
        assert "auth" not in target
    else:
        assert target["auth"] == {"header_name": auth[0], "header_value": f"{{vault://env/{auth[1]}}}"}


def test_identities_of_clouds() -> None:
    azure, _ = one(
        "{model: azure/d, api_base: 'https://custom.example', tenant_id: t, client_id: c, "
        "client_secret: sk-plain-secret}"
    )
    assert azure["auth"]["azure_use_managed_identity"] is True
    assert azure["auth"]["azure_client_secret"] == "{vault://env/m-azure-client-secret}"
    assert (
        azure["model"]["options"]["upstream_url"]
        == "https://custom.example/openai/deployments/d/chat/completions"
    )
    vertex, _ = one(
        "{model: vertex_ai/gemini-2.5-pro, vertex_location: global, vertex_project: os.environ/PROJECT,"
        " vertex_credentials: os.environ/GCP_JSON}"
    )
    assert vertex["model"]["options"]["gemini"] == {
        "project_id": '${{ env "DECK_PROJECT" }}', "location_id": "global", "api_endpoint": 
        "aiplatform.googleapis.com"
    }  # fmt: skip
    assert vertex["auth"] == {
        "gcp_use_service_account": True, "gcp_service_account_json": "{vault://env/gcp-json}"
    }  # fmt: skip
    file, report = one(
        "{model: vertex_ai/gemini-2.5-pro, vertex_location: europe-west4, vertex_credentials: /key.json}"
    )
    assert file["auth"] == {"gcp_use_service_account": True}
    assert file["model"]["options"]["gemini"]["api_endpoint"] == "europe-west4-aiplatform.googleapis.com"
    assert "GCP_SERVICE_ACCOUNT" in told(report)
    bedrock, report = one(
        "{model: bedrock/converse/us.anthropic.claude-x, aws_role_name: 'arn:aws:iam::1:role/r', "
        "aws_session_name: s,"
        " aws_session_token: x, aws_bedrock_runtime_endpoint: 'https://vpce.example'}"
    )
    assert bedrock["model"]["name"] == "us.anthropic.claude-x"
    assert bedrock["model"]["options"] == {
        "bedrock": {"aws_assume_role_arn": "arn:aws:iam::1:role/r", "aws_role_session_name": "s"},
        "upstream_url": "https://vpce.example",
    }
    assert "aws_session_token" in told(report) and "AWS_REGION" in told(report)


@pytest.mark.parametrize(
    ("params", "info", "route_type"),
    [
        ("{model: whisper-1}", "{}", "audio/v1/audio/transcriptions"),
        ("{model: openai/tts-1}", "{}", "audio/v1/audio/speech"),
        ("{model: dall-e-3}", "{}", "image/v1/images/generations"),
        ("{model: cohere/embed-english-v3.0}", "{}", "llm/v1/embeddings"),
        ("{model: gpt-3.5-turbo-instruct}", "{mode: completion}", "llm/v1/completions"),
        ("{model: o3}", "{mode: responses}", "llm/v1/responses"),
    ],
)
def test_modes(params: str, info: str, route_type: str) -> None:
    assert one(params, info)[0]["route_type"] == route_type


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model_list: [{model_name: m, litellm_params: {model: 'some-model'}}]", "provider 'some-model'"),
        ("model_list: [{model_name: m, litellm_params: {}}]", "has no litellm_params.model"),
        ("model_list: [{model_name: m}]", "has no litellm_params.model"),
        ("model_list: [x]", "is no map"),
        (
            "model_list: [{model_name: m, litellm_params: {model: gpt-4o, custom_llm_provider: petals}}]",
            "provider 'petals'",
        ),
        (
            "model_list: [{model_name: m, litellm_params: {model: gpt-4o}, model_info: {mode: rerank}}]",
            "rerank",
        ),
        ("model_list: [{model_name: 'gpt-*', litellm_params: {model: 'openai/gpt-*'}}]", "patterns"),
        ("model_list: [{model_name: m, litellm_params: {model: 'openai/gpt-*'}}]", "patterns"),
        ("model_list: [{model_name: m, litellm_params: {model: 'openai/*'}}]", "all models of a provider"),
        ("model_list: [{model_name: m, litellm_params: {model: lm_studio/x}}]", "needs an api_base"),
        ("model_list: [{model_name: m, litellm_params: {model: azure_ai/x}}]", "needs an api_base"),
        ("model_list: []", "serves nothing"),
    ],
)
def test_what_cannot_be_carried(text: str, said: str) -> None:
    report = Report()
    migrate(text, relay="r:1", report=report)
    assert said in " ".join(note.message for note in report.of("lost"))


def test_settings_without_a_counterpart_are_all_told() -> None:
    _, report = migrated(
        "model_list:\n"
        "- {model_name: m, litellm_params: {model: gpt-4o, timeout: 3, seed: 1, input_cost_per_token: free,\n"
        "   top_p: high, api_version: x, litellm_credential_name: nobody}, model_info: {team: 1}, extra: 1}\n"
        "- {model_name: g, litellm_params: {model: gemini/gemini-x, api_base: 'http://x'}}\n"
        "router_settings: {retry_policy: {TimeoutErrorRetries: 1},\n"
        "  fallbacks: [{nobody: [m]}, {m: [{model: g, messages: []}, nobody, g]}],\n"
        "  routing_strategy: least-busy, model_group_alias: {a: nobody, b: {model: m, hidden: true}}}\n"
        "litellm_settings: {cache: true}\n"
        "general_settings: {alerting: [slack]}\n"
        "environment_variables: {X: y}\n"
        "guardrails: [{guardrail_name: g}]\n"
    )
    text = told(report)
    for part in (
        "litellm_params.timeout", "litellm_params.seed", "input_cost_per_token", "litellm_params.top_p",
        "litellm_params.api_version", "litellm_credential_name", "model_info.team", "model_list[1].extra",
        "litellm_params.api_base", "retry_policy", "fallbacks.nobody", "fallbacks.m",
        "there is no model nobody",
        "model_group_alias.a", "litellm_settings.cache", "general_settings.alerting", "set X in", 
        "guardrails",
        "least-busy: with fallbacks",
    ):  # fmt: skip
        assert part in text, part


@pytest.mark.parametrize(
    ("section", "setting", "place", "why"),
    [
        ("router", "enable_pre_call_checks: true", "", "requests are not measured"),
        ("router", "model_group_alias: {a: {model: m, hidden: true}}", ".a.hidden", "no list of models"),
        ("router", "model_group_alias: [a]", "", "is no map"),
        ("router", "default_litellm_params: 5", "", "is no map"),
        ("router", "num_retries: os.environ/RETRIES", "", "is no number"),
        ("litellm", "request_timeout: soon", "", "is no number"),
        ("router", "cooldown_time: [1]", "", "is no number"),
        ("router", "timeout: 6000", "", "is cut to 899 s"),
        ("litellm", "request_timeout: 6000", "", "is cut to 899 s"),
        ("router", "fallbacks: {m: [n]}", "", "not a list of maps"),
        ("litellm", "fallbacks: [m]", "", "not a list of maps"),
        ("litellm", "drop_params: false", "", "is left out, not refused"),
        ("litellm", "turn_off_message_logging: false", "", "log_payloads"),
        ("litellm", "master_key: sk-1234-master", "", "has no counterpart"),
        ("general", "num_retries: 3", "", "has no counterpart"),
        ("general", "max_request_size_mb: much", "", "is no number"),
    ],
)
def test_each_setting_that_is_not_carried_is_told_by_name(
    section: str, setting: str, place: str, why: str
) -> None:
    _, report = migrated(
        "model_list: [{model_name: m, litellm_params: {model: gpt-4o}}]\n"
        f"{section}_settings:\n  {setting}\n"
    )
    (note,) = report.of("lost")
    assert (note.line, note.path) == (3, f"{section}_settings.{setting.partition(':')[0]}{place}")
    assert why in note.message


@pytest.mark.parametrize(
    "settings",
    [
        "router_settings: {enable_pre_call_checks: false, enable_tag_filtering: false, fallbacks: []}",
        "litellm_settings: {drop_params: true, turn_off_message_logging: true, cache: false, callbacks: []}",
        "general_settings: {alerting: null, max_request_size_mb: 1.5}",
        "router_settings: {model_group_alias: {a: {model: m, hidden: false}}, set_verbose: true}",
        "guardrails: []",
    ],
)
def test_settings_that_ask_for_nothing_are_not_told(settings: str) -> None:
    _, report = migrated(f"model_list: [{{model_name: m, litellm_params: {{model: gpt-4o}}}}]\n{settings}\n")
    assert report.of("lost") == []


def test_what_models_say_of_themselves_is_told_by_name() -> None:
    _, report = one(
        "{model: gpt-4o, weight: 0}",
        "{id: x, version: 2, base_model: azure/x, max_tokens: 5, max_input_tokens: 4, access_groups: [a]}",
    )
    assert [(note.path.partition(".")[2], note.message.partition(":")[0]) for note in report.of("lost")] == [
        ("litellm_params.weight", "is no number above 0"),
        ("model_info.base_model", "says whose prices and limits are meant"),
        ("model_info.max_tokens", "requests are not measured before they are sent"),
        ("model_info.max_input_tokens", "requests are not measured before they are sent"),
        ("model_info.access_groups", "has no counterpart"),
    ]
    assert "no cost is logged for m" in told(report)
    _, report = one("{model: gpt-4o, input_cost_per_token: 0.000001}")
    assert "no cost is logged" not in told(report)


def test_an_identity_beside_a_key_is_told() -> None:
    target, report = one("{model: azure/d, api_base: 'https://x.openai.azure.com', api_key: k, tenant_id: t}")
    assert target["auth"]["header_name"] == "api-key"
    assert [note.path for note in report.of("lost")] == ["model_list[1].litellm_params.tenant_id"]


def test_secrets_that_would_have_one_name_get_two() -> None:
    data, _ = migrated(
        "model_list:\n"
        "- {model_name: m, litellm_params: {model: anthropic/a, api_key: sk-one}}\n"
        "- {model_name: m, litellm_params: {model: anthropic/b, api_key: sk-two}}\n"
        "- {model_name: m, litellm_params: {model: anthropic/c, api_key: sk-two}}\n"
        "- {model_name: m, litellm_params: {model: anthropic/d, api_key: sk-three}}\n"
    )
    assert [target["auth"]["header_value"] for target in plugin_config(data)["targets"]] == [
        "{vault://env/m-anthropic-api-key}",
        "{vault://env/m-anthropic-api-key-2}",
        "{vault://env/m-anthropic-api-key-2}",
        "{vault://env/m-anthropic-api-key-3}",
    ]


@pytest.mark.parametrize(
    ("shares", "expected", "lost"),
    [
        (["weight: 9", "weight: 1"], [9, 1], False),
        (["weight: 0.9", "weight: 0.1"], [900, 100], False),
        (["tpm: 1000000", "tpm: 250000"], [65535, 16384], False),
        (["rpm: 2, tpm: 7", "rpm: 3"], [2, 3], False),
        (["weight: 70000.5", "weight: 0.5"], [65535, 1], False),
        (["weight: 9", "rpm: 1"], [9, 1], True),
        (["weight: 9", "temperature: 1"], [9, None], True),
    ],
)
def test_shares_keep_their_proportions(shares: list[str], expected: list[int | None], lost: bool) -> None:
    entries = "".join(f"- {{model_name: m, litellm_params: {{model: gpt-4o, {each}}}}}\n" for each in shares)
    data, report = migrated(f"model_list:\n{entries}")
    assert [target.get("weight") for target in plugin_config(data)["targets"]] == expected
    assert ("not all deployments tell theirs in the same way" in told(report)) is lost


def test_fallbacks_for_all_models_stand_under_a_star() -> None:
    data, report = migrated(
        "model_list:\n"
        "- {model_name: a, litellm_params: {model: gpt-4o}}\n"
        "- {model_name: b, litellm_params: {model: claude-x}}\n"
        "router_settings: {fallbacks: [{'*': [b]}]}\n"
    )
    targets = [
        (target["model"]["model_alias"], target["model"]["provider"], target["weight"])
        for target in plugin_config(data)["targets"]
    ]
    assert targets == [("a", "openai", 100), ("a", "anthropic", 90), ("b", "anthropic", 100)]
    assert report.of("lost") == []


def test_one_model_for_all_names_credentials_by_name_and_redis() -> None:
    data, report = migrated(
        "model_list:\n"
        "- {model_name: '*', litellm_params: {model: 'openai/*', litellm_credential_name: shared}}\n"
        "- {model_name: v, litellm_params: {model: vertex_ai/gemini-x}}\n"
        "credential_list:\n- {credential_name: shared, credential_values: {api_key: os.environ/SHARED_KEY}}\n"
        "litellm_settings: {vertex_project: p, vertex_location: us-east5, default_fallbacks: [v]}\n"
        "router_settings: {redis_host: os.environ/REDIS_HOST, redis_port: 6380, redis_password: "
        "sk-plain-secret,\n"
        "  redis_db: 2, default_litellm_params: {max_tokens: 10}}\n",
        usage=False,
    )
    config = plugin_config(data)
    everything, vertex = config["targets"]
    assert everything["model"] == {"provider": "openai", "options": {"max_tokens": 10}}
    assert everything["auth"]["header_value"] == "{vault://env/shared-authorization}"
    assert "model_alias" not in everything["model"] and "fallbacks for models of any name" in told(report)
    assert vertex["model"]["options"]["gemini"]["project_id"] == "p"
    assert config["kong_ai_proxy"] == {
        "redis": {
            "host": "{vault://env/redis-host}", "port": 6380, "password": "{vault://env/redis-password}",
            "database": 2
        }
    }  # fmt: skip
    assert "plugins" not in data["services"][0]


def test_models_are_split_as_litellm_does() -> None:
    assert split_model("bedrock/invoke/eu-west-1/meta.llama3") == ("bedrock", "meta.llama3")
    assert split_model("us.anthropic.claude-3") == ("bedrock", "us.anthropic.claude-3")
    assert split_model("ft:gpt-4o:x") == ("openai", "ft:gpt-4o:x")
    assert split_model("o3-mini") == ("openai", "o3-mini")
    assert split_model("gemini-2.5-pro") == ("vertex_ai", "gemini-2.5-pro")
    assert split_model("openrouter/google/gemma") == ("openrouter", "google/gemma")
    assert split_model("nobody/gpt-4o") == ("", "nobody/gpt-4o")
    assert all(known.base.startswith(("", "http")) for known in PROVIDERS.values())


def test_the_command_sees_whose_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    assert cli.main(["migrate", str(path), "--relay", "kong-ai-proxy:8125"]) == 0
    out, err = capsys.readouterr()
    assert "url: http://kong-ai-proxy:8125" in out
    assert f"{path}:" in err and "sk-" not in out + err
    assert cli.main(["migrate", str(path), "--from", "kong"]) == 0
    assert "neither ai-proxy" in capsys.readouterr().err
