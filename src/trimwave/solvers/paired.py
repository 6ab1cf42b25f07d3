"""FDD: a band for the downlink and one for the uplink, traded at a price.

For any price mu >= 0 of a hertz up in hertz down, every feasible point has
sum B_dn + mu sum B_up <= B + mu B'. So P1 with the one band B + mu B', of which client
k needs phi_k(x) = min B_dn + mu B_up, bounds the optimum from below, and the largest of
these bounds is the best. It is the optimum where phi_k is convex; with a fixed noise
power phi_k is concave at first and convex then,

    phi_k = (sqrt(d_k + e_k x) + sqrt(mu g_k))^2 / (T - u_k - v_k x),

with payloads over spectral efficiencies, so that a client may jump from keeping the
least to well inside its bounds. Only who would be in mid-jump keeps a gap open.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from trimwave.channel import Link
from trimwave.latency import RoundLatency
from trimwave.problem import Problem
from trimwave.roots import ROUNDING, bracket_root, newton_root
from trimwave.solvers.deadline import HEADROOM
from trimwave.solvers.search import TOLERANCE, AtPrice, Cheapest, DeadlineSearch
from trimwave.units import FloatArray

SAMPLES = 17
"""Points of x at which the slope of phi is looked at to find where it bends up."""

ROUGHNESS = 1e3
"""How much rougher x_k(price) is here than a sum's rounding."""

STEP = 1e-6
"""Step of x for the curvature of phi, relative to what is left of a piece."""


class Split(NamedTuple):
    """The cheapest pair of shares with which a client meets a deadline, [..., K]."""

    need_hz: FloatArray
    """phi = B_dn + mu B_up [Hz]; inf if no pair does."""
    per_kept_hz: FloatArray
    """dphi/dx."""
    hz_per_s: FloatArray
    """-dphi/dT."""
    down_hz: FloatArray
    up_hz: FloatArray


@dataclass
class Near:
    """Where a search for shares under a noise density ended; [..., K] each."""

    log_rho: FloatArray | None = None
    log_hz: list[FloatArray | None] = field(default_factory=lambda: [None, None])


def split_band(
    latency: RoundLatency,
    kept: FloatArray,
    deadline_s: FloatArray,
    up_price: FloatArray,
    near: Near | None = None,
) -> Split:
    """Split a client's slack between download and upload so that its band costs least.

    Parameters
    ----------
    latency : RoundLatency
        Of K clients.
    kept : [..., K]
        x_k.
    deadline_s : [..., 1]
        When everyone must have ended [s].
    up_price : [..., 1]
        mu.
    near : Near, optional
        Where the last search ended, to begin from; it is brought up to date.
    """
    slack = deadline_s - latency.compute_s(kept)
    bits = latency.down_bits(kept)
    if latency.down.noise == "fixed":
        down = np.sqrt(bits / latency.down.efficiency)
        up = np.sqrt(latency.up_bits / latency.up.efficiency)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            whole = (down + np.sqrt(up_price) * up) / slack
            down_hz, up_hz = down * whole, up * whole / np.sqrt(up_price)
            hz_per_s = whole * whole
    else:
        down_hz, up_hz, hz_per_s = _searched_split(
            latency, bits, slack, up_price, Near() if near is None else near
        )
    late = slack <= 0
    compute_s, per_bits = latency.per_kept(kept)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        per_kept = compute_s + per_bits / latency.down.rate_bps(down_hz)
        need_hz = down_hz + up_price * up_hz
        return Split(
            need_hz=np.where(late, np.inf, need_hz),
            per_kept_hz=hz_per_s * per_kept,
            hz_per_s=np.where(late, 0.0, hz_per_s),
            down_hz=down_hz,
            up_hz=up_hz,
        )


def _searched_split(
    latency: RoundLatency,
    bits: FloatArray,
    slack: FloatArray,
    up_price: FloatArray,
    near: Near,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Split under a noise density: search for the band that a second is worth.

    Where both shares gain as much per hertz, -dt_dn/dB_dn = -dt_up/dB_up / mu = 1/rho.
    """
    links: list[tuple[Link, FloatArray, FloatArray | float]] = [
        (latency.down, bits, 1.0),
        (latency.up, latency.up_bits, up_price),
    ]
    shares = [np.zeros(()), np.zeros(())]

    def early(log_rho: FloatArray) -> tuple[FloatArray, FloatArray]:
        total, falls = np.zeros(()), np.zeros(())
        for at, (link, size, price) in enumerate(links):
            start = near.log_hz[at]
            log_hz, slope = _share_at(link, size, np.log(price) - log_rho, start)
            near.log_hz[at], bandwidth = log_hz, np.exp(log_hz)
            shares[at] = bandwidth
            total = total + size / link.rate_bps(bandwidth)
            # d time / d log rho = (-price / rho) B dlogB / dlog rho.
            falls = falls + price * np.exp(-log_rho) * bandwidth * slope
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(slack / total), falls / total

    with np.errstate(divide="ignore", invalid="ignore"):
        safe = np.where(slack > 0, slack, 1.0)
        guess = np.log(latency.down.total_bandwidth_hz / safe)
    low, high = guess - 60.0, guess + 60.0
    if near.log_rho is not None:
        guess = np.clip(near.log_rho, low, high)
    _, log_rho, _ = newton_root(early, low, high, guess, tolerance=ROUNDING)
    near.log_rho = log_rho
    return shares[0], shares[1], np.exp(log_rho)


def _share_at(
    link: Link,
    bits: FloatArray,
    log_s_per_hz: FloatArray,
    start: FloatArray | None,
) -> tuple[FloatArray, FloatArray]:
    """Log B at which a hertz more saves so much time, and -dlogB/dlog of that."""
    band, slope = np.log(link.total_bandwidth_hz), np.zeros(())
    with np.errstate(divide="ignore"):
        log_bits = np.log(bits)

    def excess(log_hz: FloatArray) -> tuple[FloatArray, FloatArray]:
        nonlocal slope
        bandwidth = np.exp(log_hz)
        rate, gain = link.rate_bps(bandwidth), link.rate_slope(bandwidth)
        with np.errstate(divide="ignore", invalid="ignore"):
            saved = log_bits + np.log(gain) - 2 * np.log(rate)
            bend = link.rate_curvature(bandwidth) / gain - 2 * gain / rate
        slope = -bandwidth * bend
        return log_s_per_hz - saved, slope

    low = np.full(np.broadcast_shapes(log_bits.shape, log_s_per_hz.shape), band - 60.0)
    high = np.full_like(low, band + 20.0)
    start = np.full_like(low, band) if start is None else np.clip(start, low, high)
    _, log_hz, _ = newton_root(excess, low, high, start, tolerance=ROUNDING)
    with np.errstate(divide="ignore", invalid="ignore"):
        return log_hz, np.where(slope > 0, 1 / slope, 0.0)


class AtPairedDeadline(DeadlineSearch):
    """What each client can keep, at what price, with a band for either direction.

    Parameters
    ----------
    problem : Problem
        P1 of cells under FDD; leading axes of its arrays are draws.
    deadline_s : [..., 1]
        The deadlines.
    up_price : [..., 1]
        mu.
    near : Cheapest, optional
        The answer at a deadline near by, to begin from.
    shares : Near, optional
        Where the last search for shares ended.
    """

    def __init__(
        self,
        problem: Problem,
        deadline_s: FloatArray,
        up_price: FloatArray,
        near: Cheapest | None = None,
        shares: Near | None = None,
    ) -> None:
        self.problem, self.deadline_s, self.up_price = problem, deadline_s, up_price
        self.near, self.roughness, self.convex = near, ROUGHNESS, False
        self.shares = Near() if shares is None else shares
        self.low = problem.kept_min
        self.high = self._reach()
        late = np.any(self.high < self.low, axis=-1, keepdims=True)
        self.high = np.maximum(self.high, self.low)
        self._size_up(late)
        self.spans = [
            (
                np.clip(one.start, self.low, self.high),
                np.clip(one.end, self.low, self.high),
            )
            for one in problem.pieces
        ]
        self.bends = [self._bend(*span) for span in self.spans]
        self.points: dict[int, FloatArray] = {}

    def _reach(self) -> FloatArray:
        """Largest x_k within `HEADROOM` bands, [..., K]; below the least if none is."""
        low, most = self.low, np.maximum(self.problem.kept_max, self.low)
        band = total_band_hz(self.problem, self.up_price) * HEADROOM

        def over(kept: FloatArray) -> FloatArray:
            with np.errstate(divide="ignore"):
                return np.log(np.maximum(self.split(kept).need_hz, 1e-300) / band)

        out, within = over(low) > 0, over(most) <= 0
        reach = most
        if not within.all():  # how far need not be known well: it is four bands off
            below, _ = bracket_root(over, low, most, rtol=1e-4)
            reach = np.where(within, most, below)
        return np.where(out | (self.problem.kept_max < low), -1.0, reach)

    def split(self, kept: FloatArray) -> Split:
        """Return the cheapest pairs of shares."""
        return split_band(
            self.problem.latency, kept, self.deadline_s, self.up_price, self.shares
        )

    def _bend(self, start: FloatArray, end: FloatArray) -> tuple[FloatArray, ...]:
        """Where phi is steepest least, and its least and largest slope, on a piece."""
        first, last = self.split(start), self.split(end - (end - start) * 1e-9)
        at, least = start, first.per_kept_hz
        most = np.fmax(least, last.per_kept_hz)
        if np.all(self._curvature(start, end, first.per_kept_hz) >= 0):
            return at, least, most
        for part in np.linspace(0.0, 1.0, SAMPLES)[1:-1]:
            kept = start + part * (end - start)
            slope = self.split(kept).per_kept_hz
            at = np.where(slope < least, kept, at)
            least, most = np.fmin(least, slope), np.fmax(most, slope)
        return at, least, most

    def _curvature(
        self, kept: FloatArray, end: FloatArray, slope: FloatArray
    ) -> FloatArray:
        """d2phi/dx2 by a step towards the end of the piece, [..., K]."""
        step = STEP * (end - kept)
        ahead = self.split(kept + step).per_kept_hz
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(step > 0, (ahead - slope) / step, 0.0)

    def required_hz(self, kept: FloatArray) -> FloatArray:
        """phi, [..., K] [Hz]."""
        return self.split(kept).need_hz

    def hz_per_s(self, kept: FloatArray, need_hz: FloatArray) -> FloatArray:
        """-dphi/dT, [..., K] [Hz/s]."""
        return self.split(kept).hz_per_s

    def kept(self, s: FloatArray) -> AtPrice:
        """Return where phi less what C5 pays is least, of all pieces."""
        price, best, best_hz = s**-2.0, self.low, self._net_hz(self.low, s)
        fall = counted = np.zeros(np.shape(best))
        for at, piece in enumerate(self.problem.pieces):
            kept, curvature = self._met(at, price * piece.weight)
            net_hz = self._net_hz(kept, s)
            better = net_hz < best_hz
            with np.errstate(divide="ignore", invalid="ignore"):
                here = 2 * price / s * piece.weight / curvature
            here = np.where(curvature > 0, here, 0.0)
            best, best_hz = np.where(better, kept, best), np.fmin(net_hz, best_hz)
            fall = np.where(better, here, fall)
            counted = np.where(better, here * piece.weight, counted)
        return AtPrice(best, fall, np.sum(counted, axis=-1, keepdims=True))

    def _met(self, at: int, pays_hz: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Where dphi/dx meets what C5 pays on a piece, and d2phi/dx2; 0 at an end."""
        (_, end), (bend, least, most) = self.spans[at], self.bends[at]
        low = np.where(pays_hz >= most, end, bend)
        high = np.where(pays_hz <= least, bend, end)
        curvature = np.zeros(())

        def excess(kept: FloatArray) -> tuple[FloatArray, FloatArray]:
            nonlocal curvature
            slope = self.split(kept).per_kept_hz
            curvature = self._curvature(kept, end, slope)
            return slope - pays_hz, curvature

        start = np.clip(self.points.get(at, 0.5 * (bend + end)), low, high)
        tolerance = 4 * TOLERANCE * np.broadcast_to(pays_hz, np.shape(start))
        _, kept, _ = newton_root(excess, low, high, start, tolerance=tolerance)
        self.points[at] = kept
        return kept, np.where(high > low, curvature, 0.0)

    def _net_hz(self, kept: FloatArray, s: FloatArray) -> FloatArray:
        paid = s**-2.0 * self.problem.avoided_by(kept)
        return self.split(kept).need_hz - paid

    def price_range(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """S below which all keep the most, one between, and from where the least."""
        lowest, highest = np.full(np.shape(self.up_price), np.inf), np.zeros(())
        for piece, (start, end), (_, least, most) in zip(
            self.problem.pieces, self.spans, self.bends, strict=True
        ):
            some = (end > start) & (np.asarray(piece.weight) > 0)
            with np.errstate(divide="ignore", invalid="ignore"):
                at_end, at_start = (np.sqrt(piece.weight / x) for x in (most, least))
            at_end = np.where(some & (most > 0), at_end, np.inf)
            at_start = np.where(some & np.isfinite(at_start), at_start, 0.0)
            lowest = np.minimum(lowest, np.min(at_end, axis=-1, keepdims=True))
            highest = np.maximum(highest, np.max(at_start, axis=-1, keepdims=True))
        priced = np.isfinite(lowest) & (highest > 0)
        lowest = np.where(priced, lowest, 1.0) * (1 - 1e-3)
        highest = np.maximum(np.where(priced, highest, 1.0), lowest) * (1 + 1e-3)
        return lowest, np.sqrt(lowest * highest), highest


def total_band_hz(problem: Problem, up_price: FloatArray) -> FloatArray:
    """B + mu B', [..., 1] [Hz]."""
    up_hz = problem.cell.up_bandwidth_hz
    assert up_hz is not None
    return problem.cell.total_bandwidth_hz + up_price * up_hz
