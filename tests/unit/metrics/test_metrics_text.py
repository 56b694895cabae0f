"""The text format, and what is read from the parts."""

from __future__ import annotations

import re

import pytest

from kong_ai_proxy.auth import tokens
from kong_ai_proxy.balancer.base import Outcome
from kong_ai_proxy.exchange.instance import Instance
from kong_ai_proxy.metrics.exposition import Family, expose
from kong_ai_proxy.metrics.sources import CountedTickets, of_credentials, of_targets, of_tickets, of_tokens

SECRET = "sk-planted-0123456789abcdef"
SAMPLE = re.compile(r'([a-z_]+)(?:\{([a-z_]+="(?:[^"\\\n]|\\.)*"(?:,[a-z_]+="(?:[^"\\\n]|\\.)*")*)\})? (\S+)')


def parsed(text):
    """Samples by name and labels; fails on a line that is none."""
    found = {}
    for line in text.decode().splitlines():
        if line.startswith("# "):
            assert re.fullmatch(r"# (HELP \w+ .+|TYPE \w+ (counter|gauge|histogram))", line), line
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        key = (match[1], match[2] or "")
        assert key not in found, f"{key} twice"
        found[key] = float(match[3])
    return found


def test_the_format():
    many = (
        Family("a_total", "counter", "Back\\slash\nand line.")
        .add(1, {"x": 'say "a\\b"\n'})
        .add(2.5, {"x": "b"})
    )
    text = expose([many, Family("empty", "gauge", "None."), Family("g", "gauge", "G.").add(float("inf"))])
    assert text.decode() == (
        "# HELP a_total Back\\\\slash\\nand line.\n# TYPE a_total counter\n"
        'a_total{x="say \\"a\\\\b\\"\\n"} 1\na_total{x="b"} 2.5\n'
        "# HELP g G.\n# TYPE g gauge\ng +Inf\n"
    )
    assert len(parsed(text)) == 3


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def test_tickets():
    clock = Clock()
    tickets = CountedTickets(ttl=60, clock=clock)
    ticket = type("Ticket", (), {"filed": 0.0})
    tickets.file(ticket())
    clock.now += 50
    tickets.file(ticket())
    found = parsed(expose(of_tickets(tickets)))
    assert found["kong_ai_proxy_tickets_open", ""] == 2
    assert found["kong_ai_proxy_tickets_oldest_age_seconds", ""] == 50
    clock.now += 11
    tickets.expire()
    found = parsed(expose(of_tickets(tickets)))
    assert found["kong_ai_proxy_tickets_open", ""] == 1
    assert found["kong_ai_proxy_tickets_expired_total", ""] == 1


class Plugin:
    def __init__(self, instance):
        self.instance = instance


def advanced(plugin_id):
    target = {
        "route_type": "llm/v1/chat",
        "auth": {"header_name": "Authorization", "header_value": f"Bearer {SECRET}"},
        "model": {
            "provider": "openai",
            "name": "gpt-4o",
            "options": {"upstream_url": f"http://u:{SECRET}@h/p"},
        },
    }
    other = {**target, "model": {"provider": "mistral", "name": "large", "options": {
        "mistral_format": "openai", "upstream_url": "http://h/m"}}}  # fmt: skip
    config = {
        "__plugin_id": plugin_id,
        "targets": [target, other],
        "balancer": {"algorithm": "round-robin", "max_fails": 2, "fail_timeout": 30000},
    }
    return Plugin(Instance.from_config("kong-ai-proxy-advanced", config))


def test_targets_and_the_breaker():
    plugin = advanced("metrics-test")
    guarded = plugin.instance.balancer
    for _ in range(2):
        guarded.started(0)
        guarded.ended(0, Outcome(ok=False, status=500))
    guarded.started(1)
    guarded.ended(1, Outcome(ok=False, status=429, retry_after_s=20.0))
    guarded.started(1)
    # The one that was started first, and another configuration of the same plugin: told once.
    text = expose(of_targets(lambda: [advanced("metrics-test"), plugin]))
    assert SECRET.encode() not in text
    found = parsed(text)

    def of(name, place):
        label = ("openai/gpt-4o", "mistral/large")[place - 1]
        return found[
            f"kong_ai_proxy_target_{name}", f'plugin_id="metrics-test",target="{place}",model="{label}"'
        ]

    assert (of("available", 1), of("unhealthy", 1), of("failures", 1)) == (0, 1, 2)
    assert (of("available", 2), of("unhealthy", 2), of("failures", 2)) == (0, 0, 1)
    assert of("left_alone_seconds", 1) == 0
    assert 19 < of("left_alone_seconds", 2) <= 20
    assert (of("attempts_running", 1), of("attempts_running", 2)) == (0, 1)


def test_a_plugin_without_a_balancer_has_no_targets_to_tell():
    assert expose(of_targets(lambda: [object(), None])) == b"\n"


def test_token_fetches():
    before = parsed(expose(of_tokens()))
    cache = tokens.TokenCache()

    def refused():
        raise tokens.Unavailable("no")

    cache.get("a", lambda: tokens.Token("t", 600))
    cache.get("a", refused)
    with pytest.raises(tokens.Unavailable):
        cache.get("b", refused)
    after = parsed(expose(of_tokens()))
    grown = {labels: after[name, labels] - before[name, labels] for name, labels in after}
    assert grown == {'outcome="ok"': 1, 'outcome="failed"': 1}


def test_a_credential_that_kong_could_not_resolve():
    reference = "{vault://env/openai}"

    def target(value, referred):
        auth = {"header_name": "Authorization", "header_value": value}
        if referred:
            auth["$refs"] = {"header_value": reference}
        model = {"provider": "openai", "name": "gpt-4o"}
        return {"route_type": "llm/v1/chat", "model": model, "auth": auth}

    def plugin(judge, *targets):
        config = {
            "__plugin_id": "p",
            "targets": list(targets),
            "balancer": {"algorithm": "lowest-usage", "tokens_count_strategy": "llm-accuracy"},
            "kong_ai_proxy": {"judge": {"llm": judge}},
        }
        return Plugin(Instance.from_config("kong-ai-proxy-advanced", config))

    running = plugin(target("", True), target("", True), target(SECRET, True), target(SECRET, False))
    text = expose(of_credentials(lambda: [running, object()]))
    assert reference.encode() not in text
    assert SECRET.encode() not in text
    labels = 'plugin_id="p",target="{}",model="openai/gpt-4o"'.format
    found = {key[1]: value for key, value in parsed(text).items()}
    assert found == {labels(1): 1, labels(2): 0, labels("judge"): 1}
    running.instance.rotation.renew(reference, SECRET)
    found = {key[1]: value for key, value in parsed(expose(of_credentials(lambda: [running]))).items()}
    assert found[labels(1)] == 0
