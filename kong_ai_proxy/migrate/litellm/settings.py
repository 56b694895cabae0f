"""What becomes of LiteLLM's settings beside its models.

Source: docs/my-website/docs/proxy/config_settings.md of LiteLLM's repository.
"""

from __future__ import annotations

from typing import Any, Final

SECTIONS: Final = ("litellm_settings", "router_settings", "general_settings")
REDIS: Final = {
    "redis_host": "host",
    "redis_port": "port",
    "redis_password": "password",
    "redis_db": "database",
}
_SILENT: Final = frozenset({"set_verbose", "json_logs", "telemetry", "debug_level"})
"""They are about LiteLLM's own log, in whichever section."""
_ROUTING: Final = _SILENT | set(REDIS) | {
    "allowed_fails", "cooldown_time", "default_fallbacks", "default_litellm_params", "disable_cooldowns",
    "fallbacks", "model_group_alias", "num_retries", "request_timeout", "routing_strategy", "timeout",
}  # fmt: skip
_CARRIED: Final[dict[str, frozenset[str]]] = {
    "router_settings": _ROUTING,
    "litellm_settings": _ROUTING | {"vertex_location", "vertex_project"},
    "general_settings": _SILENT | {"master_key", "max_request_size_mb"},
}
"""By section: what is carried over, and what says nothing about requests."""
_SO_ANYWAY: Final = {
    # What a provider has nothing for is left out.
    "drop_params": True,
    # What people say is logged nowhere without log_payloads.
    "turn_off_message_logging": True,
}
_OFF: Final = frozenset({"cache", "enable_pre_call_checks", "enable_tag_filtering"})
"""Switched off by default: false asks for nothing."""
_CALLBACKS: Final = "Kong's logging plugins and OpenTelemetry take its place"
_CONTENT: Final = "fallbacks go by status and time-out, not by the kind of a 400"
_WHY: Final = {
    "alerting": "use Prometheus' alerts",
    "allowed_fails_policy": "failures are counted together (balancer.max_fails)",
    "allowed_ips": "use Kong's ip-restriction plugin",
    "cache": "there is no cache of answers",
    "cache_params": "there is no cache of answers",
    "callbacks": "Kong's logging and prometheus plugins and OpenTelemetry take its place",
    "content_policy_fallbacks": _CONTENT,
    "context_window_fallbacks": _CONTENT,
    "database_url": "keys, teams and budgets are Kong's consumers and plugins",
    "drop_params": "what a provider has nothing for is left out, not refused",
    "enable_pre_call_checks": "requests are not measured, nor regions looked at, before they are sent: a "
    "provider answers itself what is too long for it",
    "enable_tag_filtering": "targets are not chosen by tags; use routes of their own",
    "failure_callback": _CALLBACKS,
    "global_max_parallel_requests": "use Kong's rate-limiting plugin",
    "guardrails": "use Kong's plugins, or a service of your own in front",
    "max_parallel_requests": "use Kong's rate-limiting plugin",
    "mcp_servers": "MCP is not served",
    "num_retries_per_request": "balancer.retries",
    "pass_through_endpoints": "make a service and a route in Kong",
    "retry_policy": "retries are the same for all kinds of errors (balancer.failover_criteria)",
    "service_callbacks": "Kong's prometheus plugin takes its place",
    "stream_timeout": "one time-out for both: balancer.read_timeout is the longest silence between two reads",
    "success_callback": _CALLBACKS,
    "turn_off_message_logging": "log_payloads of each target says whether what people say is logged",
    "vector_store_registry": "vector stores are not served",
}


def lost_setting(section: str, name: str, value: Any) -> str | None:
    """Why a setting is not carried over; None where it is, or asks for nothing. `section`: "" is the top."""
    if name in _CARRIED.get(section, ()) or value is None or value in ([], {}):
        return None
    if name in _SO_ANYWAY and value is _SO_ANYWAY[name]:
        return None
    if name in _OFF and value is False:
        return None
    return _WHY.get(name, "has no counterpart")
