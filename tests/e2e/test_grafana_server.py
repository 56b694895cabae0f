"""Grafana's own server with the provisioning files, the dashboard and the environment of docker-compose.yml.

Only where a Grafana is named, an unpacked release or a build (with `bin`, `conf` and `public` in it):

    GRAFANA_HOME=FOLDER pytest tests/e2e/test_grafana_server.py

The queries are asked where `prometheus` is on PATH too. It scrapes nothing here: what they find is seen in
test_compose_stack.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from kong_ai_proxy.devgateway.embedded import free_port
from kong_ai_proxy.metrics import dashboard, panels

ROOT = Path(__file__).resolve().parents[2]
HOME = os.environ.get("GRAFANA_HOME", "")
COMPOSED = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
DASHBOARDS = "/var/lib/grafana/dashboards"
PROMETHEUS = shutil.which("prometheus")
FOLDERS_OF_THE_IMAGE = ("datasources", "dashboards", "notifiers", "plugins", "access-control", "alerting")
"""Of /etc/grafana/provisioning (Grafana's Dockerfile, 9.4)."""
Json = dict[str, Any]

pytestmark = pytest.mark.skipif(not HOME, reason="GRAFANA_HOME names no Grafana")


def get(url: str, **query: str) -> Any:
    """An answer, an error's too, as an anonymous viewer gets it."""
    try:
        with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return json.loads(refused.read())


def answered(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as refused:
        refused.close()
    except OSError:
        pass
    return False


@contextmanager
def running(command: list[str], url: str, log: Path, **environment: str) -> Iterator[None]:
    """A server, from when it has what is at this URL."""
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})
    try:
        deadline = time.monotonic() + 60
        while not answered(url):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.1)
        yield
    finally:
        server.terminate()
        server.wait(30)


def mounted(prefix: Path, prometheus: str) -> tuple[Path, Path]:
    """What the compose file mounts, copied: provisioning (with the folders the image has), dashboards."""
    provisioning, dashboards = prefix / "provisioning", prefix / "dashboards"
    for name in FOLDERS_OF_THE_IMAGE:
        (provisioning / name).mkdir(parents=True)
    for volume in COMPOSED["volumes"]:
        source, where, _ = volume.split(":")
        copy = dashboards if where == DASHBOARDS else provisioning / Path(where).name
        shutil.copytree(ROOT / source, copy, dirs_exist_ok=True)
    for name, ours, here in (
        ("datasources/prometheus.yml", "http://prometheus:9090", prometheus),
        ("dashboards/files.yml", DASHBOARDS, str(dashboards)),
    ):
        text = (provisioning / name).read_text()
        assert ours in text
        (provisioning / name).write_text(text.replace(ours, here))
    return provisioning, dashboards


class Grafana:
    """The server's API, and its log."""

    def __init__(self, url: str, log: Path) -> None:
        self.url, self.log = url, log

    def get(self, path: str, **query: str) -> Any:
        return get(self.url + path, **query)

    def source(self) -> Json:
        """What a page of it knows of the data source."""
        (found,) = (
            source
            for source in self.get("/api/frontend/settings")["datasources"].values()
            if source.get("uid") == dashboard.DATASOURCE["uid"]
        )
        return found  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address. Nobody is there where the program is not."""
    address = f"127.0.0.1:{free_port()}"
    if not PROMETHEUS:
        yield f"http://{address}"
        return
    prefix = tmp_path_factory.mktemp("prometheus")
    (prefix / "prometheus.yml").write_text("scrape_configs: []\n")
    with running(
        [
            PROMETHEUS,
            f"--config.file={prefix / 'prometheus.yml'}",
            f"--storage.tsdb.path={prefix / 'data'}",
            f"--web.listen-address={address}",
        ],
        f"http://{address}/-/ready",
        prefix / "log",
    ):
        yield f"http://{address}"


@pytest.fixture(scope="module")
def grafana(prometheus: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grafana]:
    prefix = tmp_path_factory.mktemp("grafana")
    provisioning, dashboards = mounted(prefix, prometheus)
    port = str(free_port())
    environment = {
        **COMPOSED["environment"],
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": str(dashboards / "kong-ai-proxy.json"),
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": port,
        "GF_PATHS_DATA": str(prefix / "data"),
        "GF_PATHS_LOGS": str(prefix / "logs"),
        "GF_PATHS_PLUGINS": str(prefix / "plugins"),
        "GF_PATHS_PROVISIONING": str(provisioning),
        "GF_LOG_MODE": "console",
    }
    program = Path(HOME, "bin", "grafana")
    command = [str(program), "server"] if program.exists() else [f"{program}-server"]
    url = f"http://127.0.0.1:{port}"
    log = prefix / "log"
    shown = f"{url}/api/dashboards/uid/{dashboard.UID}"
    with running([*command, f"--homepath={HOME}"], shown, log, **environment):
        yield Grafana(url, log)


def test_it_takes_the_provisioning_files(grafana: Grafana) -> None:
    source = grafana.source()
    assert (source["name"], source["type"]) == ("Prometheus", dashboard.DATASOURCE["type"])
    assert source["isDefault"] is True and source["jsonData"]["timeInterval"] == "5s"
    said = [line for line in grafana.log.read_text().splitlines() if "provisioning" in line]
    assert said and not [line for line in said if re.search(r"lvl=(?:eror|warn)|level=(?:error|warn)", line)]


def asks(shown: Json) -> list[tuple[str, str, list[str]]]:
    """Title, kind and queries of each panel; Grafana may bring the rest up to its own schema."""
    return [
        (panel["title"], panel["type"], [target["expr"] for target in panel.get("targets", ())])
        for panel in shown["panels"]
    ]


def test_it_shows_the_dashboard_to_look_at_and_no_more(grafana: Grafana) -> None:
    (found,) = grafana.get("/api/search", type="dash-db")
    assert (found["uid"], found["title"]) == (dashboard.UID, "Kong AI Proxy")
    shown = grafana.get(f"/api/dashboards/uid/{dashboard.UID}")
    meta = shown["meta"]
    assert meta["provisioned"] is True and not meta["canEdit"] and not meta["canSave"]
    assert asks(shown["dashboard"]) == asks(dashboard.dashboard())
    assert grafana.get("/api/dashboards/home")["dashboard"]["title"] == "Kong AI Proxy"
    request = urllib.request.Request(f"{grafana.url}/api/admin/settings")
    request.add_header("authorization", "Basic YWRtaW46YWRtaW4=")  # admin:admin
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    with refused.value:
        assert refused.value.code in {401, 403}


QUERIES = [(panel.title, query) for _, row in panels.ROWS for panel in row for _, query in panel.queries]


@pytest.mark.skipif(not PROMETHEUS, reason="prometheus is not on PATH")
def test_it_has_every_query_answered(grafana: Grafana) -> None:
    proxied = grafana.source()["url"]

    def status(what: str, **query: str) -> Any:
        return grafana.get(f"{proxied}/api/v1/{what}", **query).get("status")

    for title, query in QUERIES:
        filled = re.sub(r"\$(provider|model|consumer)\b", "(openai|gpt-4o|)", query)
        filled = filled.replace("$__rate_interval", "20s").replace("$__range", "3600s")
        assert "$" not in filled.replace('"$1"', ""), title
        assert status("query", query=filled) == "success", (title, filled)
    for name, query in panels.VARIABLES:
        series, label = query.removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
        assert label == name
        picked = {"match[]": series.replace("$provider", ".*")}
        assert status(f"label/{label}/values", **picked) == "success", query
    assert status("query", query="sum by (") == "error"
