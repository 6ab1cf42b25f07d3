"""A trace: measured links, replayed over rounds or over seconds.

Shapes: S samples, K clients.
"""

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trimwave.base.columns import Columns
from trimwave.base.errors import InputError
from trimwave.base.units import FloatArray, IntArray, db_to_linear
from trimwave.cell.link import DIRECTIONS, Direction
from trimwave.cell.timeline import Timeline

LinkKind = Literal["gain_db", "snr_db", "rate_bps"]
"""What a trace has of a link: its gain, its SNR with the noise of the whole band, or
the rate itself."""

WORDS: dict[LinkKind, str] = {"gain_db": "gain", "snr_db": "SNR", "rate_bps": "rate"}
"""By kind, what one value is called."""

WHOLE = re.compile(r"[+-]?\d{1,15}(\.0*)?", re.ASCII)
"""An id that is a number, as programs write whole ones."""

Holes = Literal["error", "hold", "absent"]
"""What a sample without a value of a client means: a fault of the file, the value
before it, or that the client is not there."""


Samples = int | slice
"""One sample, or several."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """Measured links and devices, replayed; a trace that ends starts again."""

    kind: LinkKind
    """What `links` are."""
    links: FloatArray
    """[S, 2, K] down then up, as `kind` says; nan where the client is not there."""
    present: NDArray[np.bool_]
    """[S, K] whether the client is there."""
    ids: tuple[str, ...]
    """K names of the clients."""
    timeline: Timeline | None = None
    """When the samples hold; None = one sample a round."""
    speed_flops_per_s: FloatArray | None = None
    """[S, K] f_k of each sample [FLOP/s], nan where the client is not there; None = as
    the cell has it."""
    places: "Places | None" = field(default=None, repr=False)
    """Where a file has these values; None = from no file."""

    @property
    def num_samples(self) -> int:
        """S."""
        return len(self.links)

    def sample_of(self, round_index: int, clock_s: float) -> int:
        """Return the sample that a round begins in: by its number, or by the clock."""
        if self.timeline is None:
            return round_index % self.num_samples
        return self.timeline.sample_at(clock_s)

    @cached_property
    def carries(self) -> dict[Direction, NDArray[np.bool_]]:
        """[S, K] where a link carries anything: not at a rate of 0, by direction."""
        dead = (self.links == 0) & (self.kind == "rate_bps")
        return {one: ~dead[:, number] for number, one in enumerate(DIRECTIONS)}

    @property
    def ready(self) -> NDArray[np.bool_]:
        """[S, K] who is there, with links that carry something."""
        return self.present & self.carries["down"] & self.carries["up"]

    @property
    def names(self) -> tuple[str, ...] | None:
        """K ids, unless they are only numbers."""
        return None if all(WHOLE.fullmatch(one) for one in self.ids) else self.ids

    def linear(self, sample: Samples) -> dict[Direction, FloatArray]:
        """Return gains or SNRs as ratios, or rates [bit/s], [..., K], by direction.

        1 where the client is not there, or a link carries nothing.
        """
        found = {}
        for number, direction in enumerate(DIRECTIONS):
            values = self.links[sample, number]
            if self.kind != "rate_bps":
                values = db_to_linear(values)
            known = self.present[sample] & self.carries[direction][sample]
            found[direction] = np.where(known, values, 1.0)
        return found

    def speed_of(self, sample: Samples, otherwise: FloatArray) -> FloatArray:
        """Return the speeds, [..., K] [FLOP/s]; `otherwise` where there are none."""
        if self.speed_flops_per_s is None:
            return otherwise
        here = self.present[sample]
        return np.where(here, self.speed_flops_per_s[sample], otherwise)

    def require_clients(self, num_clients: int) -> None:
        """Refuse a trace of another number of clients.

        Raises
        ------
        InputError
            Naming both numbers.
        """
        if (traced := len(self.ids)) != num_clients:
            raise InputError(
                f"the trace has {traced} clients, the cell {num_clients}; "
                "set `cell.num_clients` to the trace's number."
            )


@dataclass(frozen=True, slots=True)
class Places:
    """Where each value of a trace stands in its file."""

    found: Columns
    rows: IntArray
    """Row by sample and client, [S, K]; -1 = none."""
    key: str
    """The column that tells samples apart."""
    names: dict[Direction, str]
    """The columns of the two directions."""

    def of(self, sample: int, client: int, direction: Direction) -> str:
        """Return file, line and column, and who the file says it is."""
        row = int(self.rows[sample, client])
        where = self.found.where(row, self.names[direction])
        return f"{where}: {pair(self.found, row, self.key)}"


def pair(found: Columns, row: int, key: str) -> str:
    """Say of which sample and client a row is."""
    return f"{when(key, found.values[key][row])}, client {found.texts['client'][row]}"


def when(key: str, value: float) -> str:
    """Say which sample it is: ``round 3``, or ``second 1.5``."""
    return f"{'round' if key == 'round' else 'second'} {value:.10g}"
