"""The server: owns the adapter, aggregates, aligns, evaluates, saves."""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import nn

from trimwave.environment import limits_of
from trimwave.errors import RunError
from trimwave.lm.align import align_emulator
from trimwave.lm.client import Update
from trimwave.lm.package import Tensors, package_of
from trimwave.lm.prune import prune_emulator
from trimwave.lm.split import SplitModel
from trimwave.lm.tune import trained_parameters
from trimwave.lm.workbench import Workbench
from trimwave.solution import Submodel
from trimwave.units import FloatArray
from trimwave.workload import Workload

ADAPTER_FILE = "adapter.safetensors"
EMULATOR_FILE = "emulator.safetensors"


class LmServer:
    """A method's own server over a shared workbench; implements `rounds.Server`."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._align = bench.config.align
        self._aligns = bool(self._align.initial_steps or self._align.every_rounds)
        self._align_steps = 0
        split = bench.split.with_adapter(copy.deepcopy(bench.split.adapter))
        if self._aligns:
            split = split.with_emulator(copy.deepcopy(bench.split.emulator))
        self._split = split
        self._planned = bench.planned_emulator

    @property
    def workload(self) -> Workload:
        """What a sub-model costs."""
        return self._bench.workload

    @property
    def num_samples(self) -> FloatArray:
        """[K] |D_k|."""
        return self._bench.num_samples

    @property
    def full_model(self) -> SplitModel:
        """The adapter plugged into the original model."""
        return self._split.with_emulator(self._bench.split.emulator)

    def package(self, submodel: Submodel) -> Tensors:
        """Return what a client is sent: pruned emulator and adapter, eq. (2)."""
        kept = self._bench.ranking.kept(submodel.emulator_params)
        pruned = self._split.with_emulator(prune_emulator(self._split, kept))
        return self._bench.down_wire.round(package_of(pruned))

    def aggregate(self, updates: Sequence[Update]) -> None:
        """Add the mean of the deltas, weighted by samples, eq. (4)."""
        weights = self.num_samples / np.sum(self.num_samples)
        with torch.no_grad():
            for name, value in trained_parameters(self._split.adapter).items():
                for weight, update in zip(weights, updates, strict=True):
                    delta = update.delta[name].to(value.device, value.dtype)
                    value.add_(delta, alpha=float(weight))

    def align(self, round_index: int) -> None:
        """Distil the full model into the emulator if that is due after this round."""
        config = self._align
        steps = config.initial_steps if round_index == 0 else 0
        if (
            round_index
            and config.every_rounds
            and not round_index % config.every_rounds
        ):
            steps = config.steps
        if not steps:
            return
        bench, limits = self._bench, limits_of(self._bench.config)
        sizes = bench.ranking.sizes
        low = bench.ranking.size_at(limits.beta_max)
        high = bench.ranking.size_at(limits.beta_min)
        align_emulator(
            self._split,
            self.full_model,
            bench.ranking,
            sizes[(sizes >= low) & (sizes <= high)].tolist(),
            bench.public_rows,
            config,
            num_steps=steps,
            first_step=self._align_steps,
            seed=bench.config.seed,
            pad_id=bench.pad_id,
        )
        self._align_steps += steps
        self._replan()

    def _replan(self) -> None:
        """Prune the changed emulator at beta_bar again."""
        self._bench.evaluator.forget(self._planned)
        ranking = self._bench.ranking
        size = ranking.size_at(limits_of(self._bench.config).beta_bar)
        self._planned = prune_emulator(self._split, ranking.kept(size))

    def evaluate(self) -> dict[str, float]:
        """Test losses on the emulator pruned at beta_bar and on the full model."""
        planned = self._split.with_emulator(self._planned)
        return {
            "loss_emulator": self._bench.evaluator.loss(planned),
            "loss_full": self._bench.evaluator.loss(self.full_model),
        }

    def save(self, folder: Path) -> None:
        """Write the trained parameters and, if it is aligned, the emulator."""
        trained = trained_parameters(self._split.adapter)
        _save(folder / ADAPTER_FILE, trained)
        if self._aligns:
            tensors = dict(self._split.emulator.named_parameters())
            metadata = {"align_steps": str(self._align_steps)}
            _save(folder / EMULATOR_FILE, tensors, metadata)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote.

        Raises
        ------
        RunError
            If the tensors are not those of this model.
        """
        _load(folder / ADAPTER_FILE, trained_parameters(self._split.adapter))
        if self._aligns:
            path = folder / EMULATOR_FILE
            _load(path, dict(self._split.emulator.named_parameters()))
            self._align_steps = int(_metadata(path)["align_steps"])
            self._replan()


def _save(
    path: Path, tensors: dict[str, nn.Parameter], metadata: dict[str, str] | None = None
) -> None:
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    # Written by Python, so that a full disk is an OSError like any other.
    path.write_bytes(save(plain, metadata=metadata))


def _load(path: Path, into: dict[str, nn.Parameter]) -> None:
    tensors = load_file(path)
    if tensors.keys() != into.keys():
        odd = sorted(tensors.keys() ^ into.keys())[0]
        raise RunError(f"{path} does not fit the model: tensor `{odd}`.")
    with torch.no_grad():
        for name, value in into.items():
            value.copy_(tensors[name])


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata: dict[str, str] = file.metadata()
        return metadata
