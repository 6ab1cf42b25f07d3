"""A client: receives a package, fine-tunes on its own rows, sends a delta."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trimwave.config import TrainConfig
from trimwave.lm.encode import Encoded, batch_indices, collate
from trimwave.lm.package import Tensors, Wire, receive
from trimwave.lm.split import SplitModel
from trimwave.lm.tune import fine_tune, trained_parameters
from trimwave.streams import stream


@dataclass(frozen=True, kw_only=True)
class Update:
    """What travels up."""

    delta: Tensors
    """Trained minus received, in the air's number format, eq. (3)."""
    train_loss: float
    """Mean loss per answer token over the local steps."""


@dataclass(frozen=True, kw_only=True)
class Client:
    """One device and its private rows."""

    number: int
    """k."""
    base: SplitModel
    """What is installed on every device: embeddings, norm, head, structure."""
    rows: Sequence[Encoded]
    """D_k; never leaves."""
    wire: Wire
    """Format of the update."""
    config: TrainConfig
    seed: int
    """The run's seed."""
    pad_id: int
    """Padding token."""

    def fine_tune(self, package: Mapping[str, Tensor], round_index: int) -> Update:
        """Run one round's local steps; `round_index` counts from 1."""
        split = receive(self.base, package, torch.float32)
        trained = trained_parameters(split.adapter)
        received = {name: value.detach().clone() for name, value in trained.items()}
        first = (round_index - 1) * self.config.num_local_steps
        batches = (
            collate([self.rows[i] for i in self._indices(step)], self.pad_id)
            for step in range(first, first + self.config.num_local_steps)
        )
        rng = stream(self.seed, "dropout", self.number, round_index)
        loss = fine_tune(split, batches, self.config, int(rng.integers(2**31)))
        delta = {
            name: value.detach() - received[name] for name, value in trained.items()
        }
        return Update(delta=self.wire.round(delta), train_loss=loss)

    def _indices(self, step: int) -> list[int]:
        size, rows = self.config.batch_size, len(self.rows)
        indices: list[int] = batch_indices(
            self.seed, self.number, step, size, rows
        ).tolist()
        return indices
