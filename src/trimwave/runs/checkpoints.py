"""The checkpoints of a run: written whole, loaded only if every byte is right."""

import os
import shutil
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from trimwave.base.errors import RunError
from trimwave.base.stored import read_sealed, sha256_of, sync_folder, write_sealed

KEPT = 2
"""Checkpoints that a run keeps, the newest, beside those that it is told to keep."""

STATE = "state.json"

ALIEN = "it belongs to other records"
"""The flaw of a checkpoint that is sound, but of another run."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The server's files after a round."""

    number: int
    """The round."""
    folder: Path

    def flaw(self, of: str) -> str:
        """Say what is wrong with it, or nothing; `of` is what it must belong to."""
        try:
            state = read_sealed(self.folder / STATE, "round", "files", "of")
            if state["round"] != self.number:
                return f"{STATE} is of round {state['round']}"
            if state["of"] != of:
                return ALIEN
            for name, digest in state["files"].items():
                if sha256_of(self.folder / name) != digest:
                    return f"{name} does not match its hash"
        except (OSError, RunError) as error:
            return str(error)
        return ""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """All that a run has."""

    root: Path

    def write(
        self,
        number: int,
        save: Callable[[Path], None],
        of: str,
        keep: Collection[int] | None = (),
    ) -> None:
        """Write one, then drop those that are too old, or of rounds that run again.

        Parameters
        ----------
        number : int
            Of the round.
        save : callable
            Writes the server's files into a folder.
        of : str
            Digest of the run and its record, that it is not taken for another's.
        keep : collection of int, optional
            Rounds whose checkpoints stay however old they are; None is all.
        """
        draft, final = self.root / f".draft-{number:04d}", self._folder(number)
        for stale in (draft, final):
            shutil.rmtree(stale, ignore_errors=True)
        draft.mkdir(parents=True)
        save(draft)
        digests = {file.name: sha256_of(file) for file in sorted(draft.iterdir())}
        write_sealed(draft / STATE, {"round": number, "files": digests, "of": of})
        os.replace(draft, final)
        sync_folder(self.root)
        there = self.rounds()
        so_far = [one for one in there if one <= number]
        stay = {*so_far[-KEPT:], *(so_far if keep is None else keep)}
        self.drop({*there} - stay)

    def drop(self, rounds: Collection[int]) -> None:
        """Remove those of some rounds, which will be run again."""
        for one in list(self._newest_first()):
            if one.number in rounds:
                shutil.rmtree(one.folder)

    def of_round(self, number: int) -> Checkpoint | None:
        """Return that of a round, sound or not; None if there is none."""
        return next((one for one in self._newest_first() if one.number == number), None)

    def rounds(self) -> list[int]:
        """Return the rounds that have one, ascending."""
        return sorted(one.number for one in self._newest_first())

    def newest(self) -> Checkpoint | None:
        """Return the newest one, sound or not."""
        return next(self._newest_first(), None)

    def newest_sound(self, last: int, of: Callable[[int], str]) -> Checkpoint | None:
        """Return the newest one that is sound, of round `last` at most; None if none.

        Warns of each that is damaged. `of` says what that of a round belongs to.
        """
        for one in self._newest_first():
            if one.number > last:
                continue
            flaw = one.flaw(of(one.number))
            if not flaw:
                return one
            warnings.warn(
                f"checkpoint {one.folder} cannot be used ({flaw.rstrip('.')}); trying "
                "the one before.",
                stacklevel=3,
            )
        return None

    def _folder(self, number: int) -> Path:
        return self.root / f"round-{number:04d}"

    def _newest_first(self) -> Iterator[Checkpoint]:
        found = (path.name.removeprefix("round-") for path in self.root.glob("round-*"))
        numbers = (int(text) for text in found if text.isdecimal())
        for number in sorted(numbers, reverse=True):
            yield Checkpoint(number, self._folder(number))
