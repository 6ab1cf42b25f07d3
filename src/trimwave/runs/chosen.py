"""The round of a run that is taken away, and its checkpoint, found to be sound."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trimwave.base.errors import InputError, RunError
from trimwave.recipe.config import Config
from trimwave.runs.best import LOSS, best_round
from trimwave.runs.comparison import FILE as COMPARISON
from trimwave.runs.folder import quoted
from trimwave.runs.records import Record, Run

BEST, LAST = "best", "last"


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """What a run was after one of its rounds."""

    run: Run
    config: Config
    records: list[Record]
    """All of the run so far."""
    number: int
    """The round."""
    checkpoint: Path
    """The server's files after it."""

    @property
    def record(self) -> Record:
        """The round's own."""
        return self.records[self.number]

    @property
    def is_best(self) -> bool:
        """Whether no round has a lower test loss on the full model."""
        best = self.records[best_round(self.records)]
        return float(self.record[LOSS]) == float(best[LOSS])


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What was written."""

    kind: Literal["merged", "pruned", "adapter"]
    notes: tuple[str, ...]
    """What a user has to know of it, in sentences."""
    losses: dict[str, float]
    """Test losses that were taken of it, by what they are of."""


def choose_round(folder: Path, which: str) -> Chosen:
    """Return a round of a run with its checkpoint; the run may still be going on.

    Parameters
    ----------
    folder : Path
        The run.
    which : str
        ``best``: the first round with the least test loss on the full model, round 0,
        before training, among them; ``last``; or a round's number.

    Raises
    ------
    InputError
        If `which` is none of them.
    RunError
        If there is no run, it has not begun, or the round's checkpoint is not there or
        damaged.
    """
    run = _opened(folder)
    config, records = run.config, run.records()
    if not records:
        raise RunError(
            f"{folder} has no finished round yet; go on with `trimwave run --resume "
            f"{quoted(folder)}`."
        )
    number = _number(which, records)
    there = run.checkpoints.rounds()
    found = run.checkpoints.of_round(number)
    if found is None:
        raise RunError(
            f"{folder} has no checkpoint of round {number}; there is "
            f"{_listed(there)}. A run keeps the two newest and the best round, with "
            f'`train.keep_checkpoints = "all"` every one.'
        )
    if flaw := found.flaw(run.owner_of(records[number])):
        others = [one for one in there if one != number]
        raise RunError(
            f"checkpoint {found.folder} cannot be used ({flaw.rstrip('.')}); put its "
            f"files back, or take another --round: there is {_listed(others)}."
        )
    return Chosen(
        run=run,
        config=config,
        records=records,
        number=number,
        checkpoint=found.folder,
    )


def _opened(folder: Path) -> Run:
    if (folder / COMPARISON).is_file():
        runs = [path.parent for path in sorted(folder.glob("*/manifest.json"))]
        names = ", ".join(quoted(one) for one in runs) or "none has begun"
        raise RunError(f"{folder} holds a comparison; name one of its runs: {names}.")
    return Run.open(folder)


def _number(which: str, records: list[Record]) -> int:
    last = len(records) - 1
    if which in (BEST, LAST):
        return best_round(records) if which == BEST else last
    if not (which.isascii() and which.isdecimal()):
        raise InputError(f"--round must be best, last or a number, got {which!r}.")
    if int(which) > last:
        raise InputError(
            f"--round {which}: the run has rounds 0 to {last} so far, 0 being the "
            f"untrained model."
        )
    return int(which)


def _listed(rounds: list[int]) -> str:
    return ", ".join(map(str, rounds)) or "none"
