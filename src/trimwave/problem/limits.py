"""C4 and C5: how much a client may be pruned, and how much all of them together."""

from dataclasses import dataclass

import numpy as np

from trimwave.base.curve import PiecewiseLinear
from trimwave.base.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """C4 and C5.

    C5 in general: sum_k p_k g(beta_k) <= sum_k p_k g(beta_bar), no more damage than if
    everyone were pruned by beta_bar. In the letter p_k = 1 and g(beta) = beta, which
    makes it the mean.
    """

    beta_min: float = 0.2
    """Least pruning of any client. # assumed: the letter gives none."""
    beta_max: float = 0.8
    """Most pruning of any client. # assumed: the letter gives none."""
    beta_bar: float = 0.5
    """C5: largest mean pruning. # assumed: Fig. 3 implies 0.493."""
    damage: PiecewiseLinear | None = None
    """g: what pruning by beta costs, such as the emulator's loss, measured; convex and
    not falling (`PiecewiseLinear.convex_minorant` makes it so). None = beta itself."""
    weighted: bool = False
    """Weigh the clients in C5 by their samples, as aggregation does; else alike."""

    def __post_init__(self) -> None:
        if not 0 <= self.beta_min <= self.beta_max < 1:
            raise InputError(
                "C4 needs 0 <= `beta_min` <= `beta_max` < 1, got "
                f"{self.beta_min} and {self.beta_max}."
            )
        if not np.isfinite(self.beta_bar):
            raise InputError(f"`beta_bar` must be a number, got {self.beta_bar}.")
        damage = self.damage
        if damage is None:
            return
        if not isinstance(damage, PiecewiseLinear):
            raise InputError(
                f"`damage` must be a `PiecewiseLinear`, got {type(damage).__name__}."
            )
        if damage.values.ndim != 1 or not (damage.is_convex and damage.rises):
            raise InputError(
                "`damage` must be one convex curve that does not fall with the pruning "
                f"rate, got {damage.values.tolist()}; take its `convex_minorant()`."
            )


def beta_bar_from_c5(
    *,
    c5_xi: float,
    c5_phi: float,
    c5_psi: float,
    gamma_min: float,
    num_clients: int,
    batch_size: int,
) -> float:
    """Largest mean pruning rate that C5 allows, from its own constants.

    Raises
    ------
    InputError
        If a constant is not positive, or C5 fails without any pruning.
    """
    for name, value in (("c5_xi", c5_xi), ("c5_phi", c5_phi), ("c5_psi", c5_psi)):
        if not (np.isfinite(value) and value > 0):
            raise InputError(f"`{name}` of C5 must be positive, got {value}.")
    floor = c5_xi + c5_phi / (num_clients * batch_size)
    beta_bar = (gamma_min - floor) / c5_psi
    if not beta_bar >= 0:
        raise InputError(
            f"C5 is infeasible: xi + phi/(K N) = {floor:g} exceeds `gamma_min` = "
            f"{gamma_min:g} by {floor - gamma_min:g} even without pruning; raise "
            "`gamma_min` or the batch size."
        )
    return beta_bar
