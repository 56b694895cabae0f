"""The plugin server, all addresses leading to this machine: configurations stay as their authors wrote them.

`python redirected_server.py serve …` with MOCK and REDIS in the environment (host:port). Relay workers run
this file as well: `python redirected_server.py worker …`.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def redirect() -> None:
    from kong_ai_proxy.core.http import Url
    from kong_ai_proxy.relay.dial import Dialer
    from kong_ai_proxy.semantic import stores

    host, _, port = os.environ["MOCK"].partition(":")
    mock = Url("http", host, int(port), "/")
    redis_host, _, redis_port = os.environ["REDIS"].partition(":")
    dial, connect = Dialer.dial, stores.connect_redis

    def to_the_mock(self: Dialer, url: Url, timeout: float, **_: bool) -> Any:
        return dial(self, url if url.host == host else mock, timeout)

    def to_the_redis(settings: Any) -> Any:
        return connect(settings.model_copy(update={"host": redis_host, "port": int(redis_port)}))

    Dialer.dial = to_the_mock  # type: ignore[method-assign]
    stores.connect_redis = to_the_redis


def worker(arguments: list[str]) -> int:
    from kong_ai_proxy.workers import process

    return process.main(arguments, redirect)


def server() -> int:
    from gevent import monkey

    monkey.patch_all()
    from kong_ai_proxy.devgateway.child import end_with_parent

    end_with_parent()
    redirect()
    from kong_ai_proxy.cli import main
    from kong_ai_proxy.workers import pool

    pool.PROGRAM = (__file__, "worker")
    return main()


if __name__ == "__main__":
    sys.exit(worker(sys.argv[2:]) if sys.argv[1] == "worker" else server())
