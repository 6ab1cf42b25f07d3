"""What a price buys: clients' kept fractions where dB_k/dx_k reaches it, at a deadline.

A price in hertz per unit of C5 is given here as s = price^(-1/2): for noise of fixed
power x_k is piecewise linear in it, so that Newton finds the price in a few steps.

Shapes: ``...`` is draws (no axis for one cell), K clients; a number of each draw is
[..., 1], so that it is broadcast over clients.
A piece is a stretch of x_k on which eq. (9) is linear; one `Curve` holds the same piece
of all clients.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from trimwave.base.units import FloatArray
from trimwave.problem.latency import RoundLatency
from trimwave.problem.pieces import Piece

SMALLEST = 1e-150
"""Least s that is searched, and what a share of nothing is taken for, of the band: so
that price and rate are numbers."""


class Curve(Protocol):
    """One piece of every client at one deadline."""

    low: FloatArray
    """[..., K] least x_k on the piece that the deadline leaves."""

    def kept(self, s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return what a price buys, within the piece.

        Parameters
        ----------
        s : [..., 1]
            price^(-1/2): a small s is a high price for keeping more.

        Returns
        -------
        kept : [..., K]
            x_k at which one more unit of it costs as much band as the price pays,
            or the end of the piece towards which it would go on.
        fall : [..., K]
            -dx_k/ds; 0 where x_k is at an end.
        """

    def ends(self) -> tuple[FloatArray, FloatArray]:
        """Return between which s clients move along the piece.

        Returns
        -------
        at_end, at_start : [..., K]
            A client keeps all of the piece for s below the first, and only what comes
            before it for s above the second. Both infinite for a client to whom the
            piece costs no band: it keeps it at any price.
        """


class Parabola:
    """A piece under noise of fixed power: dB/dx = (v B + q)^2 / C, in closed form.

    With p, q the bits of fixed part and emulator over the spectral efficiencies,
    C = q (T - u) + v p, and dB/dx = price w where x = (T - u - s sqrt(C / w)) / v.
    """

    def __init__(
        self,
        latency: RoundLatency,
        piece: Piece,
        deadline_s: FloatArray,
        low: FloatArray,
        high: FloatArray,
    ) -> None:
        self.low, self.high = low, high
        v, spare_s = piece.compute_per_kept_s, deadline_s - piece.compute_fixed_s
        self.root = _root_of_c(latency, piece, spare_s)
        self.spare_s, self.v = spare_s, v
        priced = np.min(self.root) > 0 and np.max(self.root) < np.inf
        self.regular = bool(np.min(v) > 0 and priced)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            self.most = spare_s / v
            self.ratio = self.root / v
        if self.regular:
            del self.root, self.spare_s, self.v

    def kept(self, s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return what a price buys, by the closed form of the class."""
        with np.errstate(invalid="ignore", over="ignore"):
            raw = self.ratio * s
            np.subtract(self.most, raw, out=raw)
        if not self.regular:
            raw = self._irregular(raw, s)
        kept = np.minimum(raw, self.high)
        np.maximum(kept, self.low, out=kept)
        inside = kept == raw
        if self.regular:
            return kept, np.multiply(inside, self.ratio, out=raw)
        return kept, np.where(inside, self.ratio, 0.0)

    def _irregular(self, raw: FloatArray, s: FloatArray) -> FloatArray:
        """Replace the closed form for clients to whom it does not apply, [..., K].

        Where computing does not depend on x (v = 0) one more unit of it costs the same
        all along the piece, and so a client keeps all of it or nothing. Where x costs
        no band at all (C = 0) it keeps all of it.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            flat = np.where(self.root * s < self.spare_s, np.inf, -np.inf)
        raw = np.where(self.v > 0, raw, flat)
        return np.where(self.root > 0, raw, np.inf)

    def ends(self) -> tuple[FloatArray, FloatArray]:
        """Return between which s clients move, by the closed form of the class."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if self.regular:
                return (
                    (self.most - self.high) / self.ratio,
                    (self.most - self.low) / self.ratio,
                )
            at_end, at_start = (
                (self.spare_s - self.v * x) / self.root for x in (self.high, self.low)
            )
        # Neither a piece that is free nor one that C5 does not count has a price.
        priced = (self.root > 0) & np.isfinite(self.root)
        return np.where(priced, at_end, np.inf), np.where(priced, at_start, np.inf)


def _root_of_c(latency: RoundLatency, piece: Piece, spare_s: FloatArray) -> FloatArray:
    """sqrt(C / w) of `Parabola`, [..., K]; in place, for the sake of many clients."""
    fixed = piece.down_fixed_bits / latency.down.efficiency
    fixed += latency.shared_up_bits / latency.up.efficiency
    fixed *= piece.compute_per_kept_s
    c = piece.down_per_kept_bits / latency.down.efficiency
    c *= spare_s
    c += fixed
    with np.errstate(divide="ignore", invalid="ignore"):
        c /= piece.weight  # 0 where C5 counts nothing
    return np.sqrt(np.maximum(c, 0.0, out=c), out=c)


def price_range(
    curves: Sequence[Curve],
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the range of s in which the price of C5 is to be searched, [..., 1] each.

    Returns
    -------
    lowest : [..., 1]
        Below it every client keeps the most, whatever the price.
    middle : [..., 1]
        A guess between: the mean of where clients begin to keep more than the least.
    highest : [..., 1]
        From it on every client keeps the least.
    """
    lowest, middle, highest = None, None, None
    for curve in curves:
        at_end, at_start = curve.ends()
        end = np.min(at_end, axis=-1, keepdims=True)
        if not np.all(np.isfinite(at_start)):
            at_start = np.where(np.isfinite(at_start), at_start, 0.0)
        start = np.max(at_start, axis=-1, keepdims=True)
        mean = np.mean(at_start, axis=-1, keepdims=True)
        lowest = end if lowest is None else np.minimum(lowest, end)
        middle = mean if middle is None else np.maximum(middle, mean)
        highest = start if highest is None else np.maximum(highest, start)
    assert lowest is not None and middle is not None and highest is not None
    some = np.isfinite(lowest) & (highest > 0)
    lowest = np.where(some, np.maximum(lowest, SMALLEST), 1.0) * (1 - 1e-9)
    highest = np.maximum(np.where(some, highest, 1.0), lowest) * (1 + 1e-9)
    return lowest, np.clip(middle, lowest, highest), highest
