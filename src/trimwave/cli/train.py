"""The commands that train: `trimwave run`, `trimwave compare`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from trimwave.base.errors import MissingExtraError
from trimwave.cli.options import (
    METHODS_HELP,
    Data,
    Model,
    Out,
    Overrides,
    Recipe,
    Resume,
    Rounds,
    Seed,
)
from trimwave.report.console import plain_console, stopped_hint

if TYPE_CHECKING:
    from trimwave.recipe.config import Config


def run(
    recipe: Recipe = "default",
    set_: Overrides = None,
    method: Annotated[str | None, typer.Option(help="name[:option=value]")] = None,
    model: Model = None,
    data: Data = None,
    rounds: Rounds = None,
    seed: Seed = None,
    resume: Resume = None,
    out: Out = None,
) -> None:
    """Fine-tune with one method and record every round."""
    from trimwave.cli import arguments
    from trimwave.methods import label_of
    from trimwave.report.closing import close_report
    from trimwave.runs.comparison import run_name
    from trimwave.runs.folder import locked, new_folder, quoted
    from trimwave.runs.records import Run

    named = {"method": method, "model.name": model, "data.source": data}
    changes = arguments.overrides(set_, {**named, "rounds": rounds, "seed": seed})
    console = plain_console()

    def go(folder: Path, config: "Config") -> None:
        command = f"trimwave run --resume {quoted(folder)}"
        with stopped_hint(console, command, folder / "manifest.json"):
            records = _run_all({folder: config}, console, resume=resume is not None)
            label = label_of(config.method, config.options)
            close_report({label: [records[folder]]}, config, folder, console)

    if resume is not None:
        begun = Run.open(arguments.resumed_folder(resume, out))
        with locked(begun.folder) as folder:
            go(folder, arguments.continued(folder, begun.config, recipe, changes))
    else:
        config = arguments.load(recipe, changes)
        arguments.warn_of_idle("run", recipe, changes, config)
        stem = f"{config.name}-{run_name(config)}"
        with new_folder(out, stem, "manifest.json") as folder:
            go(folder, config)


def compare(
    recipe: Recipe = "default",
    methods: Annotated[
        str | None, typer.Option(help=f"{METHODS_HELP}; default jcpba,ubfp.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Seeds per method, from `seed` on; default 1.")
    ] = None,
    set_: Overrides = None,
    model: Model = None,
    data: Data = None,
    rounds: Rounds = None,
    seed: Seed = None,
    resume: Resume = None,
    out: Out = None,
) -> None:
    """Run several methods on the same channels, batches and seeds."""
    from trimwave.cli import arguments
    from trimwave.report.closing import close_report
    from trimwave.runs.comparison import FILE, Comparison
    from trimwave.runs.folder import locked, new_folder, quoted

    named = {"model.name": model, "data.source": data, "rounds": rounds, "seed": seed}
    changes = arguments.overrides(set_, named)
    console = plain_console()

    def go(folder: Path, asked: Comparison) -> None:
        command = f"trimwave compare --resume {quoted(folder)}"
        with stopped_hint(console, command, folder / FILE):
            results = asked.results(
                folder,
                lambda runs, beside: _run_all(
                    runs, console, resume=resume is not None, beside=beside
                ),
                read_finished=resume is not None,
            )
            close_report(results, asked.config, folder, console)

    if resume is not None:
        begun = Comparison.read(arguments.resumed_folder(resume, out))
        with locked(resume):
            config = arguments.continued(resume, begun.config, recipe, changes)
            go(resume, begun.continued(resume, config, methods, seeds))
    else:
        config = arguments.load(recipe, changes)
        arguments.warn_of_idle("compare", recipe, changes, config)
        asked = Comparison.of(config, methods, seeds)
        with new_folder(out, f"{config.name}-compare", FILE) as folder:
            go(folder, asked)


def _run_all(
    runs: "Mapping[Path, Config]",
    console: Console,
    resume: bool,
    beside: Iterable[Path] = (),
) -> dict[Path, list[dict[str, Any]]]:
    """Run configs that share model, data and seed; folder to records.

    `beside` are runs to be compared with these.
    """
    from trimwave.methods import label_of, parse_method
    from trimwave.recipe.environment import Environment
    from trimwave.report.progress import RoundProgress

    for config in runs.values():  # before a model is fetched
        parse_method(config.method, config.options)
        Environment.from_config(config).check_rounds(config.rounds)
    try:
        from trimwave.lm.session import check_beside, check_runs, run_method
        from trimwave.lm.workbench import build_workbench
    except ModuleNotFoundError as missing:
        raise MissingExtraError("lm", str(missing.name)) from missing
    shared = next(iter(runs.values()))
    with console.status("loading") as status:
        bench = build_workbench(shared, lambda line: status.update(Text(line)))
        check_beside(bench, beside)
        check_runs(bench, runs.values())
    records = {}
    for folder, one in runs.items():
        label = label_of(one.method, one.options)
        with RoundProgress(console, label, one.rounds) as progress:
            records[folder] = run_method(
                bench,
                one,
                folder,
                resume=resume and (folder / "manifest.json").exists(),
                on_record=progress.on_record,
                on_client=progress.on_client,
            )
    return records
