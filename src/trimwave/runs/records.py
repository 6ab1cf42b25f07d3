"""What a run leaves on disk, written so that nothing is lost.

::

    runs/<name>/
    ├── manifest.json             config, versions, hardware, model, data
    ├── rounds.jsonl              one line per round; the same bits for the same seed
    ├── timing.jsonl              measured seconds; not reproducible, so kept apart
    └── checkpoints/round-0003/   the two newest: the server's files and state.json
"""

import errno
import hashlib
import json
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from trimwave.base.errors import RunError
from trimwave.recipe.config import Config
from trimwave.recipe.recipe import config_from_dict, differences

KEPT_CHECKPOINTS = 2


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
        if (folder / "manifest.json").exists():
            raise RunError(
                f"{folder} already holds a run; resume it with --resume {folder}, or "
                "choose another --out or `name`."
            )
        run = cls(folder)
        with disk_errors(folder, "the run was not started", "run again"):
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            manifest = {"config": config.to_dict(), **facts}
            write_atomic(folder / "manifest.json", json.dumps(manifest, indent=2))
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
                hint = f"it holds runs; use `trimwave compare --resume {folder}`"
            raise RunError(f"{folder} holds no run (no manifest.json); {hint}.")
        return cls(folder)

    @property
    def manifest(self) -> dict[str, Any]:
        """What was recorded at the start."""
        manifest: dict[str, Any] = read_json(self.folder / "manifest.json")
        return manifest

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

    def records(self) -> list[dict[str, Any]]:
        """Return every complete line of rounds.jsonl."""
        return self._lines("rounds.jsonl")

    def _lines(self, name: str) -> list[dict[str, Any]]:
        path, records = self.folder / name, []
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                break  # torn by a kill; the checkpoint decides what counts
        return records

    def commit(
        self, record: Mapping[str, Any], save: Callable[[Path], None], elapsed_s: float
    ) -> None:
        """Append a round's record and write its checkpoint, or neither to any harm.

        The line goes first: a kill between the two leaves a line without a checkpoint,
        which `restore` drops. Ctrl-C is held back until both are on disk.

        Raises
        ------
        RunError
            If the disk is full or not writable; earlier rounds stay intact.
        """
        number = record["round"]
        lost = f"round {number} is not saved, earlier ones are"
        resume = f"run again with --resume {self.folder}"
        with disk_errors(self.folder, lost, resume), deferred_interrupt():
            _append(self.folder / "rounds.jsonl", record)
            timing = {"round": number, "wall_s": round(elapsed_s, 3)}
            _append(self.folder / "timing.jsonl", timing)
            self._write_checkpoint(number, save)

    def _write_checkpoint(self, number: int, save: Callable[[Path], None]) -> None:
        root = self.folder / "checkpoints"
        draft, final = root / f".draft-{number:04d}", root / f"round-{number:04d}"
        for stale in (draft, final):
            shutil.rmtree(stale, ignore_errors=True)
        draft.mkdir()
        save(draft)
        digests = {file.name: _sha256(file) for file in sorted(draft.iterdir())}
        state = {"round": number, "files": digests}
        write_atomic(draft / "state.json", json.dumps(state, indent=2))
        os.replace(draft, final)
        _sync(root)
        for old in self._checkpoints()[KEPT_CHECKPOINTS:]:
            shutil.rmtree(old)

    def _checkpoints(self) -> list[Path]:
        found = (self.folder / "checkpoints").glob("round-*")
        return sorted(found, key=lambda path: int(path.name[6:]), reverse=True)

    def restore(self, load: Callable[[Path], None]) -> list[dict[str, Any]]:
        """Load the newest sound checkpoint and cut the records to it.

        Returns
        -------
        list of dict
            The records up to the checkpoint; empty if the run saved none.

        Raises
        ------
        RunError
            If no checkpoint is sound, or its rounds are not in rounds.jsonl.
        """
        checkpoints = self._checkpoints()
        for folder in checkpoints:
            flaw = _flaw(folder)
            if flaw:
                warnings.warn(
                    f"checkpoint {folder} is damaged ({flaw}); trying the one before.",
                    stacklevel=2,
                )
                continue
            number = read_json(folder / "state.json")["round"]
            records = [line for line in self.records() if line["round"] <= number]
            if [line["round"] for line in records] != list(range(number + 1)):
                raise RunError(
                    f"{self.folder}/rounds.jsonl lacks rounds up to {number}, which "
                    "the checkpoint has; restore the file or start a new run."
                )
            load(folder)
            self._cut(number)
            return records
        if checkpoints:
            raise RunError(f"no checkpoint in {self.folder} is sound; start a new run.")
        self._cut(-1)
        return []

    def _cut(self, last_round: int) -> None:
        """Drop what either file says of later rounds, which will be run again."""
        for name in ("rounds.jsonl", "timing.jsonl"):
            kept = [one for one in self._lines(name) if one["round"] <= last_round]
            text = "".join(_line(record) for record in kept)
            write_atomic(self.folder / name, text)


@contextmanager
def deferred_interrupt() -> Iterator[None]:
    """Hold Ctrl-C back until the block ends, then deliver it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append(number)

    before = signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt


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


@contextmanager
def disk_errors(folder: Path, consequence: str, then: str) -> Iterator[None]:
    """Turn a full or unwritable disk into a RunError: what is lost, what to do."""
    try:
        yield
    except OSError as error:
        remedy = "free some space" if error.errno == errno.ENOSPC else "mend that"
        raise RunError(
            f"cannot write to {folder}: {error.strerror or error}; {consequence}; "
            f"{remedy} and {then}."
        ) from error


def _flaw(folder: Path) -> str:
    """Say what is wrong with a checkpoint, or nothing."""
    try:
        state = read_json(folder / "state.json")
        for name, digest in state["files"].items():
            if _sha256(folder / name) != digest:
                return f"{name} does not match its hash"
    except (OSError, RunError) as error:
        return str(error)
    except (AttributeError, KeyError, TypeError):
        return "state.json does not say what it holds"
    return ""


def read_json(path: Path) -> Any:
    """Read a JSON file; RunError if it is damaged."""
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise RunError(f"{path} is not valid JSON; it is damaged.") from None


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, allow_nan=False) + "\n"


def _append(path: Path, record: Mapping[str, Any]) -> None:
    with path.open("a") as file:
        file.write(_line(record))
        file.flush()
        os.fsync(file.fileno())


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all."""
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()
