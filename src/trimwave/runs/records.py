"""What a run leaves on disk, written so that nothing is lost.

::

    runs/<name>/
    ├── manifest.json             config, versions, hardware, model, data
    ├── rounds.jsonl              one line per round; the same bits for the same seed
    ├── timing.jsonl              measured seconds; not reproducible, so kept apart
    └── checkpoints/round-0003/   two newest and best: the server's files and state.json

Manifest, lines and state carry seals (`base.stored`): what is read back is what was
written, or an error says which file and line is not.
"""

import json
import os
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimwave.base.errors import DamagedError, RunError
from trimwave.base.signals import deferred_stop
from trimwave.base.stored import (
    digest_of,
    disk_errors,
    read_sealed,
    sealed,
    unsealed,
    write_atomic,
    write_sealed,
)
from trimwave.recipe.config import Config
from trimwave.recipe.recipe import config_from_dict, differences
from trimwave.runs.checkpoints import ALIEN, KEPT, Checkpoints
from trimwave.runs.folder import require_lock, require_no_run, resume_by

RECORDS, TIMING = "rounds.jsonl", "timing.jsonl"

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One run's folder."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, config: Config, facts: Mapping[str, Any]) -> "Run":
        """Start a run in a new folder.

        Raises
        ------
        RunError
            If the folder already holds a run, or cannot be written.
        """
        require_no_run(folder)
        run = cls(folder)
        with disk_errors(folder, "the run was not started", "run again"):
            folder.mkdir(parents=True, exist_ok=True)
            write_sealed(
                folder / "manifest.json", {"config": config.to_dict(), **facts}
            )
        return run

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Open an existing run.

        Raises
        ------
        RunError
            If there is none.
        """
        if not (folder / "manifest.json").is_file():
            hint = "name the folder that `trimwave run` printed"
            if (folder / "compare.json").is_file():
                hint = f"it holds runs; use {resume_by('compare', folder)}"
            raise RunError(f"{folder} holds no run (no manifest.json); {hint}.")
        return cls(folder)

    @property
    def manifest(self) -> Record:
        """What was recorded at the start; RunError if it cannot be read."""
        return read_sealed(self.folder / "manifest.json", "config")

    @property
    def config(self) -> Config:
        """The config the run was started with."""
        return config_from_dict(self.manifest["config"], str(self.folder))

    def check_same(self, config: Config) -> None:
        """Raise unless a config continues this run; only `rounds` may grow.

        Raises
        ------
        RunError
            Naming every key that differs.
        """
        check_continues(self.folder, self.config, config)

    def records(self) -> list[Record]:
        """Return the lines of rounds.jsonl, but for a last one that was broken off.

        Raises
        ------
        RunError
            If the file cannot be read, or another line is not as it was written.
        """
        records, flaw = self._lines()
        if flaw and not flaw.is_last:
            raise DamagedError(
                f"{flaw.words}; put the file back as it was, or start a new run."
            )
        newest = self.checkpoints.newest()
        if newest and newest.number < len(records):
            if newest.flaw(self.owner_of(records[newest.number])) == ALIEN:
                raise DamagedError(
                    f"{self.folder / RECORDS}: the checkpoint {newest.folder.name} "
                    f"cannot be of this run, {ALIEN}; put back what belongs here, or "
                    "start a new run."
                )
        return records

    def timings(self) -> list[Record]:
        """Return the sound lines of timing.jsonl: what was measured by the clock."""
        found = [_if_sound(line) for line in _raw_lines(self.folder / TIMING)]
        return [one for one in found if one is not None]

    def owner_of(self, record: Mapping[str, Any]) -> str:
        """Return what the checkpoint of a record belongs to."""
        return digest_of([{**self.manifest["config"], "rounds": None}, record])

    def grow(self, rounds: int) -> None:
        """Note that the run goes on to further rounds than it was begun with."""
        manifest = self.manifest
        if rounds > manifest["config"]["rounds"]:
            manifest["config"]["rounds"] = rounds
            with disk_errors(self.folder, "nothing was changed", "resume again"):
                write_sealed(self.folder / "manifest.json", manifest)

    def _lines(self) -> "tuple[list[Record], Flaw | None]":
        """Return the sound records from the first on, and what ends them."""
        path, records = self.folder / RECORDS, list[Record]()
        lines = _raw_lines(path)
        for number, line in enumerate(lines):
            where, is_last = f"{path}, line {number + 1}", number + 1 == len(lines)
            try:
                record = unsealed(line, where)
            except DamagedError as damaged:
                return records, Flaw(str(damaged).rstrip("."), is_last)
            if record.get("round") != number:
                words = f"{where} is damaged: it is not round {number}"
                return records, Flaw(words, is_last)
            records.append(record)
        return records, None

    def commit(
        self,
        record: Mapping[str, Any],
        save: Callable[[Path], None],
        elapsed_s: float,
        keep: Collection[int] | None = (),
        speeds: Mapping[str, Any] | None = None,
    ) -> None:
        """Append a round's record and write its checkpoint, or neither to any harm.

        The line goes first: a kill between the two leaves a line without a checkpoint,
        which `restore` drops. Signals to stop are held back until both are on disk.
        `keep` names the older checkpoints that stay, as in `Checkpoints.write`.
        `speeds` are what else was measured by the clock.

        Raises
        ------
        RunError
            If the disk is full or not writable; earlier rounds stay intact.
        """
        number = record["round"]
        lost = f"round {number} is not saved, earlier ones are"
        resume = f"run again with {resume_by('run', self.folder)}"
        with disk_errors(self.folder, lost, resume), deferred_stop():
            require_lock(self.folder)
            of = self.owner_of(record)
            _append(self.folder / RECORDS, record)
            timing = {"round": number, "wall_s": round(elapsed_s, 3)}
            _append(self.folder / TIMING, {**timing, **(speeds or {})})
            self.checkpoints.write(number, save, of, keep)

    @property
    def checkpoints(self) -> Checkpoints:
        """The server's files after some of its rounds."""
        return Checkpoints(self.folder / "checkpoints")

    def restore(self, load: Callable[[Path], None]) -> list[Record]:
        """Load the newest sound checkpoint and cut the records to it.

        Rounds whose checkpoint is lost or damaged are run again from the one before;
        the lines there were are kept beside, in ``rounds.jsonl.before``.

        Returns
        -------
        list of dict
            The records up to the checkpoint; empty if the run saved none.

        Raises
        ------
        RunError
            If no sound checkpoint has its rounds in rounds.jsonl: nothing is changed.
        """
        records, flaw = self._lines()
        resume = f"run again with {resume_by('run', self.folder)}"
        with disk_errors(self.folder, "nothing of it was changed", resume):
            found = self.checkpoints.newest_sound(
                len(records) - 1, lambda number: self.owner_of(records[number])
            )
            if found and not self._may_go_back(found.number, len(records) - 1):
                found = None
            # A kill in round 0 leaves its line at most.
            if found is None and (self.checkpoints.newest() or len(records) > 1):
                raise RunError(self._lost(records, flaw))
            number = -1
            if found is not None:
                number = found.number
                load(found.folder)
            self.checkpoints.drop(range(number + 1, len(records)))
            self._cut(records, number, flaw)
        return records[: number + 1]

    def _may_go_back(self, number: int, last: int) -> bool:
        """Whether to go on from a checkpoint, with lines up to round `last`.

        One of long ago, kept as the best, serves where newer ones are damaged, and not
        where lines are: those can be put back.
        """
        there = self.checkpoints.rounds()
        return there[-1] <= last or number in there[-KEPT:]

    def _lost(self, records: list[Record], flaw: "Flaw | None") -> str:
        if self.checkpoints.newest():
            why = (
                f"no checkpoint in {self.folder} is sound for rounds up to "
                f"{len(records) - 1}, which are in {RECORDS}"
            )
            why += f" ({flaw.words})" if flaw else ""
        else:
            why = f"{self.folder} has {len(records) - 1} rounds and no checkpoint left"
        return (
            f"{why}. The records stay as they are; put back what is missing, or start "
            "a new run."
        )

    def _cut(self, records: list[Record], number: int, flaw: "Flaw | None") -> None:
        """Drop what is said of rounds that will be run again, and say so."""
        path, last = self.folder / RECORDS, len(records) - 1
        dropped = []
        if flaw:
            dropped.append(flaw.words)
        if last > number + 1:
            dropped.append(f"rounds {number + 1} to {last} have no sound checkpoint")
        if last > number + 1 or (flaw and not flaw.is_last):
            before = path.with_name(f"{RECORDS}.before")
            write_atomic(before, path.read_bytes())
            dropped.append(f"the file as it was is kept as {before.name}")
        timing = self.folder / TIMING
        timings = [_if_sound(line) for line in _raw_lines(timing)]
        if None in timings[:-1]:  # the last one may have been broken off
            dropped.append(f"{TIMING} has damaged lines, which are left out")
        if dropped:
            warnings.warn(
                f"{self.folder} goes on from round {number}: {'; '.join(dropped)}.",
                stacklevel=3,
            )
        write_atomic(path, "".join(map(_line, records[: number + 1])))
        kept = (one for one in timings if one and one["round"] <= number)
        write_atomic(timing, "".join(map(_line, kept)))


@dataclass(frozen=True, slots=True)
class Flaw:
    """What ends the sound lines of a file."""

    words: str
    """What is wrong, with file and line."""
    is_last: bool
    """The line is the file's last, as one that was broken off."""


def check_continues(folder: Path, begun: Config, config: Config) -> None:
    """Raise RunError unless a config only adds rounds to what a folder began with."""
    old, new = begun.to_dict(), config.to_dict()
    if new["rounds"] >= old["rounds"]:
        old["rounds"] = new["rounds"]
    changed = differences(old, new)
    if changed:
        raise RunError(
            f"{folder} was started with another recipe, so it cannot be resumed with "
            f"this one: {'; '.join(changed)}. Start a new run, or leave these settings "
            "as they were (`rounds` may grow)."
        )


def _raw_lines(path: Path) -> list[bytes]:
    with disk_errors(path, "nothing was changed", "try again"):
        return path.read_bytes().splitlines() if path.exists() else []


def _if_sound(line: bytes) -> Record | None:
    """Return a line if it is as it was written."""
    try:
        return unsealed(line, TIMING)
    except DamagedError:
        return None


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(sealed(record), allow_nan=False) + "\n"


def _append(path: Path, record: Mapping[str, Any]) -> None:
    with path.open("ab") as file:
        file.write(_line(record).encode())
        file.flush()
        os.fsync(file.fileno())
