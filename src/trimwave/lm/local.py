"""The ``local`` backend: clients train in this process, on a virtual clock."""

from collections.abc import Callable, Sequence
from pathlib import Path

from trimwave.decision.plan import Plan, Scheme
from trimwave.lm.kit import Kit
from trimwave.lm.source.fetch import cache_folder
from trimwave.lm.states.cache import StateCache
from trimwave.lm.states.files import FOLDER
from trimwave.lm.surgery.split import SplitModel
from trimwave.lm.train.client import Client, Update
from trimwave.lm.wire.tensor_files import read_tensors, save_tensors
from trimwave.lm.workbench import Workbench
from trimwave.recipe.seen import ALL_AS_DRAWN, Seen
from trimwave.runs.roles import Exchange, Server

RESIDUAL_FILE = "residual-up.safetensors"
"""In a checkpoint, beside the server's files."""

OnClient = Callable[[int, int, int], None]
"""Called as a client starts: its number, its place in the round from 0, and how many
take part in the round."""


class LocalBackend:
    """Trains one client after another; implements `roles.Backend`.

    It measures no time: what the round takes is the environment's to say.
    """

    def __init__(
        self,
        server: Server,
        clients: Sequence[Client],
        on_client: OnClient = lambda client, place, num_clients: None,
        renewed: Callable[[Scheme], Sequence[Client]] | None = None,
    ) -> None:
        self._server = server
        self._clients = clients
        self._on_client = on_client
        self._renewed = renewed

    def look(self) -> Seen:
        """Everyone is there, as the recipe says."""
        return ALL_AS_DRAWN

    def begin_stage(self, scheme: Scheme) -> None:
        """Make up the devices anew, as the scheme's model is."""
        assert self._renewed is not None
        self._clients = self._renewed(scheme)

    def save(self, folder: Path) -> None:
        """Write what clients have rounded off of their updates, if any did."""
        kept = {
            f"{client.number}.{name}": value
            for client in self._clients
            for name, value in client.residual.items()
        }
        if kept:
            save_tensors(folder / RESIDUAL_FILE, kept)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        for client in self._clients:
            client.residual.clear()
        if (path := folder / RESIDUAL_FILE).exists():
            by_number = {client.number: client for client in self._clients}
            for name, value in read_tensors(path).items():
                number, _, own = name.partition(".")
                by_number[int(number)].residual[own] = value

    def exchange(self, plan: Plan, round_index: int) -> Exchange:
        """Send, train, collect."""
        updates: dict[int, Update] = {}
        num_scheduled = int(plan.scheduled.sum())
        for client, submodel in zip(self._clients, plan.submodels, strict=True):
            if submodel is None:
                continue
            self._on_client(client.number, len(updates), num_scheduled)
            delivery = self._server.deliver(submodel)
            held = {**delivery.installed, **delivery.sent}
            updates[client.number] = client.fine_tune(held, submodel, round_index)
        fresh_rows = {k: one.fresh_rows for k, one in updates.items()}
        kept = any(client.states is not None for client in self._clients)
        return Exchange(
            updates=list(updates.values()),
            train_loss=[
                updates[client.number].train_loss if client.number in updates else None
                for client in self._clients
            ],
            fresh_rows=fresh_rows if kept else {},
        )


def clients_of(
    bench: Workbench, scheme: Scheme, template: SplitModel | None = None
) -> list[Client]:
    """Return the devices of a run, each with its rows.

    Parameters
    ----------
    bench : Workbench
        Of the run's config.
    scheme : Scheme
        The method's.
    template : SplitModel, optional
        What is installed on every device; made of the workbench where it is left out.
        In the server's process the server's own saves a copy of the model.
    """
    kit = Kit.of(bench, scheme)
    base = kit.template(bench.split) if template is None else template
    states = StateCache.of(
        bench.config.train, cache_folder() / FOLDER, len(bench.client_rows)
    )
    return [
        kit.client(k, base, rows, states) for k, rows in enumerate(bench.client_rows)
    ]
