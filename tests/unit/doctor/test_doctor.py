"""The command `doctor`, with a plugin server, a relay and an Admin API that a test makes up."""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kong_ai_proxy import cli
from kong_ai_proxy.doctor.admin import Unreachable, check_kong, leads_to
from kong_ai_proxy.doctor.local import check_relay, check_socket, judge_metrics
from kong_ai_proxy.server import usage_filter

SECRET = "sk-planted-0123456789abcdef"
RELAY = ("127.0.0.1", 8125)


# The plugin server and its relay.


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A real plugin server, as a process of its own."""
    prefix = tmp_path_factory.mktemp("prefix")
    command = [sys.executable, "-c", "import sys; from kong_ai_proxy.cli import main; sys.exit(main())"]
    process = subprocess.Popen(
        [*command, "serve", "--kong-prefix", str(prefix), "--relay", "127.0.0.1:0"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    timer = threading.Timer(30, process.kill)
    timer.start()
    relay = ""
    for line in process.stdout:
        told = json.loads(line)
        if told["event"] == "serving":
            relay = told["relay"]
            break
    yield prefix, relay
    timer.cancel()
    process.terminate()
    process.stdout.read()
    process.wait(20)
    process.stdout.close()


def test_a_server_that_runs_is_well(running, capsys):
    prefix, relay = running
    assert cli.main(["doctor", "--kong-prefix", str(prefix), "--relay", relay]) == 0
    out = capsys.readouterr().out
    assert out.count("ok       socket ") == 2
    assert f"ok       relay {relay}: is reachable from here" in out
    assert "Kong has started no plugin instance yet" in out
    assert "PROBLEM" not in out
    assert cli.main(["doctor", "--kong-prefix", str(prefix), "--relay", relay, "--strict"]) == 1


def test_sockets_that_everybody_may_use(running):
    prefix, _ = running
    path = prefix / "kong-ai-proxy.sock"
    before = path.stat().st_mode & 0o777
    os.chmod(path, 0o666)
    try:
        found = check_socket(prefix, "kong-ai-proxy")
    finally:
        os.chmod(path, before)
    assert (found.level, "every user" in found.text, "660" in found.mend) == ("warning", True, True)


def test_nothing_runs(tmp_path, capsys):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        relay = f"127.0.0.1:{unused.getsockname()[1]}"
        assert cli.main(["doctor", "--kong-prefix", str(tmp_path), "--relay", relay, "--format", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    found = told["findings"][:3]
    assert [each["level"] for each in found] == ["problem"] * 3
    assert all(each["mend"] for each in found)


def test_what_may_stand_in_a_sockets_place(tmp_path):
    (tmp_path / "file.sock").write_text("")
    assert check_socket(tmp_path, "file").text == "is not a socket"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "left.sock"))
    assert "nobody listens" in check_socket(tmp_path, "left").text


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x94\x01\x01\xc0\xc0", b"\xc1", b""]
)
def test_something_else_answers_on_the_socket(tmp_path, answer):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "x.sock"))
        listener.listen()

        def once():
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(answer)

        thread = threading.Thread(target=once)
        thread.start()
        found = check_socket(tmp_path, "x")
        thread.join(5)
    assert (found.level, found.text) == ("problem", "something else answers")


@pytest.fixture
def http_server():
    """Answers what `pages` says."""
    pages = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, dict(self.headers)))
            status, body = pages.get(self.path, (404, b"{}"))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.server_port, pages, seen
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "level"),
    [
        (200, b'{"status": "ok"}', "ok"), (503, b'{"status": "stopping"}', "warning"),
        (200, b"<html>", "problem"), (404, b"{}", "problem"), (200, b"[]", "problem"),
        (200, b"\xff", "problem"),
    ],
)  # fmt: skip
def test_relay(http_server, status, body, level):
    port, pages, _ = http_server
    pages["/health"] = (status, body)
    assert [found.level for found in check_relay("127.0.0.1", port)] == [level]


def test_a_relay_that_lacks_a_worker(http_server):
    port, pages, _ = http_server
    pages["/health"] = (200, b'{"status": "degraded", "workers": {"wanted": 4, "up": 3}}')
    first, second = check_relay("127.0.0.1", port)
    assert (first.level, second.level) == ("warning", "ok")
    assert "3 of 4 relay workers" in first.text
    pages["/health"] = (200, b'{"status": "degraded", "workers": "many"}')
    assert [found.level for found in check_relay("127.0.0.1", port)] == ["problem"]


def test_what_the_relays_numbers_say():
    labels = 'plugin_id="p1",target="2",model="openai/gpt-4o"'
    text = (
        f"# HELP x y\nkong_ai_proxy_target_unhealthy{{{labels}}} 1\n"
        'kong_ai_proxy_target_unhealthy{plugin_id="p1",target="1",model="m"} 0\n'
        "kong_ai_proxy_tickets_oldest_age_seconds 300.5\nkong_ai_proxy_instances 0\n"
    )
    found = list(judge_metrics("relay", text))
    assert [each.level for each in found] == ["warning"] * 3
    assert found[0].subject == "target 2 (openai/gpt-4o) of plugin p1"
    assert "300 s ago" in found[1].text
    assert list(judge_metrics("relay", "kong_ai_proxy_instances 2\nnonsense\n")) == []


# Kong's Admin API.


def kong():
    """What a Kong that is configured well tells, by path."""
    config = {
        "route_type": "llm/v1/chat",
        "auth": {"header_name": "Authorization", "header_value": "{vault://env/key}", "param_name": None},
        "model": {"provider": "openai", "name": "gpt-4o", "options": None},
    }
    return {
        "/": {
            "version": "3.9.0",
            "plugins": {"available_on_server": {
                name: {"version": "1", "priority": 1}
                for name in ("kong-ai-proxy", "kong-ai-proxy-advanced", "pre-function")
            }},
            "configuration": {
                "nginx_http_client_body_buffer_size": "1m", "nginx_http_client_max_body_size": "0",
            },
        },
        "/services?size=1000": {"data": [
            {"id": "s1", "name": "ai", "protocol": "http", "host": "localhost", "port": 8125, "retries": 0,
             "read_timeout": 900000},
        ], "next": None},
        "/routes?size=1000": {"data": [{"id": "r1", "name": "chat", "service": {"id": "s1"}}], "next": None},
        "/plugins?size=1000": {"data": [
            {"id": "p1", "name": "kong-ai-proxy", "enabled": True, "route": {"id": "r1"}, "service": None,
             "config": config},
        ], "next": "/plugins?offset=2"},
        "/plugins?offset=2": {"data": [
            {"id": "p2", "name": "pre-function", "enabled": True, "route": None, "service": None,
             "config": usage_filter.config()},
        ], "next": None},
    }  # fmt: skip


def told(pages):
    def fetch(path):
        if path not in pages:
            raise Unreachable("status 404")
        return copy.deepcopy(pages[path])

    return list(check_kong(fetch, RELAY))


def not_ok(pages):
    return [(each.level, each.subject, each.text) for each in told(pages) if each.level != "ok"]


def test_a_kong_that_is_well():
    assert not_ok(kong()) == []
    assert [each.subject for each in told(kong())] == [
        "Kong", "plugin kong-ai-proxy", "plugin kong-ai-proxy-advanced", "configuration", "service ai",
    ]  # fmt: skip


def change(path, *keys, to):
    pages = kong()
    node = pages[path]
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = to
    return pages


SERVICE = ("/services?size=1000", "data", 0)
PLUGIN = ("/plugins?size=1000", "data", 0)


@pytest.mark.parametrize(
    ("pages", "level", "says"),
    [
        (change("/", "plugins", "available_on_server", to={"pre-function": {}}), "warning", "KONG_PLUGINS"),
        (change("/", "plugins", "available_on_server", to=[]), "warning", "the usage filter cannot run"),
        (change("/", "configuration", "nginx_http_client_body_buffer_size", to="8k"), "warning", "to disk"),
        (change("/", "configuration", "nginx_http_client_max_body_size", to="1m"), "warning", "413"),
        (change("/", "configuration", to=None), "problem", "not Kong's Admin API"),
        (change(*SERVICE, "retries", to=5), "warning", "set it to 0"),
        (change(*SERVICE, "read_timeout", to=60000), "warning", "Kong would end long answers"),
        (change(*SERVICE, "host", to="api.openai.com"), "warning", "sends prompts there unchanged"),
        (change(*SERVICE, "protocol", to="https"), "warning", "not to the relay"),
        (change(*PLUGIN, "enabled", to=False), "problem", "enabled anywhere"),
        (change(*PLUGIN, "config", "model", "provider", to="nobody"), "problem", "model.provider"),
        (change("/plugins?offset=2", "data", to=[]), "warning", "no usage filter"),
        (change("/routes?size=1000", "data", 0, "service", to=None), "problem", "has no service"),
        (change("/routes?size=1000", "data", to="text"), "problem", "cannot be used"),
        (change(PLUGIN[0], "next", to="/plugins?offset=gone"), "problem", "status 404"),
        (change(PLUGIN[0], "next", to="/plugins?size=1000"), "problem", "does not end"),
    ],
)
def test_what_is_wrong_with_kong(pages, level, says):
    found = not_ok(pages)
    assert any(each[0] == level and says in f"{each[1]}: {each[2]}" for each in found) or any(
        says in each.mend for each in told(pages)
    ), found


def test_a_kong_that_fails_at_its_root():
    """Kong 3.9.3 answers `GET /` with 500 where it started the plugin server: it tries to encode a pipe."""
    pages = kong()
    names = list(pages.pop("/")["plugins"]["available_on_server"])
    pages["/plugins/enabled"] = {"enabled_plugins": names}
    [found] = not_ok(pages)
    assert found[0] == "warning" and "not GET /" in found[2]
    assert {"plugin kong-ai-proxy", "configuration", "service ai"} <= {each.subject for each in told(pages)}
    pages["/plugins/enabled"] = {"enabled_plugins": names[:1]}
    assert any("not known" in each[2] for each in not_ok(pages))
    pages["/plugins/enabled"] = {"enabled_plugins": None}
    assert any("not known" in each[2] for each in not_ok(pages))
    del pages["/plugins/enabled"]
    assert [each[0] for each in not_ok(pages)] == ["problem"]


def test_no_credential_is_shown():
    found = told(change(*PLUGIN, "config", "auth", "header_value", to=f"Bearer {SECRET}"))
    assert any("vault" in each.text for each in found), "it says so"
    assert SECRET not in repr(found)


def test_a_plugin_for_everything_concerns_all_services():
    pages = change(*PLUGIN, "route", to=None)
    pages["/services?size=1000"]["data"].append(
        {"id": "s2", "name": "other", "protocol": "http", "host": "h", "port": 80, "retries": 0,
         "read_timeout": 900000}
    )  # fmt: skip
    assert [subject for _, subject, _ in not_ok(pages)] == ["service other"]


@pytest.mark.parametrize(
    ("host", "relay", "leads"),
    [
        ("localhost", "0.0.0.0", True), ("127.0.0.1", "localhost", True), ("::1", "127.0.0.1", True),
        ("relay", "relay", True), ("relay", "127.0.0.1", False), (None, "127.0.0.1", False),
    ],
)  # fmt: skip
def test_services_that_lead_to_the_relay(host, relay, leads):
    assert leads_to({"protocol": "http", "host": host, "port": 1}, (relay, 1)) is leads


def test_the_admin_api_over_http(http_server, tmp_path, capsys, monkeypatch):
    port, pages, seen = http_server
    pages.update({path: (200, json.dumps(body).encode()) for path, body in kong().items()})
    monkeypatch.setenv("KONG_ADMIN_TOKEN", SECRET)
    arguments = ["--kong-prefix", str(tmp_path), "--relay", "127.0.0.1:8125"]
    cli.main(["doctor", *arguments, "--kong-admin", f"http://127.0.0.1:{port}/"])
    done = capsys.readouterr()
    assert "ok       service ai: leads to the relay" in done.out
    assert "clock" not in done.out
    assert SECRET not in done.out + done.err
    assert {headers["Kong-Admin-Token"] for _, headers in seen} == {SECRET}
    pages["/services?size=1000"] = (401, b"no")
    cli.main(["doctor", *arguments, "--kong-admin", f"http://127.0.0.1:{port}"])
    assert "its Admin API cannot be used: status 401" in capsys.readouterr().out


@pytest.mark.parametrize("url", ["kong:8001", "ftp://kong", "http://user:pass@kong:8001"])
def test_an_address_that_is_none(url, capsys):
    assert cli.main(["doctor", "--kong-admin", url]) == 2
    done = capsys.readouterr()
    assert done.out == ""
    assert "pass@" not in done.err
