"""Emulator alignment on public data: distil the full model into its pruned versions.

Where clients prune differently, each step draws a size within C4 and trains the
emulator at that size, so that all the sub-networks of one set of weights improve
together (slimmable training). FedBiOT's emulator has one size and is aligned as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from trimwave.base.streams import stream
from trimwave.cell.partition import batch_indices
from trimwave.lm.data.encode import IGNORED, Encoded, collate
from trimwave.lm.surgery.importance import masked
from trimwave.lm.surgery.ranking import KeptSet, Ranking
from trimwave.lm.surgery.split import SplitModel
from trimwave.lm.wire.ledger import is_factor
from trimwave.recipe.config import AlignConfig

PUBLIC = 2**31
"""The server's number beside the clients', for the stream of its batches."""


@dataclass(kw_only=True)
class Aligner:
    """The server's alignment over a run: its rows, its sizes, how far it is."""

    rows: Sequence[Encoded]
    """Public rows."""
    config: AlignConfig
    seed: int
    """The run's."""
    pad_id: int
    """Padding token."""
    ranking: Ranking | None = None
    """Which units a size keeps; None = the emulator is aligned as it is."""
    sizes: Sequence[int] = ()
    """Emulator sizes to draw from, in parameters."""
    steps_done: int = 0
    """Steps so far, which decide the next batches."""

    def align(
        self, student: SplitModel, teacher: SplitModel, num_steps: int
    ) -> list[float]:
        """Train the student's emulator in place; the optimiser starts afresh.

        LoRA factors train where the emulator has them, its weights where it has none.

        Parameters
        ----------
        student, teacher : SplitModel
            Same adapter in both; the teacher's emulator is the original one.
        num_steps : int
            How many steps.

        Returns
        -------
        list of float
            Loss of every step: hidden-state error over the teacher's power, plus
            `kl_weight` times the KL to the teacher at answer positions.
        """
        config = self.config
        parameters = list(aligned_parameters(student).values())
        for value in parameters:
            value.requires_grad_(True)
        optimizer = torch.optim.AdamW(
            parameters, lr=config.learning_rate, weight_decay=0.0
        )
        losses = []
        teacher.adapter.eval()
        try:
            for _ in range(num_steps):
                loss = self._loss(student, teacher, parameters[0].device)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                losses.append(float(loss.detach()))
                self.steps_done += 1
        finally:
            student.emulator.requires_grad_(False)
            for value in student.adapter.parameters():
                value.grad = None
        return losses

    def _loss(
        self, student: SplitModel, teacher: SplitModel, device: torch.device
    ) -> Tensor:
        """Distil on the next batch, at the next size."""
        step, size = self.steps_done, self.config.batch_size
        chosen = batch_indices(self.seed, PUBLIC, step, size, len(self.rows))
        batch = collate([self.rows[i] for i in chosen], self.pad_id)
        input_ids, labels = batch.input_ids.to(device), batch.labels.to(device)
        if self.ranking is None:
            features = student.emulator_with_grad(input_ids)
        else:
            drawn = stream(self.seed, "align", step).choice(np.asarray(self.sizes))
            features = _features_at(student, self.ranking, int(drawn), input_ids)
        return distillation_loss(
            student, teacher, features, input_ids, labels, self.config.kl_weight
        )


def aligned_parameters(student: SplitModel) -> dict[str, nn.Parameter]:
    """Return what alignment changes in the emulator: LoRA factors, or all weights."""
    named = dict(student.emulator.named_parameters())
    factors = {name: value for name, value in named.items() if is_factor(name)}
    return factors or named


def _features_at(
    student: SplitModel, ranking: Ranking, size: int, input_ids: Tensor
) -> Tensor:
    """Run the sub-network of one size, with gradients."""
    kept = ranking.kept(size)
    blocks = nn.ModuleList(student.emulator[b] for b in kept.blocks)
    pruned = replace(student, emulator=blocks)
    with masked(pruned, _masks(ranking, kept, input_ids.device)):
        return pruned.emulator_with_grad(input_ids)


def distillation_loss(
    student: SplitModel,
    teacher: SplitModel,
    features: Tensor,
    input_ids: Tensor,
    labels: Tensor,
    kl_weight: float,
) -> Tensor:
    """Distance of a student's features and predictions to the teacher's.

    Zero where both emulators are the same.
    """
    target = teacher.features(input_ids)
    error = (features - target).square().mean() / target.square().mean()
    answers = labels[:, 1:] != IGNORED
    with torch.no_grad():
        wanted = teacher.logits(teacher.hidden(target)[:, :-1][answers])
    got = student.logits(student.hidden(features)[:, :-1][answers])
    divergence = nn.functional.kl_div(
        got.float().log_softmax(-1),
        wanted.float().log_softmax(-1),
        log_target=True,
        reduction="batchmean",
    )
    return error + kl_weight * divergence


def _masks(ranking: Ranking, kept: KeptSet, device: torch.device) -> list[Tensor]:
    """Ones at kept groups and neurons, [kept blocks, G] and [kept blocks, F]."""
    groups = torch.zeros(len(kept.blocks), ranking.num_groups, device=device)
    neurons = torch.zeros(len(kept.blocks), ranking.num_neurons, device=device)
    for row, block in enumerate(kept.blocks):
        groups[row, torch.as_tensor(kept.groups[block])] = 1.0
        neurons[row, torch.as_tensor(kept.neurons[block])] = 1.0
    return [groups, neurons]
