"""The same cell with slower links, for a testbed that cannot carry its rates."""

from dataclasses import replace

from trimwave.cell.cell import Cell

IN_PROPORTION = (
    *("total_bandwidth_hz", "up_bandwidth_hz", "resource_block_hz"),
    *("bandwidth_min_hz", "bandwidth_max_hz", "rate_down_bps", "rate_up_bps"),
)
"""What every rate of a cell is in proportion to, its SNRs as they are."""


def slower(cell: Cell, slowdown: float) -> Cell:
    """Return a cell whose links are so many times slower, at any shares of the band.

    Band, shares and given rates are divided; the SNRs, each with the noise of the whole
    band, stay. So eq. (7) gives every rate divided, with either noise, and a plan that
    waits for links alone stays as it was, in all times and shares.

    Parameters
    ----------
    cell : Cell
        As it is.
    slowdown : float
        Above 0; 1 = the same.
    """
    found = {name: getattr(cell, name) for name in IN_PROPORTION}
    return replace(
        cell, **{name: one / slowdown for name, one in found.items() if one is not None}
    )
