"""What a comparison is made of: methods, seeds, one config, and its folder.

::

    runs/<name>-compare/
    ├── compare.json          what was asked for
    └── <method>-s<seed>/     a run, as in records.py
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trimwave.base.errors import InputError, MissingExtraError, RunError
from trimwave.base.stored import disk_errors, read_sealed, write_sealed
from trimwave.methods import ALL, METHODS, label_of, name_of, parse_method
from trimwave.recipe.config import Config
from trimwave.recipe.recipe import config_from_dict
from trimwave.runs.best import has_stopped
from trimwave.runs.folder import resume_by
from trimwave.runs.records import Run

FILE = "compare.json"

BESIDE_OWN = ("jcpba", "ubfp")
"""What a recipe's own method is compared with where nobody says more."""

Records = Sequence[dict[str, Any]]

RunAll = Callable[[Mapping[Path, Config], Sequence[Path]], Mapping[Path, Records]]
"""Runs configs of one seed, beside runs that the folder has already."""


def methods_of(config: Config, asked: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the methods that are compared: those asked for, or the recipe's and two.

    Raises
    ------
    InputError
        As `method_texts`.
    """
    if asked is None:
        own = name_of(config.method)
        asked = [config.method, *(one for one in BESIDE_OWN if one != own)]
    return method_texts(asked, config.options)


def method_texts(
    text: str | Sequence[str], options: Mapping[str, Mapping[str, Any]]
) -> tuple[str, ...]:
    """Read ``all``, or methods between commas, each ``name[:option=value]``.

    Parameters
    ----------
    text : str or sequence of str
        What the user wrote; a sequence has one method each.
    options : mapping
        The recipe's options of methods.

    Raises
    ------
    InputError
        If a method or an option is unknown, or two of them are the same.
    """
    listed = text.split(",") if isinstance(text, str) else text
    names = [name.strip() for name in listed if name.strip()]
    names = list(ALL) if names == ["all"] else names
    distinct = {parse_method(name, options) for name in names}
    labels = {name: label_of(name, options) for name in names}
    if not names:
        raise InputError(f"`methods` names none; known: all, {', '.join(METHODS)}.")
    if len(distinct) < len(names):
        raise InputError(f"`methods` must name each method once, got {text!r}.")
    if len(set(labels.values())) < len(names):
        told = ", ".join(f"{name} as {label}" for name, label in labels.items())
        raise InputError(
            f"`methods` must name each method once: tables would show {told}; give a "
            "rule of your own another `label`."
        )
    return tuple(names)


def run_name(config: Config) -> str:
    """Name a method with options and a seed in letters that a folder can have."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '-', config.method)}-s{config.seed}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Methods on the same channels, batches and seeds."""

    config: Config
    """What all runs have in common; method and seed differ."""
    methods: tuple[str, ...]
    """As `parse_method` reads them."""
    seeds: tuple[int, ...]
    """Each method runs with each seed."""

    @classmethod
    def of(
        cls, config: Config, methods: str | Sequence[str] | None, seeds: int | None
    ) -> "Comparison":
        """Read `methods` and `seeds`; None is their default.

        Raises
        ------
        InputError
            If one of them is wrong.
        """
        number = 1 if seeds is None else seeds
        if number < 1:
            raise InputError(f"`seeds` must be at least 1, got {number}.")
        return cls(
            config=config,
            methods=methods_of(config, methods),
            seeds=tuple(range(config.seed, config.seed + number)),
        )

    @classmethod
    def read(cls, folder: Path) -> "Comparison":
        """Read what is compared in a folder.

        Raises
        ------
        RunError
            If it holds no comparison.
        """
        if not (folder / FILE).is_file():
            hint = "name the folder that `trimwave compare` printed"
            if (folder / "manifest.json").is_file():
                hint = f"it holds a run; use {resume_by('run', folder)}"
            raise RunError(f"{folder} holds no comparison (no {FILE}); {hint}.")
        plain = read_sealed(folder / FILE, "methods", "seeds", "config")
        return cls(
            config=config_from_dict(plain["config"], str(folder / FILE)),
            methods=tuple(plain["methods"]),
            seeds=tuple(plain["seeds"]),
        )

    def create(self, folder: Path) -> None:
        """Say in a new folder what is compared there.

        Raises
        ------
        RunError
            If the folder holds a comparison, or cannot be written.
        """
        if (folder / FILE).exists():
            raise RunError(
                f"{folder} already holds a comparison; go on with it by "
                f"{resume_by('compare', folder)}, or choose another `out`."
            )
        self._write(folder)

    def continued(
        self,
        folder: Path,
        config: Config,
        methods: str | Sequence[str] | None,
        seeds: int | None,
    ) -> "Comparison":
        """Go on with a config that may have more rounds, and note that in the folder.

        Parameters
        ----------
        folder : Path
            Where the comparison is.
        config : Config
            The comparison's, but for rounds.
        methods, seeds
            What is said of them now; they may not differ.

        Raises
        ------
        RunError
            Naming what differs, here or in the manifest of a run.
        """
        named = (
            self.methods if methods is None else method_texts(methods, config.options)
        )
        number = len(self.seeds) if seeds is None else seeds
        if (named, number) != (self.methods, len(self.seeds)):
            raise RunError(
                f"{folder} compares {','.join(self.methods)} with {len(self.seeds)} "
                "seeds; leave `methods` and `seeds` out, or start a new comparison."
            )
        grown = replace(self, config=config)
        for seed in self.seeds:
            for run_folder, one in grown.runs(folder, seed).items():
                if (run_folder / "manifest.json").exists():
                    Run.open(run_folder).check_same(one)
        grown._write(folder)
        return grown

    def _write(self, folder: Path) -> None:
        plain = {
            "methods": self.methods,
            "seeds": self.seeds,
            "config": self.config.to_dict(),
        }
        with disk_errors(folder, "nothing was started", "compare again"):
            folder.mkdir(parents=True, exist_ok=True)
            write_sealed(folder / FILE, plain)

    def runs(self, folder: Path, seed: int) -> dict[Path, Config]:
        """Return the runs of one seed, which share model and rows, by folder."""
        configs = [replace(self.config, method=m, seed=seed) for m in self.methods]
        return {folder / run_name(one): one for one in configs}

    def results(
        self,
        folder: Path,
        run_all: RunAll,
        *,
        read_finished: bool,
    ) -> dict[str, list[Records]]:
        """Run what is to be run and return it all by label, one entry per seed.

        A new comparison that is refused before a run begins leaves no folder behind.

        Parameters
        ----------
        folder : Path
            Where the comparison is.
        run_all : callable
            Runs configs of one seed, given the folders of runs that were begun:
            folder to records.
        read_finished : bool
            Read runs that the folder holds to their end, in place of running them;
            otherwise the folder is a new one.
        """
        if not read_finished:
            with self._begun(folder):
                return self._results(folder, run_all, read_finished=False)
        return self._results(folder, run_all, read_finished=True)

    @contextmanager
    def _begun(self, folder: Path) -> Iterator[None]:
        """Say in a new folder what is compared there; nothing, if no run begins.

        Raises
        ------
        RunError
            If the folder holds a comparison, or cannot be written.
        """
        self.create(folder)
        try:
            yield
        except (InputError, MissingExtraError):
            if not any(folder.glob("*/manifest.json")):
                (folder / FILE).unlink()
            raise

    def _results(
        self,
        folder: Path,
        run_all: RunAll,
        *,
        read_finished: bool,
    ) -> dict[str, list[Records]]:
        options = self.config.options
        labels = {text: label_of(text, options) for text in self.methods}
        results: dict[str, list[Records]] = {label: [] for label in labels.values()}
        begun = [path.parent for path in sorted(folder.glob("*/manifest.json"))]
        for seed in self.seeds:
            runs = self.runs(folder, seed)
            records = _finished(runs) if read_finished else {}
            missing = {one: runs[one] for one in runs if one not in records}
            records |= run_all(missing, begun) if missing else {}
            for one, config in runs.items():
                results[labels[config.method]].append(records[one])
        return results


def _finished(runs: Mapping[Path, Config]) -> dict[Path, Records]:
    """Read the runs that are at their end, up to the last round that is compared.

    A run that was resumed by itself may have gone on further than the others.
    """
    records: dict[Path, Records] = {}
    for folder, config in runs.items():
        if (folder / "manifest.json").exists():
            found = Run.open(folder).records()[: config.rounds + 1]
            if len(found) > config.rounds or has_stopped(found):
                records[folder] = found
    return records
