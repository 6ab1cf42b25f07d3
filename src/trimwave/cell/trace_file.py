"""A trace from a table: one row per sample and client, holes as the recipe says.

Shapes: S samples, K clients; a row of the table is one of both.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trimwave.base.columns import Columns, read_columns
from trimwave.base.errors import InputError
from trimwave.base.units import FloatArray, IntArray
from trimwave.cell.timeline import Timeline
from trimwave.cell.trace import WORDS, Holes, LinkKind, Places, Trace, pair, when
from trimwave.cell.trace_clients import clients_of
from trimwave.cell.trace_columns import (
    EXPECTED,
    TRACE_COLUMNS,
    check_header,
    kinds_of,
    link_names,
)

LONGEST_STEP = 1.5
"""Times the usual step, from where a step between samples is a gap: below the 2 of one
sample that is missing, above the jitter of a logger."""

MOST_VALUES = 10**8
"""Samples times clients that are held in memory at the most."""


def read_trace(
    path: Path, holes: Holes = "error", ids: Sequence[str] | None = None
) -> Trace:
    """Read a trace; its rows may stand in any order.

    Columns: `round`, numbered from anywhere without gaps, or `time_s`, whose first
    value is the run's second 0; `client`, any text; for each direction a gain, an SNR
    or a rate; optional `available` (0 or 1) and a speed.

    Parameters
    ----------
    path : Path
        A table as `read_columns` takes it.
    holes : Holes
        What it means that a row or a value of a client is missing in a sample.
    ids : sequence of str, optional
        The clients' ids in the cell's order; without, they are in the order of their
        numbers, or of their texts with the numbers within them in order.

    Raises
    ------
    InputError
        If it is no such table, or a sample, a client or a value is missing, there
        twice or cannot be; names the line.
    """
    found = read_columns(path, TRACE_COLUMNS, check_header, EXPECTED)
    names, client = clients_of(found, ids, holes)
    table = _Table(
        found=found,
        key="round" if "round" in found.values else "time_s",
        kind=kinds_of(found.headings)[0],
        names=names,
        client=client,
        holes=holes,
    )
    return table.trace()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Table:
    """The rows of a trace's file, and who each is of."""

    found: Columns
    key: str
    """The column that tells samples apart."""
    kind: LinkKind
    names: tuple[str, ...]
    """K names of the clients."""
    client: IntArray
    """Client of each row."""
    holes: Holes

    def trace(self) -> Trace:
        """Lay the rows out by sample and client."""
        samples, at = self._samples()
        here = _available(self.found)
        columns = [self.found.values[name] for name in self._value_names]
        rows = np.full((len(samples), len(self.names)), -1, dtype=np.int64)
        rows[at, self.client] = np.arange(len(at))
        there, *values = (_laid_out(rows, column) for column in (here, *columns))
        if self.holes == "hold":
            rows, there = _held_rows(rows), _held(there)
            values = [_held(one) for one in values]
        missing = np.isnan(np.sum(values, axis=0))
        if self.holes != "absent":
            self._check_values(samples, rows, (there != 0) & missing)
        present = (there == 1) & ~missing
        self._warn_of_never(present)
        for one in values:
            one[~present] = np.nan
        return Trace(
            kind=self.kind,
            links=np.stack(values[:2], axis=1),
            present=present,
            ids=self.names,
            timeline=_timeline(samples) if self.key == "time_s" else None,
            speed_flops_per_s=values[2] if len(values) > 2 else None,
            places=Places(self.found, rows, self.key, link_names(self.kind)),
        )

    @property
    def _value_names(self) -> list[str]:
        """Columns of numbers: down, up, and the speed if there is one."""
        names, speed = [*link_names(self.kind).values()], "speed_flops_per_s"
        return [*names, speed] if speed in self.found.values else names

    def _samples(self) -> tuple[FloatArray, IntArray]:
        """Return round or second of each sample, and the sample of each row."""
        samples, at = np.unique(self.found.values[self.key], return_inverse=True)
        self._check_pairs(at * len(self.names) + self.client)
        if self.key == "round":
            samples, at = self._all_rounds(samples, at)
        else:
            samples, at = self._all_seconds(samples, at)
        if self.holes == "error":
            self._check_rows(samples, at)
        self._check_size(len(samples))
        return samples, at

    def _check_pairs(self, pairs: IntArray) -> None:
        """Refuse a second row of one sample and client."""
        found = self.found
        _, first, of = np.unique(pairs, return_index=True, return_inverse=True)
        again = np.flatnonzero(first[of] != np.arange(len(pairs)))
        if again.size:
            row, earlier = int(again[0]), int(first[of][again[0]])
            raise InputError(
                f"{found.path}, line {found.lines[row]}: two {WORDS[self.kind]}s for "
                f"{pair(found, row, self.key)}, the first in line "
                f"{found.lines[earlier]}; keep one."
            )

    def _all_rounds(
        self, samples: FloatArray, at: IntArray
    ) -> tuple[FloatArray, IntArray]:
        """Put in the rounds of a gap, which hold the last one's values."""
        gaps = np.flatnonzero(np.diff(samples) != 1)
        if not gaps.size:
            return samples, at
        if self.holes != "hold":
            self._refuse_gap(samples, gaps[0], "the rounds between", "hold")
        first, last = samples[0], samples[-1]
        self._check_size(int(last - first) + 1)
        at = (self.found.values["round"] - first).astype(np.int64)
        return np.arange(first, last + 1), at

    def _all_seconds(
        self, samples: FloatArray, at: IntArray
    ) -> tuple[FloatArray, IntArray]:
        """Put in a sample without anybody where nobody's was written for a while."""
        steps_s = np.diff(samples)
        usual_s = _usual_step(samples)
        gaps = np.flatnonzero(steps_s > LONGEST_STEP * usual_s)
        if not gaps.size or self.holes == "hold":
            return samples, at
        if self.holes == "error":
            what = f"a sample every {usual_s:g} s, as it mostly has"
            self._refuse_gap(samples, gaps[0], what, "hold or absent")
        at = at + np.searchsorted(gaps, at, side="left")
        return np.insert(samples, gaps + 1, samples[gaps] + usual_s), at

    def _refuse_gap(
        self, samples: FloatArray, gap: int, needs: str, remedy: str
    ) -> None:
        found, (before, after) = self.found, samples[gap : gap + 2]
        row = int(np.flatnonzero(found.values[self.key] == after)[0])
        raise InputError(
            f"{found.path}, line {found.lines[row]}: after {when(self.key, before)} "
            f"comes {when(self.key, after)}; a trace needs {needs}, or set "
            f"`radio.trace_holes` = {remedy}."
        )

    def _check_rows(self, samples: FloatArray, at: IntArray) -> None:
        """Refuse a sample that lacks a client, before there is an array of all."""
        found, names = self.found, self.names
        short = np.flatnonzero(np.bincount(at, minlength=len(samples)) < len(names))
        if short.size:
            rows = np.flatnonzero(at == short[0])
            missing = np.setdiff1d(np.arange(len(names)), self.client[rows])[0]
            raise InputError(
                f"{found.path}: no {WORDS[self.kind]} for "
                f"{when(self.key, samples[short[0]])}, client {names[missing]}; it "
                f"begins in line {found.lines[rows[0]]}, and a trace needs every "
                "client in every one, or `radio.trace_holes` = hold or absent."
            )

    def _check_size(self, num_samples: int) -> None:
        """Refuse a trace of next to nothing but holes, before there is an array."""
        rows, num_clients = len(self.found.lines), len(self.names)
        if num_samples * num_clients > max(MOST_VALUES, 20 * rows):
            raise InputError(
                f"{self.found.path}: {rows} rows for {num_samples} samples of "
                f"{num_clients} clients; give all clients the same times, such as "
                "whole seconds."
            )

    def _check_values(
        self, samples: FloatArray, rows: IntArray, unknown: NDArray[np.bool_]
    ) -> None:
        """Refuse a client that is there with a value missing, or none to hold."""
        if not unknown.any():
            return
        sample, k = (int(one[0]) for one in np.nonzero(unknown))
        found, row = self.found, int(rows[sample, k])
        if self.holes == "hold":
            raise InputError(
                f"{found.path}: nothing to hold for client {self.names[k]} at "
                f"{when(self.key, samples[sample])}, before its first value; begin "
                "the trace where every client has one, or set `radio.trace_holes` = "
                "absent."
            )
        missing = (one for one in self._value_names if np.isnan(found.values[one][row]))
        raise InputError(
            f"{found.where(row, next(missing))}: no value; fill it in, or set "
            "`radio.trace_holes` = hold or absent."
        )

    def _warn_of_never(self, present: NDArray[np.bool_]) -> None:
        """Say who is in no sample."""
        never = [self.names[k] for k in np.flatnonzero(~present.any(axis=0))]
        if never:
            more = f" (so are {len(never) - 1} more)" if len(never) > 1 else ""
            warnings.warn(
                f"{self.found.path}: client {never[0]} is never there{more}.",
                stacklevel=5,
            )


def _available(found: Columns) -> FloatArray:
    """Return whether each row says that the client is there, 0 or 1."""
    here = found.values.get("available")
    if here is None:
        return np.ones(len(found.lines))
    for row in np.flatnonzero((here != 0) & (here != 1))[:1].tolist():
        raise InputError(
            f"{found.where(row, 'available')}: must be 0 or 1, got {here[row]:g}."
        )
    return here


def _laid_out(rows: IntArray, column: FloatArray) -> FloatArray:
    """Lay a column out by sample and client, [S, K]; nan where there is no row."""
    return np.where(rows >= 0, column[rows], np.nan)


def _held_rows(rows: IntArray) -> IntArray:
    """Put the last row of each client in place of none, [S, K]; -1 before it."""
    last = _last(rows >= 0)
    return np.where(last >= 0, np.take_along_axis(rows, np.maximum(last, 0), 0), -1)


def _held(values: FloatArray) -> FloatArray:
    """Put the last value of each client in place of nan, [S, K]; nan before it."""
    last = _last(~np.isnan(values))
    kept = np.take_along_axis(values, np.maximum(last, 0), axis=0)
    return np.where(last >= 0, kept, np.nan)


def _last(known: NDArray[np.bool_]) -> IntArray:
    """Return the last sample with something known, [S, K]; -1 before the first."""
    at = np.where(known, np.arange(len(known))[:, None], -1)
    last: IntArray = np.maximum.accumulate(at, axis=0)
    return last


def _usual_step(samples: FloatArray) -> float:
    """Return the median time between samples [s]; 1 where there is one sample."""
    return float(np.median(np.diff(samples))) if len(samples) > 1 else 1.0


def _timeline(samples: FloatArray) -> Timeline:
    """Return when the samples hold; the last one for the usual time."""
    starts_s = samples - samples[0]
    period_s = float(starts_s[-1]) + _usual_step(samples)
    return Timeline(starts_s=starts_s, period_s=period_s)
