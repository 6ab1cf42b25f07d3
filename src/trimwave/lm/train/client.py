"""A client: receives a package, fine-tunes on its own rows, sends a delta."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trimwave.base.streams import stream
from trimwave.cell.partition import batch_indices
from trimwave.lm.data.encode import Batch, Encoded, collate
from trimwave.lm.states.cache import StateCache, States
from trimwave.lm.states.prefix import Prefix
from trimwave.lm.surgery.split import SplitModel
from trimwave.lm.train.air import Crossings, over_the_air
from trimwave.lm.train.proximal import proximal_term
from trimwave.lm.train.tune import fine_tune, precision
from trimwave.lm.wire.ledger import Tensors, trained_parameters, where
from trimwave.lm.wire.package import Wire
from trimwave.lm.wire.receive import receive
from trimwave.model.submodel import Submodel
from trimwave.recipe.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Update:
    """What a client made of its sub-model."""

    client: int
    """k."""
    delta: Tensors
    """Trained minus received, in the air's number format, eq. (3)."""
    train_loss: float
    """Mean loss per answer token over the local steps."""
    num_samples: int
    """|D_k|, its weight in eq. (4)."""
    fresh_rows: int = 0
    """Distinct rows of the round that went through the frozen blocks: all, but for
    those whose states were kept. 0 also where a client did not tell."""
    crossings: Crossings | None = None
    """Values that crossed the link during the steps, where the blocks run on the
    server."""


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
    learning_rate: float
    """AdamW step size."""
    seed: int
    """The run's seed."""
    pad_id: int
    """Padding token."""
    residual: Tensors = field(default_factory=dict)
    """What of earlier updates was rounded off, by name, where they are of 8 bits."""
    states: StateCache | None = None
    """What frozen blocks made of rows; clients of one process share it."""

    def fine_tune(
        self,
        package: Mapping[str, Tensor],
        submodel: Submodel,
        round_index: int,
        prefix: Prefix | None = None,
    ) -> Update:
        """Run one round's local steps; `round_index` counts from 1.

        `package` is what arrived together with what lay on the device; it is not
        changed. Where a sub-model streams its frozen blocks they may be left out of
        it, and come as a prefix.
        """
        if submodel.streams_prefix and prefix is None and self.states is not None:
            border, digests = submodel.trained_blocks[0], self.states.digests
            prefix, package = Prefix.taken(package, border, digests)
        split = receive(self.base, package, torch.float32, submodel.trains)
        split = split.split_at(max(submodel.trained_blocks[0], split.split_index))
        trained = trained_parameters(split)
        rng = stream(self.seed, "dropout", self.number, round_index)
        weight = submodel.proximal_weight
        states = None
        if self.states is not None and prefix is not None:
            states = self._streamed(self.states, split, prefix, submodel, round_index)
        elif self.states is not None and submodel.caches_states:
            states = self.states.under(split, package, round_index)
        link = (
            over_the_air(split, self.wire.dtype)
            if submodel.runs == "split"
            else contextlib.nullcontext()
        )
        with link as crossings:
            loss = fine_tune(
                split,
                self._batches(submodel, round_index),
                self.config,
                int(rng.integers(2**31)),
                learning_rate=self.learning_rate,
                penalty=proximal_term(split, weight) if weight else None,
                features_of=states.features if states else None,
            )
        delta = {
            name: value.detach() - package[name].to(value.device, value.dtype)
            for name, value in trained.items()
        }
        sent = where(delta, submodel.travels_up)
        return Update(
            client=self.number,
            delta={**delta, **self._arriving(sent)},
            train_loss=loss,
            num_samples=len(self.rows),
            fresh_rows=(
                self._num_rows(submodel, round_index)
                if states is None
                else len(states.computed)
            ),
            crossings=crossings,
        )

    def _streamed(
        self,
        cache: StateCache,
        split: SplitModel,
        prefix: Prefix,
        submodel: Submodel,
        round_index: int,
    ) -> States:
        """Return the states of a round's rows, made ahead of its steps."""
        digest = prefix.digest_under(split, cache.digests)
        states = cache.under_digest(split, digest, round_index)
        steps = self._steps(submodel, round_index)
        met = dict.fromkeys(index for step in steps for index in self._indices(step))
        with precision(self.config, split.device):
            states.make_ahead((self.rows[index].input_ids for index in met), prefix)
        return states

    def _arriving(self, sent: Tensors) -> Tensors:
        """Return the values that arrive of an update.

        What integers of 8 bits cannot say is kept, and added to the next update.
        """
        whole = dict(sent)
        for name in self.residual.keys() & sent.keys():
            whole[name] = sent[name] + self.residual[name].to(sent[name])
        arriving = self.wire.round(whole)
        for name in self.wire.small & whole.keys():
            self.residual[name] = whole[name].detach().cpu().float() - arriving[name]
        return arriving

    def _batches(self, submodel: Submodel, round_index: int) -> Iterator[Batch]:
        for step in self._steps(submodel, round_index):
            yield collate([self.rows[i] for i in self._indices(step)], self.pad_id)

    def _num_rows(self, submodel: Submodel, round_index: int) -> int:
        """Return how many distinct rows a round has."""
        steps = self._steps(submodel, round_index)
        return len({index for step in steps for index in self._indices(step)})

    def _steps(self, submodel: Submodel, round_index: int) -> range:
        return submodel.steps(round_index, self.config.num_local_steps)

    def _indices(self, step: int) -> list[int]:
        size, rows = self.config.batch_size, len(self.rows)
        indices: list[int] = batch_indices(
            self.seed, self.number, step, size, rows
        ).tolist()
        return indices
