"""What clients keep of the emulator between rounds, so that it is not sent again."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from trimwave.base.units import BITS_PER_BYTE, IntArray
from trimwave.decision.plan import Plan
from trimwave.model.costs import Costs
from trimwave.recipe.seen import Seen

HELD = "held_params"
"""In a record: what each client has of the emulator after the round, in parameters."""


def quota_params(costs: Costs, cache_bytes: float) -> int:
    """Return the largest emulator that fits in what a client keeps, in parameters.

    Parameters
    ----------
    costs : Costs
        With the sizes that heads and neurons allow, if there are any.
    cache_bytes : float
        What a client may keep [byte].
    """
    most = min(
        int(cache_bytes * BITS_PER_BYTE // costs.bits_per_param), costs.emulator_params
    )
    if costs.emulator_sizes is None:
        return most
    fitting = costs.emulator_sizes[costs.emulator_sizes <= most]
    return int(fitting[-1]) if fitting.size else 0


@dataclass
class Holdings:
    """Who has how much of the present emulator."""

    num_clients: int
    """K."""
    quota_params: int
    """Most that a client keeps; 0 = nothing, as in the letter."""
    emulator_params: int
    """Of the unpruned emulator."""
    params: IntArray = field(init=False)
    """[K] what each holds, in parameters."""

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Count for nothing what clients have: the emulator is another now."""
        self.params = np.zeros(self.num_clients, dtype=np.int64)

    def recall(self, params: Sequence[int]) -> None:
        """Go on with what a record says."""
        self.params = np.array(params, dtype=np.int64)

    def keep(self, plan: Plan, answered: Sequence[bool]) -> None:
        """Count what the clients of a round have now.

        Parameters
        ----------
        plan : Plan
            Of the round.
        answered : [K]
            Who is known to have got what it was sent.
        """
        for k, (submodel, got) in enumerate(zip(plan.submodels, answered, strict=True)):
            if got and submodel is not None and submodel.is_sliced:
                size = min(submodel.emulator_params, self.quota_params)
                self.params[k] = max(self.params[k], size)

    def added_to(self, seen: Seen) -> Seen:
        """Return what is known of the clients, with what they hold."""
        if not self.quota_params:
            return seen
        held = self.params / self.emulator_params
        return replace(seen, fields={**seen.fields, "held": held})

    def record(self) -> dict[str, list[int]]:
        """Return what a record has of it; nothing where nobody keeps anything."""
        return {HELD: self.params.tolist()} if self.quota_params else {}
