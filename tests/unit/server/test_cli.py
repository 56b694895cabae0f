"""The command line's frame."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kong_ai_proxy import cli
from kong_ai_proxy.server import usage_filter

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("plugin", cli.PLUGIN_NAMES)
def test_dump_is_what_kongs_query_cmd_needs(capsys, plugin):
    assert cli.main(["dump", plugin]) == 0
    [info] = json.loads(capsys.readouterr().out)
    assert info["Name"] == plugin
    assert info["Priority"] == 770
    assert info["Version"]
    assert info["Phases"] == ["access", "response", "log"]
    assert info["Schema"]["name"] == plugin
    assert [info] == json.loads((ROOT / "schema" / f"{plugin}.json").read_text()), "`cat` serves as well"
    assert cli.main(["dump", plugin, "--lean"]) == 0
    [lean] = json.loads(capsys.readouterr().out)
    assert lean == {**info, "Phases": ["access", "response"]}


def test_dump_without_a_name(capsys):
    assert cli.main(["dump"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["Name"] == "kong-ai-proxy"


def test_dump_of_a_plugin_there_is_not(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["dump", "ai-proxy"])
    assert ended.value.code == 2
    assert "kong-ai-proxy-advanced" in capsys.readouterr().err


def test_the_phases_and_version_agree(capsys):
    from kong_ai_proxy import __version__, plugin

    cli.main(["dump"])
    info = json.loads(capsys.readouterr().out)[0]
    assert sorted(info["Phases"]) == sorted(plugin.PHASES)
    assert info["Version"] == __version__


def test_usage_filter(capsys):
    assert cli.main(["usage-filter"]) == 0
    assert capsys.readouterr().out == usage_filter.snippet()
    assert cli.main(["usage-filter", "--lua"]) == 0
    assert capsys.readouterr().out == usage_filter.lua()


def test_no_command_shows_all(capsys):
    assert cli.main([]) == 2
    shown = capsys.readouterr().out
    for command in ("serve", "dump", "check", "dev", "mock", "demo", "usage-filter"):
        assert command in shown


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("kong-ai-proxy ")


@pytest.mark.parametrize("command", ["serve", "dump", "check", "dev", "mock", "demo", "usage-filter"])
def test_every_command_has_help(command):
    ran = subprocess.run(
        [sys.executable, "-m", "kong_ai_proxy.cli", command, "--help"],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    assert command in ran.stdout.decode().split("\n")[0]


def test_dump_loads_neither_gevent_nor_the_relay():
    """Kong waits for it at its start, for each plugin."""
    program = (
        "import sys; from kong_ai_proxy.cli import main; main(['dump']);"
        "print(','.join(m for m in ('gevent', 'boto3', 'kong_ai_proxy.relay') if m in sys.modules),"
        " file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30, check=True)
    assert ran.stderr.decode().strip() == ""


def test_what_serves_is_patched_before_anything_is_imported():
    program = (
        "import sys; from kong_ai_proxy import cli\n"
        "assert 'socket' not in sys.modules and 'ssl' not in sys.modules, 'too late to patch'\n"
        "try: cli.main(['serve', '--help'])\n"
        "except SystemExit: pass\n"
        "import socket, gevent.socket; assert socket.socket is gevent.socket.socket\n"
    )
    subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, timeout=30, check=True)


@pytest.mark.parametrize("mode", ["8", "999", "x", "-1", "1000"])
def test_odd_socket_modes(mode, capsys):
    with pytest.raises(SystemExit):
        cli._parser("serve").parse_args(["serve", "--socket-mode", mode])
    assert "octal" in capsys.readouterr().err


def test_the_relays_address_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("KONG_AI_PROXY_RELAY", "0.0.0.0:9000")
    monkeypatch.setenv("KONG_AI_PROXY_RELAY_ADVERTISE", "kong-ai-proxy")
    monkeypatch.setenv("KONG_PREFIX", "/tmp/prefix")
    args = cli._parser("serve").parse_args(["serve"])
    assert (args.relay, args.relay_advertise, args.kong_prefix) == (
        "0.0.0.0:9000",
        "kong-ai-proxy",
        "/tmp/prefix",
    )
    assert args.socket_mode == 0o660


@pytest.mark.parametrize("words", ["usage x --nope", "check --nope x", "dump --nope"])
def test_an_unknown_option_shows_the_commands_own_usage(words, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(words.split())
    assert left.value.code == 2
    told = capsys.readouterr().err
    command = words.split()[0]
    assert told.startswith(f"usage: kong-ai-proxy {command} ")
    assert told.endswith(f"kong-ai-proxy {command}: error: unrecognized arguments: --nope\n")
