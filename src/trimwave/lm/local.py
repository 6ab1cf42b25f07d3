"""The ``local`` backend: clients train in this process, time is the latency model's."""

from collections.abc import Callable, Sequence

from trimwave.lm.server import LmServer
from trimwave.lm.train.client import Client, Update
from trimwave.plan.plan import Plan
from trimwave.runs.rounds import Exchange


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
        updates: dict[int, Update] = {}
        for client, submodel in zip(self._clients, plan.submodels, strict=True):
            if submodel is None:
                continue
            self._on_client(client.number)
            package = self._server.installed(submodel) | self._server.package(submodel)
            updates[client.number] = client.fine_tune(package, submodel, round_index)
        return Exchange(
            updates=list(updates.values()),
            train_loss=[
                updates[client.number].train_loss if client.number in updates else None
                for client in self._clients
            ],
            round_s=plan.latency_s,
        )
