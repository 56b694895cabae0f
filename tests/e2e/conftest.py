"""The gateway that end-to-end tests run against: the embedded one, and a real Kong where there is one."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from advanced_gateway import World, running_world
from advanced_routes import routes
from gateway_support import WORKERS, Gateway, Json, kinds, make
from http_support import MARK

from kong_ai_proxy.mockllm import MockLLM


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "in_process(reason): looks into this process; says nothing of relay workers, why."
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    marker = item.get_closest_marker("in_process")
    if marker is not None and int(WORKERS) > 1:
        pytest.skip(f"in one process: {marker.args[0]}")


@pytest.fixture(scope="session", params=kinds())
def running_gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """One gateway for all tests of a worker."""
    gateway = make(request.param)
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture
def gateway(running_gateway: Gateway) -> Gateway:
    """The gateway, with nothing scripted at its mock; its log shows this test's requests."""
    MARK["x-test"] = uuid.uuid4().hex
    running_gateway.mock.reset()
    return running_gateway


@pytest.fixture
def mock(gateway: Gateway) -> MockLLM:
    """The mock providers behind the gateway."""
    return gateway.mock


@pytest.fixture(scope="session")
def running_advanced(tmp_path_factory: pytest.TempPathFactory, postgres: Json) -> Iterator[World]:
    """One gateway with all examples of AI Proxy Advanced for all tests of a worker."""
    pytest.importorskip("redis")
    with running_world(tmp_path_factory.mktemp("advanced"), routes(postgres)) as world:
        yield world


@pytest.fixture
def advanced(running_advanced: World) -> World:
    """That gateway, with nothing scripted at its mock; its log shows this test's requests."""
    MARK["x-test"] = uuid.uuid4().hex
    running_advanced.mock.reset()
    return running_advanced
