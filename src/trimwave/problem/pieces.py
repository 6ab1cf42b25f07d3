"""Eq. (9) cut into stretches of the kept fraction where it is linear in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trimwave.base.units import FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """Every client's eq. (9) where it is linear in x, on a stretch, all [..., K]."""

    start: FloatArray
    """Where the stretch begins."""
    end: FloatArray
    """Where it ends; a stretch may be empty for some clients."""
    compute_fixed_s: FloatArray
    """u: compute time at x = 0, were the stretch that long [s]."""
    compute_per_kept_s: FloatArray
    """v: its slope [s]."""
    down_fixed_bits: FloatArray
    """d: payload at x = 0, were the stretch that long [bit]."""
    down_per_kept_bits: FloatArray
    """e: its slope [bit]."""
    weight: FloatArray | float = 1.0
    """What C5 counts for one more unit of x."""

    def kept(self, slack_s: FloatArray, down_rate_bps: FloatArray) -> FloatArray:
        """Return how much a client can keep of this piece, [..., K].

        Parameters
        ----------
        slack_s : [..., K]
            What the deadline leaves for computing and the download [s].
        down_rate_bps : [..., K]
            Rate of the download.

        Returns
        -------
        kept : [..., K]
            The x_k with which computing and download take exactly the slack; the
            piece's start where even that takes longer, its end where all of the piece
            takes less.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            spare = slack_s - self.compute_fixed_s
            spare = spare - self.down_fixed_bits / down_rate_bps
            per_kept = self.compute_per_kept_s + self.down_per_kept_bits / down_rate_bps
            if np.min(per_kept) > 0:
                kept = spare / per_kept
            else:
                flat = np.where(spare >= 0, np.inf, -np.inf)
                kept = np.where(per_kept > 0, spare / per_kept, flat)
        return np.clip(kept, self.start, self.end)


def weight_at(pieces: Sequence[Piece], kept: FloatArray) -> FloatArray | float:
    """Return what C5 counts for one more unit of x_k, [..., K]; right of a bend."""
    weight = pieces[-1].weight
    for piece in reversed(pieces[:-1]):
        weight = np.where(kept < piece.end, piece.weight, weight)
    return weight
