"""The gains of a round: path loss with Rayleigh block fading."""

from dataclasses import dataclass

import numpy as np

from trimwave.base.streams import stream
from trimwave.base.units import FloatArray, db_to_linear
from trimwave.cell.link import DIRECTIONS


@dataclass(frozen=True, kw_only=True, slots=True)
class Rayleigh:
    """Path loss with Rayleigh block fading: one draw per client, direction, round."""

    seed: int
    """Seed of the fading stream."""
    path_loss_db: float | FloatArray
    """Mean loss of every link, or [2, K] of each, down then up [dB]."""
    fading: bool = True
    """False = every gain at its mean."""

    def gains(self, round_index: int, num_clients: int) -> dict[str, FloatArray]:
        """Linear power gains of one round, ``{"down": [K], "up": [K]}``."""
        mean_gain = db_to_linear(-np.asarray(self.path_loss_db))
        gains: dict[str, FloatArray] = {}
        for number, direction in enumerate(DIRECTIONS):
            rng = stream(self.seed, "fading", round_index, number)
            power = rng.exponential(size=num_clients) if self.fading else 1.0
            mean = mean_gain[number] if np.ndim(mean_gain) else mean_gain
            gains[direction] = mean * np.broadcast_to(power, num_clients)
        return gains
