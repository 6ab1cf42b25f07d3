"""When each sample of a trace in seconds holds, and what is done by when.

A sample holds until the next one; after the last the trace starts again. S samples.
"""

from dataclasses import dataclass
from functools import cached_property
from math import floor

import numpy as np
from numpy.typing import NDArray

from trimwave.base.tolerances import CLOCK_ROUNDING
from trimwave.base.units import FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Timeline:
    """The samples of a trace on the run's virtual clock, repeated for ever."""

    starts_s: FloatArray
    """[S] when each sample begins, ascending, the first at 0 [s]."""
    period_s: float
    """When the trace starts again, after the last of `starts_s` [s]."""

    @cached_property
    def _ends_s(self) -> FloatArray:
        """[S + 1] where samples begin and end [s]."""
        return np.append(self.starts_s, self.period_s)

    @cached_property
    def lengths_s(self) -> FloatArray:
        """[S] how long each sample holds [s]."""
        return np.diff(self._ends_s)

    def sample_at(self, clock_s: float) -> int:
        """Return which sample holds at a second of the clock.

        A second that rounding keeps short of a sample's start counts as in it.
        """
        return self._place(clock_s)[1]

    def next_s(self, clock_s: float, wanted: NDArray[np.bool_]) -> float:
        """Return when a wanted sample holds next: now, or when one begins [s].

        Parameters
        ----------
        clock_s : float
            Now.
        wanted : [S] of bool
            Which samples; at least one.
        """
        cycle, now = self._place(clock_s)
        if wanted[now]:
            return clock_s
        after = np.flatnonzero(wanted)
        later = after[after > now]
        if later.size:
            return cycle * self.period_s + float(self.starts_s[later[0]])
        return (cycle + 1) * self.period_s + float(self.starts_s[after[0]])

    def elapsed_s(self, per_s: FloatArray, clock_s: float, amount: float) -> float:
        """Return how long something takes whose speed changes from sample to sample.

        The smallest t with integral of ``per_s`` from `clock_s` to `clock_s` + t equal
        to `amount`: eq. (8) where the rate changes. The mean of the rates is therefore
        taken over time, and weighs each sample by what is moved in it.

        Parameters
        ----------
        per_s : [S]
            What is done in a second of each sample, at least 0, somewhere above it.
        clock_s : float
            When it begins.
        amount : float
            What is to be done, such as bits.
        """
        if amount <= 0:
            return 0.0
        cycle, now = self._place(clock_s)
        within_s = max(clock_s - cycle * self.period_s, float(self._ends_s[now]))
        left_s = float(self._ends_s[now + 1]) - within_s
        if amount <= per_s[now] * left_s:  # to the last digit where nothing changes
            return amount / float(per_s[now])
        done = np.append(0.0, np.cumsum(per_s * self.lengths_s))
        before = float(done[now]) + float(per_s[now]) * (within_s - self._ends_s[now])
        cycles, rest = divmod(before + amount, float(done[-1]))
        if rest <= 0:  # the end of a cycle, not the start of the next
            cycles, rest = cycles - 1, float(done[-1])
        at = int(np.searchsorted(done, rest, side="left")) - 1
        end_s = self._ends_s[at] + (rest - done[at]) / per_s[at]
        return float(cycles * self.period_s + (end_s - within_s))

    def _place(self, clock_s: float) -> tuple[int, int]:
        """Return how often the trace has started again, and the sample."""
        near_s = clock_s + CLOCK_ROUNDING * max(clock_s, self.period_s)
        cycle = floor(near_s / self.period_s)
        within_s = near_s - cycle * self.period_s
        at = int(np.searchsorted(self.starts_s, within_s, side="right")) - 1
        return cycle, max(at, 0)
