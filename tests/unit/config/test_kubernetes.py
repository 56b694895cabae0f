"""The manifests of examples/kubernetes agree with the code, the image and each other.

What Kong's chart makes of the values is looked at where `helm` is on PATH and its folder is named:

    helm pull kong/kong --untar && KONG_CHART=$PWD/kong pytest tests/unit/config/test_kubernetes.py

and compared with Kubernetes' own schemas where the package kubernetes-validate is installed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from kong_ai_proxy import __version__, cli
from kong_ai_proxy.config.parse import PLUGINS
from kong_ai_proxy.metrics.manage import HEALTH_PATH, METRICS_PATH
from kong_ai_proxy.server import usage_filter
from kong_ai_proxy.server.address import parse_address

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "examples" / "kubernetes"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DIRECTORY = "/run/kong-ai-proxy"
Json = dict[str, Any]


def documents(name: str) -> list[Json]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


VALUES = documents("values.yaml")[0]
DEPLOYMENT, SERVICE = documents("sidecar.yaml")
POD = DEPLOYMENT["spec"]["template"]["spec"]
KONG = POD["containers"][0]


def kongs_environment(kind: str) -> dict[str, str]:
    """As Kong reads it. The chart makes KONG_* of `env` (its values.yaml)."""
    if kind == "helm":
        return {f"KONG_{name.upper()}": str(value) for name, value in VALUES["env"].items()}
    return {pair["name"]: pair["value"] for pair in KONG["env"]}


def init_containers(kind: str) -> list[Json]:
    return VALUES["deployment"]["initContainers"] if kind == "helm" else POD["initContainers"]  # type: ignore[no-any-return]


def sidecar(kind: str) -> Json:
    (found,) = (each for each in init_containers(kind) if each.get("restartPolicy") == "Always")
    return found


both = pytest.mark.parametrize("kind", ["helm", "plain"])


@both
def test_kong_knows_the_plugins_and_their_sockets(kind: str) -> None:
    environment = kongs_environment(kind)
    assert environment["KONG_DATABASE"] == "off"
    assert environment["KONG_PLUGINS"].split(",") == ["bundled", *PLUGINS]
    assert environment["KONG_PLUGINSERVER_NAMES"].split(",") == list(PLUGINS)
    for plugin in PLUGINS:
        prefix = f"KONG_PLUGINSERVER_{plugin.upper().replace('-', '_')}"
        assert environment[f"{prefix}_SOCKET"] == f"{DIRECTORY}/{plugin}.sock"
        command, path = shlex.split(environment[f"{prefix}_QUERY_CMD"])
        assert command == "cat"
        # The first init container wrote it, with the image that serves.
        (line,) = re.findall(
            rf"^(.*) > {re.escape(path)}$", init_containers(kind)[0]["command"][2], re.MULTILINE
        )
        args = cli._parser("dump").parse_args(shlex.split(line)[1:])
        assert args.plugin == plugin
    assert not [name for name in environment if name.endswith("START_CMD")]


@both
def test_the_sidecar_serves_where_kong_looks(kind: str) -> None:
    found = sidecar(kind)
    args = cli._parser("serve").parse_args(found["args"])
    environment = {pair["name"]: pair["value"] for pair in found["env"]}
    image = dict(re.findall(r"^\s+(KONG_\w+)=(\S+?)(?: \\)?$", DOCKERFILE, re.MULTILINE))
    assert image["KONG_PREFIX"] == DIRECTORY
    relay = parse_address(environment[cli.RELAY_VARIABLE])
    advertised = parse_address(environment[cli.ADVERTISE_VARIABLE])
    assert (
        relay[1] == advertised[1] == found["ports"][0]["containerPort"] == parse_address(cli.DEFAULT_RELAY)[1]
    )
    assert advertised == parse_address(cli.DEFAULT_RELAY)  # where kong.yml.example leads
    assert f"url: http://{cli.DEFAULT_RELAY}" in (ROOT / "kong.yml.example").read_text()
    # What realtime sessions use goes to the pod's own Kong (its default port, which the chart has as well).
    deposit = urlsplit(environment[cli.DEPOSIT_VARIABLE])
    (route,) = yaml.safe_load(usage_filter.deposit_snippet())["services"][0]["routes"]
    assert ([deposit.path], deposit.netloc) == (route["paths"], "127.0.0.1:8000")
    assert KONG["ports"][0] == {"name": "proxy", "containerPort": deposit.port}
    assert "PROXY_LISTEN" not in " ".join(kongs_environment(kind))
    for probe in ("startupProbe", "livenessProbe"):
        assert found[probe]["httpGet"] == {"path": HEALTH_PATH, "port": found["ports"][0]["name"]}
    grace = (
        VALUES["terminationGracePeriodSeconds"] if kind == "helm" else POD["terminationGracePeriodSeconds"]
    )
    assert args.grace < grace
    # The sockets are the group's, and Kong's group is that of the volume.
    assert args.socket_mode == 0o660
    group = VALUES["securityContext"] if kind == "helm" else POD["securityContext"]
    assert group["fsGroup"] == 1000


@both
def test_the_volume_is_mounted_everywhere(kind: str) -> None:
    volumes = VALUES["deployment"]["userDefinedVolumes"] if kind == "helm" else POD["volumes"]
    assert {"name": "kong-ai-proxy", "emptyDir": {}} in volumes
    mount = {"name": "kong-ai-proxy", "mountPath": DIRECTORY}
    kongs = VALUES["deployment"]["userDefinedVolumeMounts"] if kind == "helm" else KONG["volumeMounts"]
    assert mount in kongs
    for container in init_containers(kind):
        assert container["volumeMounts"] == [mount]


@both
def test_our_containers_may_do_little_and_are_pinned(kind: str) -> None:
    (uid, gid) = re.findall(r"useradd .*--uid (\d+) --gid (\d+)", DOCKERFILE)[0]
    for container in init_containers(kind):
        context = container["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"]) == (int(uid), int(gid))
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False and context["capabilities"] == {"drop": ["ALL"]}
        assert container["image"] == f"kong-ai-proxy:{__version__}"


def test_both_do_the_same() -> None:
    assert init_containers("plain") == init_containers("helm")
    wanted = {name: value for name, value in kongs_environment("helm").items() if "PLUGINSERVER" in name}
    assert wanted == {
        name: value for name, value in kongs_environment("plain").items() if "PLUGINSERVER" in name
    }
    annotations = DEPLOYMENT["spec"]["template"]["metadata"]["annotations"]
    assert annotations == VALUES["podAnnotations"]
    assert annotations["prometheus.io/path"] == METRICS_PATH
    assert KONG["image"] == f"{VALUES['image']['repository']}:{VALUES['image']['tag']}" == "kong:3.9"
    assert KONG["envFrom"] == VALUES["envFrom"]
    assert KONG["resources"] == VALUES["resources"]
    assert POD["securityContext"] == VALUES["securityContext"]
    assert DEPLOYMENT["spec"]["replicas"] == VALUES["replicaCount"]


def test_the_manifest_hangs_together() -> None:
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == labels == SERVICE["spec"]["selector"]
    ports = {port["name"]: port["containerPort"] for port in KONG["ports"]}
    assert SERVICE["spec"]["ports"][0]["targetPort"] in ports
    assert kongs_environment("plain")["KONG_STATUS_LISTEN"].endswith(f":{ports['status']}")
    names = {volume["name"] for volume in POD["volumes"]}
    assert {mount["name"] for mount in KONG["volumeMounts"]} == names
    config = next(mount["mountPath"] for mount in KONG["volumeMounts"] if mount["name"] == "config")
    assert kongs_environment("plain")["KONG_DECLARATIVE_CONFIG"] == f"{config}/kong.yml"


@pytest.fixture(scope="module")
def rendered() -> list[Json]:
    """What Kong's chart makes of the values, the Deployment first."""
    helm, chart = shutil.which("helm"), os.environ.get("KONG_CHART")
    if not helm or not chart:
        pytest.skip("KONG_CHART names no chart, or there is no helm")
    done = subprocess.run(
        [helm, "template", "kong", chart, "-f", FOLDER / "values.yaml", "--kube-version", "1.29.0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [document for document in yaml.safe_load_all(done.stdout) if document]
    return sorted(found, key=lambda document: str(document["kind"]))


def test_the_chart_makes_the_same_of_it(rendered: list[Json]) -> None:
    deployment, proxy, account = rendered
    kinds = [document["kind"] for document in rendered]
    assert kinds == ["Deployment", "Service", "ServiceAccount"], (
        "nothing else is served: no Manager, no Admin API"
    )
    assert account["metadata"]["name"] == deployment["spec"]["template"]["spec"]["serviceAccountName"]
    pod = deployment["spec"]["template"]["spec"]
    (kong,) = pod["containers"]
    assert deployment["spec"]["replicas"] == DEPLOYMENT["spec"]["replicas"]
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations.items() >= DEPLOYMENT["spec"]["template"]["metadata"]["annotations"].items()
    # The chart's own first one removes stale files.
    assert pod["initContainers"][1:] == POD["initContainers"]
    for name in ("securityContext", "terminationGracePeriodSeconds", "automountServiceAccountToken"):
        assert pod[name] == POD[name]
    for name in ("image", "envFrom", "resources", "lifecycle"):
        assert kong[name] == KONG[name]
    assert kong["securityContext"].items() >= KONG["securityContext"].items()
    for probe in ("readinessProbe", "livenessProbe"):
        assert kong[probe]["httpGet"].items() >= KONG[probe]["httpGet"].items()
    environment = {pair["name"]: pair["value"] for pair in kong["env"]}
    assert all("value" in pair for pair in kong["env"])
    elsewhere = {"KONG_DECLARATIVE_CONFIG", "KONG_PREFIX", "KONG_ADMIN_LISTEN", "KONG_STATUS_LISTEN"}
    plain = kongs_environment("plain")
    assert {name: environment[name] for name in plain if name not in elsewhere} == {
        name: value for name, value in plain.items() if name not in elsewhere
    }
    for listens in environment["KONG_ADMIN_LISTEN"].split(","):
        assert listens.split()[0].rpartition(":")[0] in ("127.0.0.1", "[::1]")
    assert environment["KONG_ADMIN_GUI_LISTEN"] == "off"
    assert environment["KONG_PROXY_LISTEN"].startswith("0.0.0.0:8000,")
    # Where the chart leads Kong is mounted, and may be written where Kong writes.
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"].rstrip("/"): volumes[mount["name"]] for mount in kong["volumeMounts"]}
    assert mounts[DIRECTORY] == {"name": "kong-ai-proxy", "emptyDir": {}}
    assert "emptyDir" in mounts["/tmp"] and "emptyDir" in mounts[environment["KONG_PREFIX"].rstrip("/")]
    folder, _, file = environment["KONG_DECLARATIVE_CONFIG"].rpartition("/")
    assert mounts[folder]["configMap"] == {"name": "kong-ai-proxy-config"} and file == "kong.yml"
    ports = {port["name"]: port["containerPort"] for port in kong["ports"]}
    assert ports == {"proxy": 8000, "proxy-tls": 8443, "status": 8100}
    assert {port["targetPort"] for port in proxy["spec"]["ports"]} == {8000, 8443}
    assert proxy["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("version", ["1.29", ""])
@both
def test_kubernetes_knows_every_field(kind: str, version: str, request: pytest.FixtureRequest) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    for document in request.getfixturevalue("rendered") if kind == "helm" else [DEPLOYMENT, SERVICE]:
        validate.validate(document, version or validate.latest_version(), strict=True)
