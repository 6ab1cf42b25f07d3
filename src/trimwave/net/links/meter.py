"""When bytes passed over links: their counts, read again and again."""

import math
import threading
import time
from typing import Self

import numpy as np

from trimwave.base.units import BITS_PER_BYTE
from trimwave.net.links.links import Links

SAMPLE_S = 0.05
"""Between two readings."""

STEP_BYTES = 4 << 10
"""What a link can carry between two readings that are compared: it takes some whole
pieces or frames for a slow one not to look idle in between."""

IDLE = 0.2
"""Part of its rate below which a link counts as idle: some byte always passes."""


class Meter:
    """Reads the counts of links in a thread of its own."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._times_s: list[float] = []
        self._counts: list[list[tuple[int, int]]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)

    def __enter__(self) -> Self:
        self._read()
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def started_s(self) -> float:
        """When the first reading was, on the monotonic clock [s]."""
        return self._times_s[0]

    def passed(
        self, client: int, way: int, from_s: float, to_s: float, rate_bps: float
    ) -> tuple[float, float]:
        """Return seconds that a link carried bytes in, and how many bytes.

        Parameters
        ----------
        client : int
            k.
        way : int
            0 = down, 1 = up.
        from_s, to_s : float
            Where to look, on the monotonic clock [s].
        rate_bps : float
            The link's rate: readings with less than `IDLE` of it between them, as when
            one end asks whether there is news, do not count as time; inf = all do.
        """
        number = len(self._counts)  # what is appended from here on is of no interest
        times_s = np.array(self._times_s[:number])
        bytes_ = np.array([one[client][way] for one in self._counts[:number]], float)
        inside = np.flatnonzero((times_s >= from_s) & (times_s <= to_s))
        if not inside.size:
            return 0.0, 0.0
        first, last = max(0, int(inside[0]) - 1), min(int(inside[-1]) + 1, number - 1)
        floor, stride = 0.0, 1
        if np.isfinite(rate_bps):
            floor = IDLE * rate_bps / BITS_PER_BYTE
            step_s = STEP_BYTES * BITS_PER_BYTE / rate_bps
            stride = max(1, math.ceil(step_s / SAMPLE_S))
        taken = np.append(np.arange(first, last, stride), last)
        steps_s, moved = np.diff(times_s[taken]), np.diff(bytes_[taken])
        busy = moved > floor * steps_s
        return float(steps_s[busy].sum()), float(moved.sum())

    def _read(self) -> None:
        counts = [*self._links.counts()]
        self._counts.append(counts)
        self._times_s.append(time.monotonic())

    def _run(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            self._read()
