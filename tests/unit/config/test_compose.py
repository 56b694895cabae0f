"""Dockerfile and docker-compose.yml, as far as they can be checked without docker."""

from __future__ import annotations

import inspect
import ipaddress
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.credentials
import botocore.tokens
import botocore.utils
import pytest
import yaml
from botocore.loaders import Loader

from kong_ai_proxy import cli
from kong_ai_proxy.auth import aws
from kong_ai_proxy.config.check import check
from kong_ai_proxy.config.entries import read
from kong_ai_proxy.config.parse import PLUGINS
from kong_ai_proxy.metrics.manage import HEALTH_PATH

ROOT = Path(__file__).resolve().parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
KONG: dict[str, Any] = COMPOSE["services"]["kong"]
OURS: dict[str, Any] = COMPOSE["services"]["kong-ai-proxy"]
DECLARED = (ROOT / "docker" / "kong.yml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")


def instruction(name: str) -> list[str]:
    """Arguments of all of the Dockerfile's instructions of a name."""
    return re.findall(rf"^{name} +(.+)$", DOCKERFILE, re.MULTILINE)


def image_environment() -> dict[str, str]:
    pairs = (pair.split("=", 1) for pair in shlex.split(instruction("ENV")[0]))
    return {name: value for name, value in pairs if name != "PATH"}


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Target → source."""
    return {volume.split(":")[1]: volume.split(":")[0] for volume in service["volumes"]}


def kongs_setting(plugin: str, setting: str) -> str:
    """As Kong derives the name (kong/conf_loader/init.lua)."""
    return str(KONG["environment"][f"KONG_PLUGINSERVER_{plugin.upper().replace('-', '_')}_{setting}"])


def test_kong_has_both_plugins_and_connects_to_their_sockets() -> None:
    environment = KONG["environment"]
    assert environment["KONG_PLUGINSERVER_NAMES"].split(",") == list(PLUGINS)
    assert environment["KONG_PLUGINS"].split(",") == ["bundled", *PLUGINS]
    assert not [name for name in environment if name.endswith("_START_CMD")]
    directory = image_environment()["KONG_PREFIX"]
    for plugin in PLUGINS:
        assert kongs_setting(plugin, "SOCKET") == f"{directory}/{plugin}.sock"
    assert mounts(KONG)[directory] == mounts(OURS)[directory] == "sockets"
    assert "sockets" in COMPOSE["volumes"]


@pytest.mark.parametrize("plugin", PLUGINS)
def test_query_cmd_prints_the_plugin(plugin: str) -> None:
    command, path = shlex.split(kongs_setting(plugin, "QUERY_CMD"))
    assert command == "cat"
    (info,) = json.loads((ROOT / mounts(KONG)[path]).read_text())
    assert info["Name"] == plugin


def test_what_is_mounted_and_copied_is_there() -> None:
    for source in mounts(KONG).values():
        assert source == "sockets" or (ROOT / source).is_file()
    assert mounts(KONG)[KONG["environment"]["KONG_DECLARATIVE_CONFIG"]] == "./docker/kong.yml"
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    copied = [path for line in instruction("COPY") if "--from" not in line for path in line.split()[:-1]]
    readme = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["readme"]
    assert set(copied) == allowed
    for path in copied:
        assert path == readme or (ROOT / path).exists(), path


def test_kongs_configuration_is_right_and_leads_to_the_relay() -> None:
    assert check(read(DECLARED)) == []
    service, _ = yaml.safe_load(DECLARED)["services"]
    port = image_environment()["KONG_AI_PROXY_RELAY"].rpartition(":")[2]
    assert service["url"] == f"http://kong-ai-proxy:{port}"
    assert OURS["environment"]["KONG_AI_PROXY_RELAY_ADVERTISE"] == f"kong-ai-proxy:{port}"
    assert instruction("EXPOSE") == [port]


def test_what_realtime_sessions_use_comes_to_kongs_log() -> None:
    """The plugin server leaves it at a route of Kong's that takes it from that container's address alone."""
    _, deposit = yaml.safe_load(DECLARED)["services"]
    url = urlsplit(OURS["environment"]["KONG_AI_PROXY_DEPOSIT_URL"])
    listens = "8000"  # Kong's own default
    assert (url.scheme, url.netloc) == ("http", f"kong:{listens}") and "kong" in COMPOSE["services"]
    assert "KONG_PROXY_LISTEN" not in KONG["environment"]
    assert [route["paths"] for route in deposit["routes"]] == [[url.path]]
    restriction, function = deposit["plugins"]
    assert (restriction["name"], function["name"]) == ("ip-restriction", "post-function")
    address = OURS["networks"]["default"]["ipv4_address"]
    assert restriction["config"] == {"allow": [address]}
    (subnet,) = COMPOSE["networks"]["default"]["ipam"]["config"]
    network = ipaddress.ip_network(subnet["subnet"])
    gateway = next(network.hosts())  # as which clients of the published port come
    assert ipaddress.ip_address(address) in network and ipaddress.ip_address(address) != gateway
    assert cli.DEPOSIT_VARIABLE == "KONG_AI_PROXY_DEPOSIT_URL"


def test_the_relay_is_found_at_once_after_a_restart() -> None:
    """A new hardware address at an old network address is not found before Kong's neighbour table forgets."""
    octets = bytes.fromhex(OURS["mac_address"].replace(":", ""))
    # Made of the address: a locally administered one, of no group.
    address = ipaddress.ip_address(OURS["networks"]["default"]["ipv4_address"])
    assert octets == b"\x02\x42" + address.packed


def test_every_vault_reference_has_its_variable() -> None:
    wanted = {name.upper().replace("-", "_") for name in re.findall(r"\{vault://env/([a-z-]+)\}", DECLARED)}
    assert wanted and wanted <= set(KONG["environment"])
    # And the comments name no other key.
    assert set(re.findall(r"\b[A-Z]+_(?:[A-Z]+_)?(?:KEY|AUTHORIZATION)\b", DECLARED)) <= wanted


def test_the_mock_is_where_the_targets_point() -> None:
    mock = COMPOSE["services"]["mock"]
    args = cli._parser("mock").parse_args(mock["command"])
    urls = re.findall(r"upstream_url: (http://[^\s}]+)", DECLARED)
    assert len(urls) == 10
    assert {urlsplit(url).netloc for url in urls} == {f"mock:{args.port}"}
    assert args.host == "0.0.0.0"


def test_the_container_is_nobody_in_particular() -> None:
    (user,) = instruction("USER")
    made = re.search(r"groupadd --gid (\d+) [\s\S]*useradd --uid (\d+) --gid (\d+) ", DOCKERFILE)
    # A number, which Kubernetes' runAsNonRoot needs.
    assert made and user == f"{made[2]}:{made[3]}" and made[1] == made[3] != "0" != made[2]
    assert DOCKERFILE.index("\nUSER ") < DOCKERFILE.index("\nCMD ")
    assert OURS.get("user") is None and not OURS.get("privileged")
    assert KONG["ports"] == ["127.0.0.1:8000:8000"]


def test_the_health_is_asked_in_the_same_way_by_image_and_compose() -> None:
    """An image in the OCI format has no HEALTHCHECK; Kong waits for this one."""
    (line,) = instruction("HEALTHCHECK")
    options = dict(re.findall(r"--([a-z-]+)=(\S+)", line))
    asked = {"test": ["CMD", *json.loads(line[line.index("[") :])]}
    # The API of podman 4 parts its arguments at blanks.
    assert not re.search(r"\s", "".join(asked["test"]))
    asked |= {name.replace("-", "_"): value for name, value in options.items()}
    asked["retries"] = int(asked["retries"])
    assert OURS["healthcheck"] == asked
    assert KONG["depends_on"]["kong-ai-proxy"]["condition"] == "service_healthy"


def test_two_builds_of_a_commit_are_the_same() -> None:
    """As far as it can be seen here: nothing writes a time, an order of sets or another package's choice."""
    build = DOCKERFILE[: DOCKERFILE.rindex("\nFROM ")]
    installs = re.findall(r"pip install ([^&\n]+)", build)
    assert len(installs) == 2 and all("--no-compile --no-deps" in line for line in installs)
    assert "--only-binary :all:" in installs[0] and "--require-hashes" in installs[0]
    steps = [step.strip() for step in build[build.index("ARG SOURCE_DATE_EPOCH") :].split("&&")]
    assert steps[-2].startswith("PYTHONHASHSEED=0 ") and "--invalidation-mode unchecked-hash" in steps[-2]
    assert steps[-1] == 'find . -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +'
    assert len(set(re.findall(r"^ARG (SOURCE_DATE_EPOCH=\d+)$", DOCKERFILE, re.MULTILINE))) == 1
    assert DOCKERFILE.count("ARG SOURCE_DATE_EPOCH") == 2  # useradd writes a day into /etc/shadow


def test_the_image_keeps_the_services_that_credentials_come_from() -> None:
    kept = set(re.findall(r"! -name ([a-z-]+)", DOCKERFILE))
    services = set(Loader().list_available_services("service-2"))
    assert kept <= services
    used = set()
    for module in (botocore.credentials, botocore.tokens, botocore.utils, aws):
        named = r"(?:client|_client|creator)\((?:self._session,)?\s*['\"]([a-z0-9-]+)['\"]"
        used |= set(re.findall(named, inspect.getsource(module)))
    assert used & services == kept


def test_the_containers_command_makes_the_sockets_and_is_healthy(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, **image_environment()}
    environment |= {"KONG_PREFIX": str(tmp_path), "KONG_AI_PROXY_RELAY": f"127.0.0.1:{port}"}
    command = json.loads(instruction("CMD")[-1])
    sockets = [tmp_path / Path(kongs_setting(plugin, "SOCKET")).name for plugin in PLUGINS]
    server = subprocess.Popen(
        [sys.executable, "-m", "kong_ai_proxy.cli", *command],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 20
        while not all(path.exists() for path in sockets):
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < until, "no sockets"
            time.sleep(0.05)
        assert {oct(path.stat().st_mode & 0o777) for path in sockets} == {"0o666"}
        (check_line,) = instruction("HEALTHCHECK")
        _, script_option, script = json.loads(check_line[check_line.index("[") :])
        assert HEALTH_PATH in script
        script = script.replace(":8125", f":{port}")
        assert subprocess.run([sys.executable, script_option, script], check=False).returncode == 0
    finally:
        server.terminate()
        assert server.wait(20) == 0
