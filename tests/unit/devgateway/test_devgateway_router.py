"""Routes and upstream paths, by Kong's documented table (gateway/entities/route: path_handling) and its
router's rules."""

from __future__ import annotations

from typing import Any

import pytest

from kong_ai_proxy.devgateway.declared import ConfigError, fill_defaults, read
from kong_ai_proxy.devgateway.headers import Headers
from kong_ai_proxy.devgateway.router import Match, Router, normalize, upstream_uri


@pytest.mark.parametrize(
    ("base", "route", "strip", "handling", "request_path", "expected"),
    [
        ("/s", "/fv0", False, "v0", "/fv0/req", "/s/fv0/req"),
        ("/s", "/fv1", False, "v1", "/fv1/req", "/sfv1/req"),
        ("/s", "/tv0", True, "v0", "/tv0/req", "/s/req"),
        ("/s", "/tv1", True, "v1", "/tv1/req", "/s/req"),
        ("/s", "/fv0/", False, "v0", "/fv0/req", "/s/fv0/req"),
        ("/s", "/tv0/", True, "v0", "/tv0/req", "/s/req"),
        ("/s", "/tv1/", True, "v1", "/tv1/req", "/sreq"),
        ("/s/", "/fv0", False, "v0", "/fv0/req", "/s/fv0/req"),
        ("/s/", "/tv0", True, "v0", "/tv0/req", "/s/req"),
        ("/s/", "/tv1", True, "v1", "/tv1/req", "/s/req"),
        ("/", "/a", True, "v0", "/a", "/"),
        ("/", "/a", True, "v0", "/a/", "/"),
        ("/s", "/a", True, "v0", "/a", "/s"),
        ("/s", "/a", True, "v0", "/a/", "/s/"),
        ("/s/", "/a", True, "v0", "/a", "/s"),
        ("/s/", "/a", True, "v0", "/a/", "/s/"),
        ("/s", "/", False, "v0", "/", "/s"),
        ("/", "/a", True, "v0", "/abc", "/bc"),
    ],
)
def test_upstream_path(
    base: str, route: str, strip: bool, handling: str, request_path: str, expected: str
) -> None:
    postfix = request_path[len(route) :]
    assert upstream_uri(base, postfix, request_path, strip, handling) == expected


def router(*routes: dict[str, Any]) -> Router:
    document = {
        "_format_version": "3.0",
        "services": [{"name": "s", "url": "http://service:8080/base", "routes": list(routes)}],
    }
    return Router(read(document))


def match(router: Router, path: str, method: str = "POST", **headers: str) -> Match | None:
    given = Headers([(name.replace("_", "-"), value) for name, value in headers.items()])
    return router.match(method, path, headers.get("host", "gateway"), given)


def name_of(found: Match | None) -> str | None:
    return found.route["name"] if found else None


def test_longer_paths_win() -> None:
    r = router({"name": "short", "paths": ["/a"]}, {"name": "long", "paths": ["/a/b"]})
    assert name_of(match(r, "/a/b/c")) == "long"
    assert name_of(match(r, "/a/c")) == "short"
    assert match(r, "/b") is None


def test_regex_paths_win_and_capture() -> None:
    r = router(
        {"name": "prefix", "paths": ["/models/gpt"]},
        {"name": "regex", "paths": [r"~/models/(?<model>[^/]+)/(chat|embed)"]},
    )
    found = match(r, "/models/gpt/chat/more")
    assert found is not None and found.route["name"] == "regex"
    assert found.named == {"model": "gpt"}
    assert found.unnamed == ["gpt", "chat"]
    assert found.upstream_uri == "/base/more"
    assert found.prefix == "/models/gpt/chat"


def test_regex_priority() -> None:
    r = router(
        {"name": "low", "paths": ["~/a.*"], "regex_priority": 1},
        {"name": "high", "paths": ["~/a"], "regex_priority": 9},
    )
    assert name_of(match(r, "/abc")) == "high"


def test_methods_hosts_headers() -> None:
    r = router(
        {"name": "any", "paths": ["/a"]},
        {"name": "get", "paths": ["/a"], "methods": ["GET"]},
        {"name": "host", "paths": ["/a"], "hosts": ["*.example.com"]},
        {"name": "header", "paths": ["/a"], "headers": {"x-kind": ["one", "two"]}},
    )
    assert name_of(match(r, "/a")) == "any"
    assert name_of(match(r, "/a", "GET")) == "get"
    assert name_of(match(r, "/a", host="ai.example.com:8000")) == "host"
    assert name_of(match(r, "/a", x_kind="TWO")) == "header"
    assert name_of(match(r, "/a", x_kind="three")) == "any"


def test_strip_path_off() -> None:
    found = match(router({"name": "r", "paths": ["/a"], "strip_path": False}), "/a/b")
    assert found is not None
    assert (found.upstream_uri, found.prefix) == ("/base/a/b", None)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/a//b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/%61", "/a"),
        ("/a%2fb", "/a%2Fb"),
        ("/a/..", "/"),
        ("/", "/"),
    ],
)
def test_paths_are_normalised_before_they_match(raw: str, path: str) -> None:
    assert normalize(raw) == path


def test_bytes_that_are_not_ascii_are_escaped_upstream() -> None:
    found = match(router({"name": "r", "paths": ["/a"]}), "/a/caf%C3%A9")
    assert found is not None and found.upstream_uri == "/base/caf%C3%A9"


def test_plugin_configuration_gets_kongs_additions_and_defaults() -> None:
    schema = {
        "fields": [
            {
                "config": {
                    "type": "record",
                    "fields": [
                        {"plain": {"type": "number", "default": 3}},
                        {"auth": {"type": "record", "required": True, "fields": [
                            {"on": {"type": "boolean", "default": False}}]}},
                        {"absent": {"type": "record", "fields": [{"x": {"type": "string", "default": "x"}}]}},
                        {"list": {"type": "array", "elements": {"type": "record", "fields": [
                            {"w": {"type": "integer", "default": 100}}]}}},
                    ],
                }
            }
        ]
    }  # fmt: skip
    assert fill_defaults(schema, {"list": [{}, {"w": 1}]}) == {
        "plain": 3,
        "auth": {"on": False},
        "list": [{"w": 100}, {"w": 1}],
    }
    document = {
        "_format_version": "3.0",
        "services": [
            {"name": "s", "url": "https://h", "routes": [
                {"name": "r", "paths": ["/"], "plugins": [{"name": "p", "config": {"a": None, "plain": 1}}]}]}
        ],
    }  # fmt: skip
    declared = read(document, {"p": schema})
    config = declared.plugins[0].config
    assert config["plain"] == 1 and "a" not in config
    assert config["route_id"] == declared.routes[0]["id"]
    assert {"__plugin_id", "__key__", "__seq__", "__ws_id"} <= set(config)
    assert declared.services[0]["port"] == 443


@pytest.mark.parametrize(
    "document",
    [
        None,
        {"services": []},
        {"_format_version": "3.0", "services": [{"name": "s"}]},
        {"_format_version": "3.0", "services": [{"name": "s", "url": "nonsense"}]},
        {"_format_version": "3.0", "routes": [{"name": "r", "paths": ["no-slash"]}]},
        {"_format_version": "3.0", "routes": [{"name": "r", "service": {"name": "unknown"}}]},
    ],
)
def test_bad_documents_are_refused(document: Any) -> None:
    with pytest.raises(ConfigError):
        read(document)
