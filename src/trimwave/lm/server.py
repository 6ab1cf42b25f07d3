"""The server: owns what trains, aggregates, aligns, evaluates, saves."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trimwave.base.units import FloatArray
from trimwave.lm.surgery.prune import prune_emulator
from trimwave.lm.surgery.split import SplitModel
from trimwave.lm.template import template_of
from trimwave.lm.train.align import align_emulator, aligned_parameters
from trimwave.lm.train.client import Client, Update
from trimwave.lm.train.tune import trained_parameters, trains_on_device
from trimwave.lm.wire.package import (
    Tensors,
    Wire,
    head_tensors,
    is_factor,
    named_tensors,
    package_of,
)
from trimwave.lm.wire.tensor_files import load_tensors, metadata_of, save_tensors
from trimwave.lm.workbench import Workbench
from trimwave.model.costs import Costs
from trimwave.model.submodel import Submodel
from trimwave.plan.plan import Alignment, Scheme
from trimwave.recipe.config import AlignConfig, TrainConfig
from trimwave.recipe.environment import limits_of

ADAPTER_FILE = "adapter.safetensors"
EMULATOR_FILE = "emulator.safetensors"


class LmServer:
    """A method's own server over a shared workbench; implements `rounds.Server`."""

    def __init__(self, bench: Workbench, scheme: Scheme) -> None:
        self._bench = bench
        self._reference = scheme.submodel
        self._learning_rate = scheme.learning_rate or _learning_rate(
            bench.config.train, scheme.submodel
        )
        self._align = _align_config(bench.config.align, scheme.align)
        wanted = bool(self._align.initial_steps or self._align.every_rounds)
        below = self._reference.trained_blocks[0]
        self._aligns = wanted and below > 0
        if wanted and not below:
            warnings.warn(
                "`[align]` has no effect: this method has no emulator to align.",
                stacklevel=2,
            )
        self._align_steps = 0
        self._split = template_of(
            bench.split,
            self._reference,
            bench.config.train,
            bench.config.seed,
            aligned=self._aligns,
        )
        original = bench.split.split_at(below)
        self._original_emulator = original.emulator
        self._planned = self._planned_emulator()

    @property
    def num_samples(self) -> FloatArray:
        """[K] |D_k|."""
        return self._bench.num_samples

    @property
    def full_model(self) -> SplitModel:
        """What was trained, plugged into the original model."""
        return self._split.with_emulator(self._original_emulator)

    @property
    def template(self) -> SplitModel:
        """How the method's model is made up; also the server's current state."""
        return self._split

    @cached_property
    def down_wire(self) -> Wire:
        """Format of packages; the unpruned one is the largest."""
        bits = self._bench.config.model.bits_per_param
        return Wire.fitting(self._sent(self._split, self._reference), bits)

    @cached_property
    def up_wire(self) -> Wire:
        """Format of updates."""
        sent = {
            name: value
            for name, value in trained_parameters(self._split).items()
            if trains_on_device(name, self._reference)
        }
        return Wire.fitting(sent, self._bench.config.model.bits_per_param)

    @cached_property
    def costs(self) -> Costs:
        """What any sub-model costs, with real sizes and real container headers."""
        return replace(
            self._bench.costs,
            overhead_down_bits=self.down_wire.overhead_bits,
            overhead_up_bits=self.up_wire.overhead_bits,
        )

    def clients(self) -> list[Client]:
        """Return the devices, each with its rows."""
        config = self._bench.config
        return [
            Client(
                number=k,
                base=self._split,
                rows=rows,
                wire=self.up_wire,
                config=config.train,
                learning_rate=self._learning_rate,
                seed=config.seed,
                pad_id=self._bench.pad_id,
            )
            for k, rows in enumerate(self._bench.client_rows)
        ]

    def package(self, submodel: Submodel) -> Tensors:
        """Return what a client is sent: pruned emulator and adapter, eq. (2).

        Without the frozen blocks, where these lie on the device.
        """
        split = self._split
        if submodel.sends_frozen and submodel.kept_blocks is None and split.emulator:
            kept = self._bench.ranking.kept(submodel.emulator_params)
            split = split.with_emulator(prune_emulator(split, kept))
        return self.down_wire.round(self._sent(split, submodel))

    def _sent(self, split: SplitModel, submodel: Submodel) -> Tensors:
        if submodel.runs == "split":
            return head_tensors(split)
        package = package_of(split)
        if submodel.sends_frozen:
            return package
        return {name: v for name, v in package.items() if _changes(name, submodel)}

    def installed(self, submodel: Submodel) -> Tensors:
        """Return what the training needs and does not travel.

        It lies on the client's device before the round, or at the server, where the
        blocks run there.
        """
        if submodel.runs == "split":
            return named_tensors("adapter", self._split.adapter, self._split.arch)
        if submodel.sends_frozen:
            return {}
        blocks = self._bench.stored_blocks(
            submodel.weight_bits, submodel.compensation_rank
        )
        stored = {}
        for name in package_of(self._split):
            if not _changes(name, submodel):
                _, source, path = name.split(".", 2)
                stored[name] = blocks[int(source)][path.replace(".base_layer", "")]
        return stored

    def aggregate(self, updates: Sequence[Update]) -> None:
        """Add the mean of the deltas, weighted by samples, eq. (4).

        The mean of each tensor is over the clients that trained it.
        """
        with torch.no_grad():
            for name, value in trained_parameters(self._split).items():
                senders = [update for update in updates if name in update.delta]
                samples = self.num_samples[[update.client for update in senders]]
                weights = samples / np.sum(samples)
                for weight, update in zip(weights, senders, strict=True):
                    delta = update.delta[name].to(value.device, value.dtype)
                    value.add_(delta, alpha=float(weight))

    def align(self, round_index: int) -> None:
        """Distil the full model into the emulator if that is due after this round."""
        config = self._align
        if not self._aligns:
            return
        due = config.every_rounds and not round_index % config.every_rounds
        steps = config.steps if due else 0
        if round_index == 0:
            steps = config.initial_steps
        if not steps:
            return
        bench = self._bench
        align_emulator(
            self._split,
            self.full_model,
            bench.public_rows,
            config,
            **self._sub_networks(),
            num_steps=steps,
            first_step=self._align_steps,
            seed=bench.config.seed,
            pad_id=bench.pad_id,
        )
        self._align_steps += steps
        self._replan()

    def _sub_networks(self) -> dict[str, Any]:
        """Say which sizes of the emulator clients may hold."""
        if self._reference.kept_blocks is not None:
            return {}
        ranking, limits = self._bench.ranking, limits_of(self._bench.config)
        low, high = (
            ranking.size_at(beta) for beta in (limits.beta_max, limits.beta_min)
        )
        within = (ranking.sizes >= low) & (ranking.sizes <= high)
        return {"ranking": ranking, "sizes": ranking.sizes[within].tolist()}

    def _replan(self) -> None:
        """Make the planned emulator of the changed one again."""
        self._bench.evaluator.forget(self._planned)
        self._planned = self._planned_emulator()

    def _planned_emulator(self) -> nn.ModuleList:
        """Return the emulator that the reference sub-model has."""
        reference = self._reference
        if reference.kept_blocks is not None:
            return self._split.emulator
        if not self._split.emulator:
            return self._original_emulator
        if not self._aligns and reference.kept_fraction == self._bench.planned_kept:
            return self._bench.planned_emulator
        ranking = self._bench.ranking
        size = ranking.size_at(1 - reference.kept_fraction)
        return prune_emulator(self._split, ranking.kept(size))

    def evaluate(self) -> dict[str, float]:
        """Test losses on the reference sub-model and on the full model."""
        evaluator = self._bench.evaluator
        full = evaluator.loss(self.full_model)
        if self._planned is self._original_emulator:
            return {"loss_emulator": full, "loss_full": full}
        planned = self._split.with_emulator(self._planned)
        return {"loss_emulator": evaluator.loss(planned), "loss_full": full}

    def save(self, folder: Path) -> None:
        """Write the trained parameters and, if it is aligned, the emulator's."""
        save_tensors(folder / ADAPTER_FILE, trained_parameters(self._split))
        if self._aligns:
            steps = {"align_steps": str(self._align_steps)}
            aligned = aligned_parameters(self._split)
            save_tensors(folder / EMULATOR_FILE, aligned, steps)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote.

        Raises
        ------
        RunError
            If the tensors are not those of this model.
        """
        load_tensors(folder / ADAPTER_FILE, trained_parameters(self._split))
        if self._aligns:
            path = folder / EMULATOR_FILE
            load_tensors(path, aligned_parameters(self._split))
            self._align_steps = int(metadata_of(path)["align_steps"])
            self._replan()


def _learning_rate(config: TrainConfig, submodel: Submodel) -> float:
    lora = submodel.trained == "lora"
    return config.lora_learning_rate if lora else config.learning_rate


def _changes(name: str, submodel: Submodel) -> bool:
    """Whether a tensor of a package ever differs from the original model's."""
    _, source, path = name.split(".", 2)
    if submodel.trained == "lora":
        return is_factor(path)
    return int(source) in submodel.shared_blocks


def _align_config(recipe: AlignConfig, own: Alignment | None) -> AlignConfig:
    """Return the recipe's alignment, or the method's with the recipe's optimiser."""
    return recipe if own is None else replace(recipe, **vars(own))
