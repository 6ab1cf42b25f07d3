"""The loss that the methods of a comparison are timed to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Record = Mapping[str, Any]
Records = Sequence[Record]
Results = Mapping[str, Sequence[Records]]
"""Label of a method to its runs, one per seed; the seeds are the same for all."""

PERCENT_OF_ROUNDS = 80
"""A target that the slowest method meets late, but not with its very last round."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One number of a method over its seeds."""

    per_seed: tuple[float | None, ...]
    """None where a run ended before the target."""
    mean: float
    """Mean over seeds; such a run counts with its end."""
    is_exceeded: bool
    """Whether there is such a run, so that the true mean is above `mean`."""
    deviation: float | None
    """Standard deviation over seeds (n - 1); None for one seed or a bound."""


Numbers = dict[str, Measure]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The common target, one loss per seed, after Fig. 4.

    Each seed draws its own test rows, so a loss that is easy in one seed may be out of
    reach in another; methods are compared seed by seed.
    """

    loss_full: tuple[float, ...]
    """Per seed: test loss with the adapter plugged into the full model, which is the
    same model for every method."""
    set_by: tuple[str, ...]
    """Per seed: the method whose best loss it is."""
    left_out: tuple[str, ...]
    """Methods without a say: in some seed they do not beat the untrained model."""

    @property
    def mean_loss_full(self) -> float:
        """Mean over seeds."""
        return float(np.mean(self.loss_full))


def choose_target(results: Results) -> Target | None:
    """Choose per seed the largest of the methods' best losses in their early rounds.

    Early are the first `PERCENT_OF_ROUNDS` of a run's rounds, rounded up. What does not
    beat the untrained model is left out, since a target that is met before training
    says nothing about training.

    Returns
    -------
    target : Target or None
        None with a single method, or where no method beats the untrained model.
    """
    if len(results) < 2:
        return None
    by_seed = list(zip(*results.values(), strict=True))
    untrained = [min(run[0]["loss_full"] for run in runs) for runs in by_seed]
    best = {
        label: [_best_early(records) for records in runs]
        for label, runs in results.items()
    }
    able = [
        label
        for label, losses in best.items()
        if all(loss < start for loss, start in zip(losses, untrained, strict=True))
    ]
    if not able:
        return None
    set_by = [
        max(able, key=lambda label: best[label][seed]) for seed in range(len(by_seed))
    ]
    return Target(
        loss_full=tuple(best[label][seed] for seed, label in enumerate(set_by)),
        set_by=tuple(set_by),
        left_out=tuple(label for label in results if label not in able),
    )


def first_at_or_below(records: Records, loss: float) -> Record | None:
    """Return the first record with at most this loss; nothing is interpolated."""
    return next((record for record in records if record["loss_full"] <= loss), None)


def target_lines(results: Results, target: Target | None) -> list[str]:
    """Say what the target is and how it was chosen; nothing for a single method."""
    if len(results) < 2:
        return []
    early = f"the first {PERCENT_OF_ROUNDS} % of the rounds"
    if target is None:
        return [f"no common target: {early} take no method below the untrained loss."]
    num_seeds = len(target.loss_full)
    several = num_seeds > 1
    seeds = f", mean of {num_seeds} seeds with a target each" if several else ""
    names = ", ".join(dict.fromkeys(target.set_by))
    lines = [
        f"target: loss, full {target.mean_loss_full:.4f}{seeds}; the highest of the "
        f"methods' best losses in {early} ({names})."
    ]
    if target.left_out:
        where = " of some seed" if several else ""
        lines.append(
            f"no say in the target: {', '.join(target.left_out)}, at or above the "
            f"untrained loss in these rounds{where}."
        )
    return lines


def _best_early(records: Records) -> float:
    rounds = records[1:]
    early = rounds[: math.ceil(PERCENT_OF_ROUNDS * len(rounds) / 100)]
    return min((float(record["loss_full"]) for record in early), default=math.inf)
