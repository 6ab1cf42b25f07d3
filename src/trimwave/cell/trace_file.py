"""A trace from a table: one row per sample and client, holes as the recipe says.

Shapes: S samples, K clients; a row of the table is one of both.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trimwave.base.columns import Column, Columns, read_columns
from trimwave.base.errors import InputError, nearest
from trimwave.base.units import FloatArray, IntArray
from trimwave.cell.link import DIRECTIONS, Direction
from trimwave.cell.plausible import GAIN, RATE, SNR, SPEED, TIME
from trimwave.cell.timeline import Timeline
from trimwave.cell.trace import WORDS, Holes, LinkKind, Places, Trace, pair, when

WHOLE = re.compile(r"[+-]?\d{1,15}(\.0*)?", re.ASCII)
"""An id that is a number, as programs write whole ones."""

MOST_VALUES = 10**8
"""Samples times clients that are held in memory at the most."""

BIT_PER_S = {"bit/s": ("bps", 1.0), "kbit/s": ("kbps", 1e3), "Mbit/s": ("mbps", 1e6)}
RATE_OR_NONE = replace(RATE, none_is=0.0)
"""A rate as it is measured: 0 = nothing got through."""

FLOP_PER_S = {"GFLOP/s": ("gflops", 1e9), "TFLOP/s": ("tflops", 1e12)}


def _links() -> list[Column]:
    """Return the columns of links, all of which may have holes."""
    columns = []
    for direction in DIRECTIONS:
        for name, quantity in (("gain", GAIN), ("snr", SNR)):
            heading = f"{name}_{direction}_db"
            columns.append(
                Column(heading, quantity, required=False, may_be_missing=True)
            )
        for unit, (suffix, factor) in BIT_PER_S.items():
            columns.append(
                Column(
                    f"rate_{direction}_{suffix}",
                    RATE_OR_NONE if factor == 1 else RATE_OR_NONE.in_unit(unit, factor),
                    required=False,
                    gives=f"rate_{direction}_bps",
                    factor=factor,
                    may_be_missing=True,
                )
            )
    return columns


TRACE_COLUMNS = (
    Column("round", required=False),
    Column("time_s", TIME, required=False),
    Column("client", is_text=True),
    *_links(),
    Column("available", required=False),
    Column("speed_flops_per_s", SPEED, required=False, may_be_missing=True),
    *(
        Column(
            f"speed_{suffix}",
            SPEED.in_unit(unit, factor),
            required=False,
            gives="speed_flops_per_s",
            factor=factor,
            may_be_missing=True,
        )
        for unit, (suffix, factor) in FLOP_PER_S.items()
    ),
)
"""What a trace may have; `client`, one of the first two and one pair of links."""

EXPECTED = "round or time_s, client, gain_down_db, gain_up_db (or snr_..., rate_...)"


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
    found = read_columns(path, TRACE_COLUMNS, expected=EXPECTED)
    key = _one_of(found, "round", "time_s")
    kind = _kind(found)
    names, client = _clients(found, ids, holes)
    samples, at = np.unique(found.values[key], return_inverse=True)
    _check_pairs(found, key, kind, at * len(names) + client)
    if key == "round":
        samples, at = _rounds(found, samples, at, holes)
    here = _available(found)
    if holes == "error":
        _check_holes(found, key, kind, samples, at, client, names)
        _check_values(found, kind, here)
    _check_size(found, len(samples), len(names))
    rows = np.full((len(samples), len(names)), -1, dtype=np.int64)
    rows[at, client] = np.arange(len(at))
    columns = [found.values[name] for name in _value_names(found, kind)]
    there, *values = (_at(rows, column) for column in (here, *columns))
    if holes == "hold":
        rows, there = _held_rows(rows), _held(there)
        values = [_held(one) for one in values]
    missing = np.isnan(np.sum(values, axis=0))
    present = (there == 1) & ~missing
    if holes == "hold":
        _check_begun(found, key, samples, names, (there != 0) & missing)
    for one in values:
        one[~present] = np.nan
    return Trace(
        kind=kind,
        links=np.stack(values[:2], axis=1),
        present=present,
        ids=names,
        timeline=_timeline(samples) if key == "time_s" else None,
        speed_flops_per_s=values[2] if len(values) > 2 else None,
        places=Places(found, rows, key, _link_names(kind)),
    )


def _link_names(kind: LinkKind) -> dict[Direction, str]:
    word, unit = kind.split("_")
    return {direction: f"{word}_{direction}_{unit}" for direction in DIRECTIONS}


def _value_names(found: Columns, kind: LinkKind) -> list[str]:
    """Name the columns of numbers: down, up, and the speed if there is one."""
    speed = "speed_flops_per_s"
    return [*_link_names(kind).values(), *([speed] if speed in found.values else ())]


def _one_of(found: Columns, *keys: str) -> str:
    """Return which column tells the samples apart."""
    given = [key for key in keys if key in found.values]
    if len(given) == 1:
        return given[0]
    where = f"{found.path}, line {found.header_line}"
    if given:
        raise InputError(f"{where}: both `{keys[0]}` and `{keys[1]}`; keep one.")
    raise InputError(f"{where}: no column `{keys[0]}` or `{keys[1]}`; name one so.")


def _kind(found: Columns) -> LinkKind:
    """Return what the trace has of its links."""
    where = f"{found.path}, line {found.header_line}"
    given = {
        kind: [name for name in _link_names(kind).values() if name in found.values]
        for kind in WORDS
    }
    kinds = [kind for kind, names in given.items() if names]
    if len(kinds) != 1:
        what = "no column of links" if not kinds else "links in two ways"
        firsts = [f"`{found.headings[given[kind][0]]}`" for kind in kinds]
        listed = f" ({', '.join(firsts)})" if firsts else ""
        raise InputError(
            f"{where}: {what}{listed}; expected a gain, an SNR or a rate for each "
            "direction, such as `snr_down_db` and `snr_up_db`."
        )
    (kind,) = kinds
    missing = [name for name in _link_names(kind).values() if name not in given[kind]]
    if missing:
        raise InputError(
            f"{where}: no column `{missing[0]}`, but "
            f"`{found.headings[given[kind][0]]}`; a trace needs both directions."
        )
    return kind


def _clients(
    found: Columns, ids: Sequence[str] | None, holes: Holes
) -> tuple[tuple[str, ...], IntArray]:
    """Return the names of the clients, and which of them each row is of."""
    texts = found.texts["client"]
    numbers = np.array([bool(WHOLE.fullmatch(text)) for text in texts])
    if numbers.all() and ids is None:
        texts = tuple(str(int(float(text))) for text in texts)
    elif ids is None and numbers.any():
        minority = numbers if 2 * numbers.sum() < len(texts) else ~numbers
        row = int(np.flatnonzero(minority)[0])
        rest = "no number" if numbers[~minority].all() else "a number"
        raise InputError(
            f"{found.where(row, 'client')}: the id {texts[row]!r} is {rest}, unlike "
            "most others; correct it, or name the clients in `cell.clients`."
        )
    names = tuple(ids) if ids is not None else tuple(sorted(set(texts), key=_natural))
    number = {name: k for k, name in enumerate(names)}
    for row, text in enumerate(texts):
        if text not in number:
            raise InputError(
                f"{found.where(row, 'client')}: the cell has no client {text!r}; "
                f"{nearest(text, number)}"
            )
    silent = [name for name in names if name not in set(texts)]
    if silent and holes != "absent":
        raise InputError(
            f"{found.path}: nothing of client {silent[0]}; every client of the cell "
            "needs rows, or `radio.trace_holes` = absent."
        )
    return names, np.array([number[text] for text in texts])


def _natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Order texts as people do: ``ue2`` before ``ue10``, -1 before 0."""
    if WHOLE.fullmatch(text):
        return ((0, int(float(text)), ""),)
    parts = re.split(r"(\d+)", text)
    return tuple(
        (1, int(part), "") if part.isdecimal() else (2, 0, part) for part in parts
    )


def _check_pairs(found: Columns, key: str, kind: LinkKind, pairs: IntArray) -> None:
    """Refuse a second row of one sample and client."""
    _, first, of = np.unique(pairs, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[of] != np.arange(len(pairs)))
    if again.size:
        row, earlier = int(again[0]), int(first[of][again[0]])
        raise InputError(
            f"{found.path}, line {found.lines[row]}: two {WORDS[kind]}s for "
            f"{pair(found, row, key)}, the first in line {found.lines[earlier]}; keep "
            "one."
        )


def _rounds(
    found: Columns, rounds: FloatArray, at: IntArray, holes: Holes
) -> tuple[FloatArray, IntArray]:
    """Return all rounds, and which each row is of; a gap is held, or refused."""
    gaps = np.flatnonzero(np.diff(rounds) != 1)
    if not gaps.size:
        return rounds, at
    if holes != "hold":
        before, after = rounds[gaps[0] : gaps[0] + 2]
        row = int(np.flatnonzero(found.values["round"] == after)[0])
        raise InputError(
            f"{found.path}, line {found.lines[row]}: after round {before:.0f} comes "
            f"round {after:.0f}; a trace needs the rounds between, or number them one "
            "after the other, or set `radio.trace_holes` = hold."
        )
    first, last = rounds[0], rounds[-1]
    _check_size(found, int(last - first) + 1, 1)
    return np.arange(first, last + 1), (found.values["round"] - first).astype(np.int64)


def _check_size(found: Columns, num_samples: int, num_clients: int) -> None:
    """Refuse a trace of next to nothing but holes, before there is an array of it."""
    if num_samples * num_clients > max(MOST_VALUES, 20 * len(found.lines)):
        raise InputError(
            f"{found.path}: {len(found.lines)} rows for {num_samples} samples of "
            f"{num_clients} clients; give all clients the same times, such as whole "
            "seconds."
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


def _check_holes(
    found: Columns,
    key: str,
    kind: LinkKind,
    samples: FloatArray,
    at: IntArray,
    client: IntArray,
    names: tuple[str, ...],
) -> None:
    """Refuse a sample that lacks a client, before there is an array of all pairs."""
    short = np.flatnonzero(np.bincount(at, minlength=len(samples)) < len(names))
    if short.size:
        rows = np.flatnonzero(at == short[0])
        missing = np.setdiff1d(np.arange(len(names)), client[rows])[0]
        raise InputError(
            f"{found.path}: no {WORDS[kind]} for {when(key, samples[short[0]])}, "
            f"client {names[missing]}; the {key.partition('_')[0]} begins in line "
            f"{found.lines[rows[0]]}, and a trace needs every client in every one, or "
            "`radio.trace_holes` = hold or absent."
        )


def _check_values(found: Columns, kind: LinkKind, here: FloatArray) -> None:
    """Refuse an empty cell of a client that is there."""
    for name in _value_names(found, kind):
        for row in np.flatnonzero(np.isnan(found.values[name]) & (here == 1))[:1]:
            raise InputError(
                f"{found.where(int(row), name)}: no value; fill it in, or set "
                "`radio.trace_holes` = hold or absent."
            )


def _at(rows: IntArray, column: FloatArray) -> FloatArray:
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


def _check_begun(
    found: Columns,
    key: str,
    samples: FloatArray,
    names: tuple[str, ...],
    unknown: NDArray[np.bool_],
) -> None:
    """Refuse a client of whom nothing was measured yet."""
    if unknown.any():
        sample, k = (int(one[0]) for one in np.nonzero(unknown))
        raise InputError(
            f"{found.path}: nothing to hold for client {names[k]} at "
            f"{when(key, samples[sample])}, before its first value; begin the trace "
            "where every client has one, or set `radio.trace_holes` = absent."
        )


def _timeline(samples: FloatArray) -> Timeline:
    """Return when the samples hold; the last one as long as the one before it."""
    step_s = samples[-1] - samples[-2] if len(samples) > 1 else 1.0
    starts_s = samples - samples[0]
    return Timeline(starts_s=starts_s, period_s=float(starts_s[-1] + step_s))
