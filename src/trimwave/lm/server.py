"""The server: owns what trains, delivers, aggregates, aligns, evaluates, saves."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trimwave.base.units import FloatArray
from trimwave.decision.plan import Scheme
from trimwave.lm.aggregate import aggregate, dp_stream
from trimwave.lm.alignment import aligner_of
from trimwave.lm.kit import up_wire_of
from trimwave.lm.learnt import (
    ADAPTER_FILE,
    Learnt,
    merged,
    save_stages,
    stage_file,
)
from trimwave.lm.outbox import Outbox
from trimwave.lm.server_optimizer import ServerOptimizer
from trimwave.lm.surgery.prune import prune_emulator
from trimwave.lm.surgery.split import SplitModel
from trimwave.lm.template import template_of
from trimwave.lm.train.align import Aligner, aligned_parameters
from trimwave.lm.train.client import Update
from trimwave.lm.wire.ledger import trained_parameters, where
from trimwave.lm.wire.package import Wire
from trimwave.lm.wire.tensor_files import (
    ALPHA,
    load_tensors,
    metadata_of,
    save_tensors,
)
from trimwave.lm.workbench import Workbench
from trimwave.model.submodel import Submodel
from trimwave.runs.alignment import steps_after
from trimwave.runs.roles import OWN, Delivery, Measured

EMULATOR_FILE = "emulator.safetensors"


class LmServer:
    """A method's own server over a shared workbench; implements `roles.Server`."""

    def __init__(
        self,
        bench: Workbench,
        scheme: Scheme,
        noise_seed: int | None = None,
        later: Sequence[Scheme] = (),
    ) -> None:
        self.bench = bench
        self.schemes = (scheme, *later)
        """Of all stages."""
        self._noise_seed = noise_seed
        self._learnt: list[Learnt] = []
        self._original = bench.split
        self._begin(aligner_of(bench, scheme))

    def _begin(self, aligner: Aligner | None) -> None:
        """Make up the model of the present stage."""
        self._aligner = aligner
        self._reference = self.scheme.submodel
        self._split = template_of(
            self._original,
            self._reference,
            self.bench.config.seed,
            aligned=aligner is not None,
        )
        border = self._reference.trained_blocks[0]
        self._original_emulator = self._original.split_at(border).emulator
        self._reference_emulator = self._make_reference_emulator()
        self._outbox = Outbox(self.bench, self._split, self._reference, self._learnt)
        bits = self.bench.config.model.bits_per_param
        self.up_wire = up_wire_of(self._split, self._reference, bits)
        """Format of updates."""
        self.costs = replace(
            self.bench.costs,
            overhead_down_bits=self.down_wire.overhead_bits,
            overhead_up_bits=self.up_wire.overhead_bits,
        )
        """What any sub-model costs, with real sizes and real container headers."""
        config = self.bench.config.aggregate
        self._optimizer = None
        if config.server_optimizer != "none":
            self._optimizer = ServerOptimizer(config)

    @property
    def scheme(self) -> Scheme:
        """Of the present stage."""
        return self.schemes[self.stage]

    @property
    def stage(self) -> int:
        """Stages that are finished."""
        return len(self._learnt)

    @property
    def learnt_bits(self) -> tuple[int, ...]:
        """What the end of each finished stage takes on the air [bit]."""
        return tuple(one.num_bits for one in self._learnt)

    def advance(self) -> None:
        """Merge what the next stage does not go on with, and begin that stage."""
        before, finished = trained_parameters(self._split), self._finished()
        tensors = {name: value.detach().clone() for name, value in finished.items()}
        bits = self.bench.config.model.bits_per_param
        learnt = Learnt(
            tensors=tensors,
            lora_alpha=self._reference.lora_alpha,
            num_bits=Wire.fitting(tensors, bits).num_bits(tensors) if tensors else 0,
        )
        self._learnt.append(learnt)
        for own in (self.bench.evaluator, *self.bench.client_evaluators):
            if own:
                own.forget(self._original_emulator)
                own.forget(self._reference_emulator)
        self._original = merged(self._original, learnt)
        self._begin(None)
        with torch.no_grad():
            after = trained_parameters(self._split)
            for name in before.keys() - tensors.keys():
                after[name].copy_(before[name])

    def _finished(self) -> dict[str, nn.Parameter]:
        """Return what trains in this stage and does not go on in the next."""
        goes_on = self._reference.going_on(self.schemes[self.stage + 1].submodel)
        trained = trained_parameters(self._split)
        return where(trained, lambda part, _: part not in goes_on)

    @property
    def num_samples(self) -> FloatArray:
        """[K] |D_k|."""
        return self.bench.num_samples

    @property
    def full_model(self) -> SplitModel:
        """What was trained, plugged into the original model."""
        return self._split.with_emulator(self._original_emulator)

    @property
    def template(self) -> SplitModel:
        """How the method's model is made up; also the server's current state."""
        return self._split

    @property
    def down_wire(self) -> Wire:
        """Format of packages; the unpruned one is the largest."""
        return self._outbox.wire

    @property
    def emulator_version(self) -> int:
        """Steps that the emulator was aligned for so far, and stages before."""
        steps = self._aligner.steps_done if self._aligner else 0
        return (self.stage << 32) + steps

    def deliver(self, submodel: Submodel) -> Delivery:
        """Return what a client with a sub-model gets, eq. (2)."""
        return self._outbox.deliver(submodel)

    def aggregate(self, updates: Sequence[Update], round_index: int) -> dict[str, Any]:
        """Add what the deltas come to: their mean weighted by samples, eq. (4).

        Another rule, clipping and noise are the recipe's; what is returned is what the
        round's record says of them, and empty for the plain mean.
        """
        config, seed = self.bench.config.aggregate, self._noise_seed
        rng = None if seed is None else dp_stream(seed, round_index)
        trained, optimizer = trained_parameters(self._split), self._optimizer
        sent = {name for one in updates for name in one.delta if name in trained}
        before = {}
        if optimizer:
            before = {name: trained[name].detach().clone() for name in sent}
        with torch.no_grad():
            done = aggregate(updates, trained, config, rng)
            if optimizer:
                optimizer.step(trained, before, sorted(sent))
        self._outbox.round_ended()
        return {"aggregate": done} if done else {}

    def align(self, round_index: int) -> None:
        """Distil the full model into the emulator if that is due after this round."""
        steps = steps_after(self._aligner.config, round_index) if self._aligner else 0
        if self._aligner and steps:
            self._aligner.align(self._split, self.full_model, steps)
            self._emulator_changed()

    def _emulator_changed(self) -> None:
        """Make anew what was made of the emulator."""
        self._outbox.emulator_changed()
        self.bench.evaluator.forget(self._reference_emulator)
        self._reference_emulator = self._make_reference_emulator()

    def _make_reference_emulator(self) -> nn.ModuleList:
        """Return the emulator that the reference sub-model has."""
        reference, bench = self._reference, self.bench
        if reference.kept_blocks is not None:
            return self._split.emulator
        if not self._split.emulator or reference.is_installed_whole:
            return self._original_emulator
        as_was = not self._aligner and not self.stage
        if as_was and reference.kept_fraction == bench.reference_kept:
            return bench.reference_emulator
        size = bench.ranking.size_of(reference.kept_fraction)
        return prune_emulator(self._split, bench.ranking.kept(size))

    def evaluate(self) -> dict[str, Any]:
        """Test losses on the reference sub-model and on the full model.

        Those of clients' own rows are on the full model, None for one without.
        """
        evaluator, model = self.bench.evaluator, self.full_model
        full = reference = evaluator.loss(model)
        if self._reference_emulator is not self._original_emulator:
            emulator = self._split.with_emulator(self._reference_emulator)
            reference = evaluator.loss(emulator)
        losses: dict[str, Any] = {"loss_emulator": reference, "loss_full": full}
        if self.bench.client_evaluators:
            losses[OWN] = [
                own and own.loss(model) for own in self.bench.client_evaluators
            ]
        return losses

    def measure(self, round_index: int, is_last: bool) -> Measured:
        """Task metrics of the full model, if they are due after this round."""
        metrics = self.bench.task_metrics
        if metrics is None or not metrics.is_due(round_index, is_last):
            return Measured()
        return metrics.measure(self.full_model)

    def save(self, folder: Path) -> None:
        """Write the trained parameters and, if it is aligned, the emulator's."""
        save_stages(folder, self._learnt)
        scaled = {ALPHA: repr(self._reference.lora_alpha)}
        save_tensors(folder / ADAPTER_FILE, trained_parameters(self._split), scaled)
        if self._optimizer:
            self._optimizer.save(folder)
        self._outbox.save(folder)
        if self._aligner:
            steps = {"align_steps": str(self._aligner.steps_done)}
            aligned = aligned_parameters(self._split)
            save_tensors(folder / EMULATOR_FILE, aligned, steps)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote.

        Raises
        ------
        RunError
            If the tensors are not those of this model.
        """
        while (path := stage_file(folder, self.stage)).exists():
            load_tensors(path, self._finished())
            self.advance()
        load_tensors(folder / ADAPTER_FILE, trained_parameters(self._split))
        if self._optimizer:
            self._optimizer.load(folder, trained_parameters(self._split))
        self._outbox.load(folder)
        if self._aligner:
            path = folder / EMULATOR_FILE
            load_tensors(path, aligned_parameters(self._split))
            self._aligner.steps_done = int(metadata_of(path)["align_steps"])
            self._emulator_changed()
