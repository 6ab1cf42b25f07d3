"""The ``local`` backend: clients train in this process, time is the latency model's."""

from collections.abc import Callable, Sequence

from trimwave.lm.client import Client
from trimwave.lm.server import LmServer
from trimwave.rounds import Exchange
from trimwave.solution import Plan


class LocalBackend:
    """Trains one client after another; implements `rounds.Backend`.

    The round takes the plan's time, max_k T_k, on a virtual clock.
    """

    def __init__(
        self,
        server: LmServer,
        clients: Sequence[Client],
        on_client: Callable[[int], None] = lambda client: None,
    ) -> None:
        self._server = server
        self._clients = clients
        self._on_client = on_client

    def exchange(self, plan: Plan, round_index: int) -> Exchange:
        """Send, train, collect."""
        updates = []
        for client, submodel in zip(self._clients, plan.submodels, strict=True):
            self._on_client(client.number)
            package = self._server.package(submodel)
            updates.append(client.fine_tune(package, round_index))
        return Exchange(
            updates=updates,
            train_loss=[update.train_loss for update in updates],
            round_s=plan.latency_s,
        )
