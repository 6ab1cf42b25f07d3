"""The trace of a recipe, read once however often it is asked for."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from trimwave.base.stored import sha256_of
from trimwave.base.units import FloatArray
from trimwave.cell.cell import Cell
from trimwave.cell.link import DIRECTIONS, Direction
from trimwave.cell.reach import LEAST_RATE_BPS
from trimwave.cell.timeline import Timeline
from trimwave.cell.trace import Holes, LinkKind, Trace
from trimwave.cell.trace_file import read_trace
from trimwave.decision.played import Replay
from trimwave.recipe.config import Config
from trimwave.recipe.fleet import fleet_of


def trace_of(config: Config) -> tuple[Trace, str]:
    """Return the trace that `radio.trace` names, and its SHA-256.

    Its clients are those of `cell.clients`, where that has ids.

    Raises
    ------
    InputError
        If it cannot be read, or has another number of clients than the cell.
    """
    fleet, path = fleet_of(config), Path(config.radio.trace)
    try:
        digest = sha256_of(path)
    except (OSError, ValueError):
        digest = ""  # reading says what is wrong
    ids = fleet.ids if fleet else None
    trace = _read(path, digest, config.radio.trace_holes, ids)
    trace.require_clients(config.cell.num_clients)
    return trace, digest


def replay_of(trace: Trace, timeline: Timeline, cells: Cell) -> Replay:
    """Return a trace as it is played forward.

    Parameters
    ----------
    trace : Trace
        In seconds.
    timeline : Timeline
        Its samples on the clock.
    cells : Cell
        [S, K] what the base station would see in each sample.
    """
    whole_hz = np.full(len(trace.ids), cells.total_bandwidth_hz)
    carries = {
        direction: trace.carries[direction]
        & (cells.link(direction).rate_bps(whole_hz) >= LEAST_RATE_BPS)
        for direction in DIRECTIONS
    }
    return Replay(
        timeline=timeline, cells=cells, present=trace.present, carries=carries
    )


def as_in_cell(
    kind: LinkKind, values: Mapping[Direction, FloatArray]
) -> dict[str, Any]:
    """Return SNRs or rates as the fields of `Cell` for them, [..., K]."""
    if kind == "snr_db":
        return {f"snr_{direction}": one for direction, one in values.items()}
    rates = {f"rate_{direction}_bps": one for direction, one in values.items()}
    unread = {f"snr_{one}": np.ones_like(values[one]) for one in DIRECTIONS}
    return unread | rates


def nobody_there(config: Config, round_index: int, clock_s: float | None) -> str:
    """Say that nobody is there in a round, or at a second of the clock."""
    when = f"round {round_index + 1}"
    remedy = "take the round out of the trace, or give it `time_s`: then a run waits"
    if clock_s is not None:
        when, remedy = f"second {clock_s:g}", "name another second"
    return f"{config.radio.trace}: no client is there in {when}; {remedy}."


@lru_cache(maxsize=4)
def _read(path: Path, digest: str, holes: Holes, ids: tuple[str, ...] | None) -> Trace:
    """Read it, or return what was read of the same content."""
    return read_trace(path, holes, ids)
