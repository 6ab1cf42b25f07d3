"""FDD: how one client splits its slack between download and upload.

Shapes: ``...`` is draws (no axis for one cell), K clients; a number of each draw is
[..., 1], so that it is broadcast over clients.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from trimwave.base.roots import newton_root_aux
from trimwave.base.tolerances import ROOT_RTOL
from trimwave.base.units import FloatArray
from trimwave.cell.link import Link
from trimwave.problem.latency import RoundLatency


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
    slack = deadline_s - latency.unshared_s(kept)
    bits = latency.shared_down_bits(kept)
    if latency.down.noise == "fixed":
        down = np.sqrt(bits / latency.down.efficiency)
        up = np.sqrt(latency.shared_up_bits / latency.up.efficiency)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            whole = (down + np.sqrt(up_price) * up) / slack
            down_hz, up_hz = down * whole, up * whole / np.sqrt(up_price)
            hz_per_s = whole * whole
    else:
        down_hz, up_hz, hz_per_s = _searched_split(
            latency, bits, slack, up_price, Near() if near is None else near
        )
    late = slack <= 0
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        per_kept = latency.per_kept_s(kept, down_hz)
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
        (latency.up, latency.shared_up_bits, up_price),
    ]

    def early(
        log_rho: FloatArray,
    ) -> tuple[FloatArray, FloatArray, list[FloatArray]]:
        total, falls, shares = np.zeros(()), np.zeros(()), []
        for at, (link, size, price) in enumerate(links):
            start = near.log_hz[at]
            log_hz, slope = _share_at(link, size, np.log(price) - log_rho, start)
            near.log_hz[at], bandwidth = log_hz, np.exp(log_hz)
            shares.append(bandwidth)
            total = total + size / link.rate_bps(bandwidth)
            # d time / d log rho = (-price / rho) B dlogB / dlog rho.
            falls = falls + price * np.exp(-log_rho) * bandwidth * slope
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(slack / total), falls / total, shares

    with np.errstate(divide="ignore", invalid="ignore"):
        safe = np.where(slack > 0, slack, 1.0)
        guess = np.log(latency.down.total_bandwidth_hz / safe)
    low, high = guess - 60.0, guess + 60.0
    if near.log_rho is not None:
        guess = np.clip(near.log_rho, low, high)
    _, log_rho, _, (down_hz, up_hz) = newton_root_aux(
        early, low, high, guess, tolerance=ROOT_RTOL
    )
    near.log_rho = log_rho
    return down_hz, up_hz, np.exp(log_rho)


def _share_at(
    link: Link,
    bits: FloatArray,
    log_s_per_hz: FloatArray,
    start: FloatArray | None,
) -> tuple[FloatArray, FloatArray]:
    """Log B at which a hertz more saves so much time, and -dlogB/dlog of that."""
    band = np.log(link.total_bandwidth_hz)
    with np.errstate(divide="ignore"):
        log_bits = np.log(bits)

    def excess(log_hz: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        bandwidth = np.exp(log_hz)
        rate, gain = link.rate_bps(bandwidth), link.rate_slope(bandwidth)
        with np.errstate(divide="ignore", invalid="ignore"):
            saved = log_bits + np.log(gain) - 2 * np.log(rate)
            bend = link.rate_curvature(bandwidth) / gain - 2 * gain / rate
        slope = -bandwidth * bend
        return log_s_per_hz - saved, slope, slope

    low = np.full(np.broadcast_shapes(log_bits.shape, log_s_per_hz.shape), band - 60.0)
    high = np.full_like(low, band + 20.0)
    start = np.full_like(low, band) if start is None else np.clip(start, low, high)
    _, log_hz, _, slope = newton_root_aux(excess, low, high, start, tolerance=ROOT_RTOL)
    with np.errstate(divide="ignore", invalid="ignore"):
        return log_hz, np.where(slope > 0, 1 / slope, 0.0)
