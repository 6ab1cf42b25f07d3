"""Who is out of reach: links so weak that no share of the band helps."""

from typing import NamedTuple

import numpy as np

from trimwave.base.units import linear_to_db
from trimwave.cell.cell import Cell
from trimwave.cell.link import DIRECTIONS, Direction

LEAST_RATE_BPS = 1.0
"""A link that carries less with the whole band is none: a round would take a year for
4 MB. The slowest radios that are built carry some 10 bit/s."""


class OutOfReach(NamedTuple):
    """A link that carries next to nothing."""

    client: int
    who: str
    """The client as messages name it."""
    direction: Direction
    rate_bps: float
    """What it carries with all the band that it may have [bit/s]."""
    snr_db: float

    def __str__(self) -> str:
        return f"{self.who} {self.why}"

    @property
    def why(self) -> str:
        """What is wrong, without the client's number."""
        return (
            f"is out of reach: its {self.direction}link, at an SNR of "
            f"{self.snr_db:.4g} dB, carries {self.rate_bps:.1e} bit/s with all the "
            f"band that it may have, less than {LEAST_RATE_BPS:g} bit/s"
        )


def out_of_reach(cell: Cell) -> OutOfReach | None:
    """Return the weakest link of a cell if it carries next to nothing."""
    weakest = None
    for direction in DIRECTIONS:
        link = cell.link(direction)
        most_hz = np.inf if cell.bandwidth_max_hz is None else cell.bandwidth_max_hz
        rates = link.rate_bps(np.minimum(link.total_bandwidth_hz, most_hz))
        client = int(np.argmin(rates))
        if rates[client] < (weakest.rate_bps if weakest else LEAST_RATE_BPS):
            snr_db = float(linear_to_db(link.snr[client]))
            who = cell.who(client)
            weakest = OutOfReach(client, who, direction, float(rates[client]), snr_db)
    return weakest
