"""The relay on its own, for benchmarks: the real exchange and translations, tickets without a Kong.

    python benchmarks/streams_relay.py <mock's port>

Tickets are `openai` (same format on both sides) and `anthropic` (translated); they never run out.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402

import gevent  # noqa: E402
from streams_relay_config import PATHS, config  # noqa: E402

from kong_ai_proxy import log  # noqa: E402
from kong_ai_proxy.exchange.instance import Instance  # noqa: E402
from kong_ai_proxy.exchange.tickets import Ticket, TicketStore  # noqa: E402
from kong_ai_proxy.relay.server import RelayServer  # noqa: E402


class EndlessTickets(TicketStore):
    """A ticket for every provider, as often as asked for."""

    def __init__(self, mock_port: int) -> None:
        super().__init__()
        self._instances = {
            provider: Instance.from_config("kong-ai-proxy", config(provider, mock_port)) for provider in PATHS
        }

    def redeem(self, token: str) -> Ticket | None:
        instance = self._instances.get(token)
        return Ticket(instance=instance, filter_installed=True, buffered=False) if instance else None


def main() -> None:
    log.configure("error")
    tickets = EndlessTickets(int(sys.argv[1]))
    relay = RelayServer(("127.0.0.1", 0), tickets, log_usage=lambda record: None, settle=True)
    relay.start()
    print(relay.port, flush=True)
    gevent.get_hub().join()


if __name__ == "__main__":
    main()
