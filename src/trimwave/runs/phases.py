"""Seconds of each client, round and phase: predicted by the plan, and measured.

Kept as ``phases.csv`` in a run's folder, a line per client and round.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from trimwave.base.stored import write_atomic
from trimwave.base.units import BITS_PER_BYTE

FILE = "phases.csv"

PHASES = "down", "compute", "up"
"""A client's round, eq. (9): download, local training, upload."""


@dataclass(frozen=True, kw_only=True)
class Phases:
    """One client's round."""

    round: int
    """From 1."""
    client: int
    """k."""
    down_predicted_s: float
    down_measured_s: float
    compute_predicted_s: float
    compute_measured_s: float
    up_predicted_s: float
    up_measured_s: float
    wall_s: float
    """From when the client was asked to when its answer was there."""
    down_planned_bytes: float
    down_passed_bytes: float
    up_planned_bytes: float
    up_passed_bytes: float
    planned_flops: float
    counted_flops: float
    """0 = they were not counted."""

    def predicted_s(self, phase: str) -> float:
        """Return what the plan says of a phase, or of their sum, ``round``."""
        return self._of(phase, "predicted")

    def measured_s(self, phase: str) -> float:
        """Return what was measured of a phase, or of their sum, ``round``."""
        return self._of(phase, "measured")

    @property
    def between_s(self) -> float:
        """Seconds of the wall's that are of no phase: the engine's own."""
        return self.wall_s - self.measured_s("round")

    def _of(self, phase: str, kind: str) -> float:
        names = PHASES if phase == "round" else (phase,)
        return sum(float(getattr(self, f"{name}_{kind}_s")) for name in names)


Passed = Callable[[int, int, float, float], tuple[float, float]]
"""Of client, way (0 = down, 1 = up) and two times [s]: seconds and bytes of a link."""


def phases_of(
    record: Mapping[str, Any], timing: Mapping[str, Any], passed: Passed
) -> list[Phases]:
    """Set a round's measurements beside its plan, for every client that answered.

    Parameters
    ----------
    record : mapping
        The round's.
    timing : mapping
        What the backend measured, as in ``timing.jsonl``.
    passed : callable
        Tells what a client's link carried between two times.
    """
    plan, found = record["plan"], []
    for name, told in timing["clients"].items():
        if "answered_at_s" not in told:
            continue
        k = int(name)
        asked_s, answered_s = told["asked_at_s"], told["answered_at_s"]
        down = passed(k, 0, asked_s, told["fetched_at_s"])
        up = passed(k, 1, told["done_s"], answered_s)
        one = Phases(
            round=record["round"],
            client=k,
            down_predicted_s=plan["down_s"][k],
            down_measured_s=down[0],
            compute_predicted_s=plan["compute_s"][k],
            compute_measured_s=told["train_s"],
            up_predicted_s=plan["up_s"][k],
            up_measured_s=up[0],
            wall_s=answered_s - asked_s,
            down_planned_bytes=plan["down_bits"][k] / BITS_PER_BYTE,
            down_passed_bytes=down[1],
            up_planned_bytes=plan["up_bits"][k] / BITS_PER_BYTE,
            up_passed_bytes=up[1],
            planned_flops=plan["flops"][k],
            counted_flops=told["flops"],
        )
        found.append(one)
    return found


def write_phases(folder: Path, rows: Iterable[Phases]) -> None:
    """Write all rows of a run."""
    text = io.StringIO()
    names = [one.name for one in fields(Phases)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(one) for one in rows)
    write_atomic(folder / FILE, text.getvalue())


def read_phases(folder: Path) -> list[Phases]:
    """Return the rows of a run; none if it measured none."""
    path = folder / FILE
    if not path.exists():
        return []
    kinds = {one.name: one.type for one in fields(Phases)}
    with path.open(newline="") as file:
        return [
            Phases(**{name: _read(kinds[name], one) for name, one in row.items()})
            for row in csv.DictReader(file)
        ]


def _read(kind: Any, text: str) -> Any:
    return int(text) if kind is int else float(text)


def median_errors(rows: Sequence[Phases]) -> dict[str, float]:
    """Return the median of |measured / predicted - 1|, by phase and of the sum.

    ``round`` is over clients and rounds; ``slowest`` over rounds, of the clients that
    end last, by the plan and by the clock. nan where nothing is predicted to take time.
    """
    errors = {
        phase: _median(
            [(one.predicted_s(phase), one.measured_s(phase)) for one in rows]
        )
        for phase in (*PHASES, "round")
    }
    by_round: dict[int, list[Phases]] = {}
    for one in rows:
        by_round.setdefault(one.round, []).append(one)
    slowest = [
        (
            max(one.predicted_s("round") for one in of),
            max(one.measured_s("round") for one in of),
        )
        for of in by_round.values()
    ]
    return {**errors, "slowest": _median(slowest)}


def _median(pairs: Sequence[tuple[float, float]]) -> float:
    errors = [abs(measured / said - 1) for said, measured in pairs if said > 0]
    return float(np.median(errors)) if errors else float("nan")
