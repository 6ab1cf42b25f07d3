"""Runs and comparisons from their folder to their report, printed or quiet."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from trimwave.api.over_network import LOOPBACK, Way, run_over_network
from trimwave.api.watch import Watch, heard
from trimwave.base.errors import InputError, MissingExtraError, RunError, nearest
from trimwave.methods import label_of, parse_method
from trimwave.recipe.config import Config
from trimwave.recipe.environment import Environment
from trimwave.report import closing
from trimwave.report.console import stopped_hint
from trimwave.report.target import Records
from trimwave.runs.comparison import FILE, Comparison, run_name
from trimwave.runs.folder import locked, new_folder, quoted, require_no_run
from trimwave.runs.inputs import require_inputs
from trimwave.runs.records import Run

BACKENDS = ("local", "flower")
"""Where the clients of a run are: in this process, or in processes of their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """What was run."""

    folder: Path
    config: Config
    """What the runs have in common."""
    results: Mapping[str, Sequence[Records]]
    """Label of a method to the records of its runs, one per seed."""


def new_run(
    config: Config,
    out: Path | None,
    watch: Watch,
    backend: str = "local",
    way: Way = LOOPBACK,
) -> Finished:
    """Run a config to its end in a folder of its own.

    Parameters
    ----------
    config : Config
        The run.
    out : Path, optional
        Its folder.
    watch : Watch
        Who is told.
    backend : str
        Of `BACKENDS`.
    way : Way
        How it goes over a network, if it does.

    Raises
    ------
    InputError
        If it cannot be started or planned.
    MissingExtraError
        If the extra `lm`, or the backend's, is not installed.
    """
    check_backend(backend)
    stem = f"{config.name}-{run_name(config)}"
    with new_folder(out, stem, "manifest.json") as folder:
        return _run(folder, config, watch, backend, way, resume=False)


def resume_run(
    folder: Path,
    config_of: Callable[[Config], Config],
    watch: Watch,
    backend: str | None = None,
    way: Way = LOOPBACK,
) -> Finished:
    """Go on with a run; `config_of` returns what it goes on as.

    Raises
    ------
    InputError
        If it cannot go on.
    """
    begun = Run.open(folder)
    was = str(begun.manifest.get("backend", "local"))
    if backend not in (None, was):
        raise RunError(
            f"{folder} was begun with --backend {was}, and goes on with it; drop "
            f"--backend {backend}."
        )
    with locked(begun.folder):
        config = config_of(begun.config)
        return _run(folder, config, watch, was, way, resume=True)


def check_backend(backend: str) -> None:
    """Refuse a backend that there is none of.

    Raises
    ------
    InputError
        With those that there are.
    """
    if backend not in BACKENDS:
        raise InputError(f"no backend `{backend}`; {nearest(backend, BACKENDS)}")


def _run(
    folder: Path,
    config: Config,
    watch: Watch,
    backend: str,
    way: Way,
    *,
    resume: bool,
) -> Finished:
    command = f"trimwave {way.verb} --resume {quoted(folder)}"
    with stopped_hint(watch.console, command, folder / "manifest.json"):
        if backend == "local":
            records = run_all({folder: config}, watch, resume=resume)[folder]
        else:
            check_asked(folder, config, resume=resume)
            records = run_over_network(folder, config, watch, way)
        label = label_of(config.method, config.options)
        done = Finished(folder=folder, config=config, results={label: [records]})
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
    for folder, config in runs.items():
        check_asked(folder, config, resume=resume)
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
        with heard(watch, one) as (on_record, on_client):
            records[folder] = run_method(
                bench,
                one,
                folder,
                resume=resume and (folder / "manifest.json").exists(),
                on_record=on_record,
                on_client=on_client,
            )
    return records


def check_asked(folder: Path, config: Config, *, resume: bool) -> None:
    """Refuse what can be refused before a model is fetched.

    Raises
    ------
    InputError
        If the method or the cell is wrong, files that the run read are gone, or a new
        run's folder holds one.
    """
    if resume:
        require_inputs(folder, config)
    else:
        require_no_run(folder)
    parse_method(config.method, config.options)
    Environment.from_config(config).check_rounds(config.rounds)
