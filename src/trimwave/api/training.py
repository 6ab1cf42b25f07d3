"""Runs and comparisons from their folder to their report, printed or quiet."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from trimwave.base.errors import MissingExtraError
from trimwave.methods import label_of, parse_method
from trimwave.recipe.config import Config
from trimwave.recipe.environment import Environment
from trimwave.report import closing
from trimwave.report.console import stopped_hint
from trimwave.report.progress import RoundProgress
from trimwave.report.target import Records
from trimwave.runs.comparison import FILE, Comparison, run_name
from trimwave.runs.folder import locked, new_folder, quoted
from trimwave.runs.inputs import require_inputs
from trimwave.runs.records import Run

OnRound = Callable[[str, dict[str, Any]], None]
"""Told the label of a method and the record of each of its rounds."""


def _unheard(label: str, record: dict[str, Any]) -> None:
    """Nobody listens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """Who is told of progress."""

    console: Console
    on_round: OnRound = _unheard


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """What was run."""

    folder: Path
    config: Config
    """What the runs have in common."""
    results: Mapping[str, Sequence[Records]]
    """Label of a method to the records of its runs, one per seed."""


def new_run(config: Config, out: Path | None, watch: Watch) -> Finished:
    """Run a config to its end in a folder of its own.

    Raises
    ------
    InputError
        If it cannot be started or planned.
    MissingExtraError
        If the extra `lm` is not installed.
    """
    stem = f"{config.name}-{run_name(config)}"
    with new_folder(out, stem, "manifest.json") as folder:
        return _run(folder, config, watch, resume=False)


def resume_run(
    folder: Path, config_of: Callable[[Config], Config], watch: Watch
) -> Finished:
    """Go on with a run; `config_of` returns what it goes on as.

    Raises
    ------
    InputError
        If it cannot go on.
    """
    begun = Run.open(folder)
    with locked(begun.folder):
        return _run(folder, config_of(begun.config), watch, resume=True)


def _run(folder: Path, config: Config, watch: Watch, *, resume: bool) -> Finished:
    command = f"trimwave run --resume {quoted(folder)}"
    with stopped_hint(watch.console, command, folder / "manifest.json"):
        records = run_all({folder: config}, watch, resume=resume)
        label = label_of(config.method, config.options)
        done = Finished(
            folder=folder, config=config, results={label: [records[folder]]}
        )
        closing.close_report(done.results, config, folder, watch.console)
    return done


def new_comparison(asked: Comparison, out: Path | None, watch: Watch) -> Finished:
    """Run every method and seed of a comparison in a folder of its own.

    Raises
    ------
    InputError
        If one cannot be started or planned.
    MissingExtraError
        If the extra `lm` is not installed.
    """
    with new_folder(out, f"{asked.config.name}-compare", FILE) as folder:
        return _compare(folder, asked, watch, resume=False)


def resume_comparison(
    folder: Path, asked_of: Callable[[Comparison], Comparison], watch: Watch
) -> Finished:
    """Go on with a comparison; `asked_of` returns what it goes on as.

    Raises
    ------
    InputError
        If it cannot go on.
    """
    begun = Comparison.read(folder)
    with locked(folder):
        return _compare(folder, asked_of(begun), watch, resume=True)


def _compare(
    folder: Path, asked: Comparison, watch: Watch, *, resume: bool
) -> Finished:
    command = f"trimwave compare --resume {quoted(folder)}"

    def go(runs: Mapping[Path, Config], beside: Sequence[Path]) -> Mapping[Path, Any]:
        return run_all(runs, watch, resume=resume, beside=beside)

    with stopped_hint(watch.console, command, folder / FILE):
        results = asked.results(folder, go, read_finished=resume)
        closing.close_report(results, asked.config, folder, watch.console)
    return Finished(folder=folder, config=asked.config, results=results)


def run_all(
    runs: Mapping[Path, Config],
    watch: Watch,
    *,
    resume: bool,
    beside: Iterable[Path] = (),
) -> dict[Path, list[dict[str, Any]]]:
    """Run configs that share model, data and seed; folder to records.

    Parameters
    ----------
    runs : mapping
        Folder to config.
    watch : Watch
        Who is told.
    resume : bool
        Go on with what the folders hold.
    beside : iterable of Path
        Runs to be compared with these.
    """
    for folder, config in runs.items():  # before a model is fetched
        if resume:
            require_inputs(folder, config)
        parse_method(config.method, config.options)
        Environment.from_config(config).check_rounds(config.rounds)
    try:
        from trimwave.lm.session import check_beside, check_runs, run_method
        from trimwave.lm.workbench import build_workbench
    except ModuleNotFoundError as missing:
        raise MissingExtraError("lm", str(missing.name)) from missing
    shared = next(iter(runs.values()))
    Environment.from_config(shared).warn_of_samples()
    with watch.console.status("loading") as status:
        bench = build_workbench(shared, lambda line: status.update(Text(line)))
        check_beside(bench, beside)
        check_runs(bench, runs.values())
    records = {}
    for folder, one in runs.items():
        with _heard(watch, one) as (on_record, on_client):
            records[folder] = run_method(
                bench,
                one,
                folder,
                resume=resume and (folder / "manifest.json").exists(),
                on_record=on_record,
                on_client=on_client,
            )
    return records


@contextmanager
def _heard(watch: Watch, config: Config) -> Iterator[tuple[Any, Any]]:
    """Show a run's progress: whom to tell of a record, and of a client."""
    label = label_of(config.method, config.options)
    with RoundProgress(watch.console, label, config.rounds) as progress:

        def on_record(record: dict[str, Any]) -> None:
            progress.on_record(record)
            watch.on_round(label, record)

        yield on_record, progress.on_client
