"""The relay on its own, for benchmarks: the real exchange and translations, tickets without a Kong.

    python benchmarks/streams_relay.py <mock's port> [<workers> [<plugin>]]

Tickets are `openai` (same format on both sides) and `anthropic` (translated); they never run out. With
workers this process keeps the tickets, as the plugin server does, and the workers carry.
`kong-ai-proxy-advanced` as the plugin balances between two targets. Prints the port and the ids of all
processes, this one's first.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402
import os  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
from streams_relay_config import PATHS, config  # noqa: E402

from kong_ai_proxy import log  # noqa: E402
from kong_ai_proxy.exchange.instance import PROXY, Instance  # noqa: E402
from kong_ai_proxy.exchange.tickets import Ticket, TicketStore  # noqa: E402
from kong_ai_proxy.relay.server import RelayServer  # noqa: E402
from kong_ai_proxy.workers.pool import WorkerPool  # noqa: E402


def configured(plugin: str, provider: str, mock_port: int) -> dict[str, Any]:
    target = config(provider, mock_port)
    return target if plugin == PROXY else {"targets": [target, target]}


class EndlessTickets(TicketStore):
    """A ticket for every provider, as often as asked for."""

    def __init__(self, mock_port: int, plugin: str) -> None:
        super().__init__()
        self.instances = {
            provider: Instance.from_config(plugin, configured(plugin, provider, mock_port))
            for provider in PATHS
        }

    def redeem(self, token: str) -> Ticket | None:
        instance = self.instances.get(token)
        return Ticket(instance=instance, filter_installed=True, buffered=False) if instance else None


def main() -> None:
    log.configure("error")
    parser = argparse.ArgumentParser()
    parser.add_argument("mock_port", type=int)
    parser.add_argument("workers", type=int, nargs="?", default=1)
    parser.add_argument("plugin", nargs="?", default=PROXY)
    args = parser.parse_args()
    tickets = EndlessTickets(args.mock_port, args.plugin)
    relay: RelayServer | WorkerPool
    if args.workers == 1:
        relay = RelayServer(("127.0.0.1", 0), tickets, log_usage=lambda record: None, settle=True)
    else:
        relay = WorkerPool(("127.0.0.1", 0), tickets, workers=args.workers, settle=True)
        for instance in tickets.instances.values():
            relay.opened(instance)
    relay.start()
    print(relay.port, os.getpid(), *getattr(relay, "pids", ()), flush=True)
    gevent.get_hub().join()


if __name__ == "__main__":
    main()
