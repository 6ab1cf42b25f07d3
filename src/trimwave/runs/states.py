"""Which rows clients have states of, so that a round is charged for the others alone.

A state is what frozen blocks make of a row (`lm.states`). Which rows a round has
follows from the seed, so the server knows without being told; what clients report is
recorded beside it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from trimwave.base.units import FloatArray
from trimwave.cell.partition import batch_indices
from trimwave.model.costs import Costs
from trimwave.model.submodel import Submodel
from trimwave.recipe.config import Config


@dataclass
class KnownStates:
    """Whose rows have states under the present frozen part."""

    num_clients: int
    """K."""
    seed: int
    """The run's: which rows a step has."""
    batch_size: int
    """N."""
    num_local_steps: int
    """M."""
    most_rows: int
    """Rows whose states a client keeps; 0 = it keeps none."""
    rows: list[set[int]] = field(init=False)
    """By client."""

    def __post_init__(self) -> None:
        self.forget()

    @classmethod
    def of(cls, config: Config, costs: Costs) -> "KnownStates":
        """Return the states of a run that begins.

        Rows are taken for as long as the clock takes them for, `train.seq_len`.
        """
        train, most_rows = config.train, 0
        if train.keeps_states:
            room_bytes = train.state_memory_bytes + train.state_disk_bytes
            row_bytes = costs.shape.state_bytes(costs.seq_len, train.state_cache)
            most_rows = int(room_bytes // row_bytes)
        return cls(
            num_clients=config.cell.num_clients,
            seed=config.seed,
            batch_size=train.batch_size,
            num_local_steps=train.num_local_steps,
            most_rows=most_rows,
        )

    def forget(self) -> None:
        """Count for nothing what there is: the frozen part is another now."""
        self.rows = [set() for _ in range(self.num_clients)]

    def fresh_share(
        self, submodel: Submodel, round_index: int, num_samples: FloatArray
    ) -> FloatArray | None:
        """Return the part of a round's rows that has no state.

        Parameters
        ----------
        submodel : Submodel
            What clients train.
        round_index : int
            From 1.
        num_samples : [K]
            |D_k|.

        Returns
        -------
        [K] or None
            Of all rows of all steps: one that is met twice goes through the frozen
            blocks once, as all do that are streamed through them before the steps.
            None where no states are kept.
        """
        ahead = submodel.streams_prefix
        if not (submodel.caches_states and (ahead or self.most_rows)):
            return None
        steps = len(submodel.steps(round_index, self.num_local_steps))
        fresh = [
            len({*met} - self.rows[k]) + (0 if ahead else self._again(met, k))
            for k, met in self._met(submodel, round_index, num_samples)
        ]
        return np.array(fresh) / (steps * self.batch_size)

    def keep(
        self,
        submodel: Submodel,
        round_index: int,
        num_samples: FloatArray,
        answered: Sequence[bool],
    ) -> None:
        """Count the rows of a round whose states clients have now."""
        if not (self.most_rows and submodel.caches_states):
            return
        for k, met in self._met(submodel, round_index, num_samples):
            if answered[k]:
                self.rows[k] |= {*self._kept(met, k)}

    def _met(
        self, submodel: Submodel, round_index: int, num_samples: FloatArray
    ) -> Iterator[tuple[int, list[int]]]:
        """Yield each client with the rows of its round, in the order of its steps."""
        steps = submodel.steps(round_index, self.num_local_steps)
        for k, count in enumerate(num_samples.tolist()):
            # A plan without rows may deal out parts of one.
            rows = [
                batch_indices(self.seed, k, step, self.batch_size, max(1, int(count)))
                for step in steps
            ]
            yield k, np.concatenate(rows).tolist()

    def _kept(self, met: Sequence[int], client: int) -> list[int]:
        """Return the new rows of a round that there is room for: the first."""
        new = [row for row in dict.fromkeys(met) if row not in self.rows[client]]
        return new[: self.most_rows - len(self.rows[client])]

    def _again(self, met: Sequence[int], client: int) -> int:
        """Count how often a row that there was no room for is met another time."""
        have = self.rows[client] | {*self._kept(met, client)}
        missed = [row for row in met if row not in have]
        return len(missed) - len({*missed})
