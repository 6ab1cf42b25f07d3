"""Bandwidth in proportion to data, at one pruning rate: a rule of one's own.

Compared with the letter's by one command, in the folder of this file:
``trimwave compare --methods jcpba,proportional:Proportional``
"""

from dataclasses import dataclass

import numpy as np

import trimwave as tw


@dataclass(frozen=True)
class Proportional(tw.PruningRule):
    """B_k = B |D_k| / sum_i |D_i|, and one pruning rate for all."""

    rate: float = 0.5
    """beta of every client; one whose memory is too small prunes as it must."""

    label = "in proportion"

    def __post_init__(self) -> None:
        """Refuse what is no pruning rate."""
        super().__post_init__()
        if not 0 <= self.rate < 1:
            raise tw.InputError(f"`rate` must be from 0 to below 1, got {self.rate}.")

    def decide(self, problem: tw.Problem) -> tuple[np.ndarray, np.ndarray]:
        """Return how much each client keeps, and its share of the band [Hz]."""
        cell = problem.cell
        share = cell.num_samples / cell.num_samples.sum()
        kept = np.clip(1 - self.rate, problem.kept_min, problem.kept_max)
        return kept, cell.total_bandwidth_hz * share
