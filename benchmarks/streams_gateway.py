"""The development gateway with its plugin server, for benchmarks: routes `/openai` and `/anthropic`.

    python benchmarks/streams_gateway.py <mock's port>

The gateway runs in this process, with the usage filter; the plugin server, with the relay, is a child. Prints
the gateway's port and the plugin server's process id.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from streams_relay_config import PATHS, config

from kong_ai_proxy.devgateway.embedded import EmbeddedGateway, PluginServer, free_port, usage_filter_plugin


def main() -> None:
    mock_port = int(sys.argv[1])
    relay = f"127.0.0.1:{free_port()}"
    document: dict[str, Any] = {
        "_format_version": "3.0",
        "services": [
            {
                "name": "ai",
                "url": f"http://{relay}",
                "retries": 0,
                "plugins": [usage_filter_plugin()],
                "routes": [
                    {
                        "name": provider,
                        "paths": [f"/{provider}"],
                        "plugins": [{"name": "kong-ai-proxy", "config": config(provider, mock_port)}],
                    }
                    for provider in PATHS
                ],
            }
        ],
    }
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with tempfile.TemporaryDirectory(prefix="kap-bench") as prefix, open(Path(prefix) / "log", "w") as output:
        server = PluginServer(Path(prefix), relay, output=output)
        server.start()
        gateway = EmbeddedGateway(document, Path(prefix))
        try:
            gateway.start()
            print(gateway.url.rpartition(":")[2].strip("/"), server.pid, flush=True)
            threading.Event().wait()
        finally:
            gateway.stop()
            server.kill()


if __name__ == "__main__":
    main()
