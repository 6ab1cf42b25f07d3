"""The same cell in slow motion, for a testbed that cannot carry its rates."""

from dataclasses import replace

from trimwave.cell.cell import Cell

RATES = (
    *("total_bandwidth_hz", "up_bandwidth_hz", "resource_block_hz"),
    *("bandwidth_min_hz", "bandwidth_max_hz", "rate_down_bps", "rate_up_bps"),
    *("speed_flops_per_s", "server_speed_flops_per_s"),
)
"""What all seconds are in inverse proportion to, with the SNRs as they are."""


def slower(cell: Cell, slowdown: float) -> Cell:
    """Return a cell whose links and devices are so many times slower.

    Band, shares, given rates and speeds are divided; the SNRs, each with the noise of
    the whole band, stay, so that eq. (7) gives every rate divided, with either noise.
    The plan of a method that minimises time keeps its pruning rates and the parts of
    the band; all its seconds are multiplied.

    Parameters
    ----------
    cell : Cell
        As it is.
    slowdown : float
        Above 0; 1 = the same.
    """
    found = {name: getattr(cell, name) for name in RATES}
    return replace(
        cell, **{name: one / slowdown for name, one in found.items() if one is not None}
    )
