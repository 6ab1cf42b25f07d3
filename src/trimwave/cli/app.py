"""The command line: parse, call, print. Heavy imports happen inside the commands."""

import io
import json
import os
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text

from trimwave.base.errors import InputError, MissingExtraError, printable
from trimwave.base.signals import stop_alike
from trimwave.cli.crash import outside, report_of
from trimwave.cli.models import models_app
from trimwave.report.console import plain_console, print_whole, stopped_hint

if TYPE_CHECKING:
    from trimwave.recipe.config import Config

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
app.add_typer(models_app, name="models", help="List known models, or fetch one.")

Recipe = Annotated[str, typer.Argument(help="A recipe's name or TOML file.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key.")
]
METHODS_HELP = "all, or comma-separated, each name[:option=value]"
Model = Annotated[str | None, typer.Option(help="model.name")]
Data = Annotated[str | None, typer.Option(help="data.source")]
Rounds = Annotated[int | None, typer.Option(help="Number of rounds.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.")]
Resume = Annotated[
    Path | None, typer.Option(help="Go on in this folder; only --rounds may grow.")
]
Out = Annotated[Path | None, typer.Option(help="Folder to write; default under runs/.")]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version as version_of

        print(f"trimwave {version_of('trimwave')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, help="Print it.", is_eager=True),
    ] = False,
) -> None:
    """Fine-tune a language model over slow, unequal wireless links."""


@app.command()
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


@app.command()
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
        label, clients = label_of(one.method, one.options), one.cell.num_clients
        with RoundProgress(console, label, one.rounds, clients) as progress:
            records[folder] = run_method(
                bench,
                one,
                folder,
                resume=resume and (folder / "manifest.json").exists(),
                on_record=progress.on_record,
                on_client=progress.on_client,
            )
    return records


@app.command()
def plan(
    source: Annotated[
        str, typer.Argument(help="CELL.csv (.tsv, .txt), or a recipe.")
    ] = "default",
    method: Annotated[
        str | None, typer.Option(help="name[:option=value]; default the recipe's.")
    ] = None,
    solver: Annotated[
        str | None,
        typer.Option(help="exact, bcd, uniform: jcpba, jcpba:solver=bcd, ubfp."),
    ] = None,
    set_: Overrides = None,
    seed: Seed = None,
    round_: Annotated[int, typer.Option("--round", help="Which fading draw.")] = 1,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="Latency against beta_bar, and prices.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Plan one round without training: who gets how much band and model."""
    from trimwave.base.table import is_table_name
    from trimwave.cli import arguments
    from trimwave.report import tradeoff_table as tradeoff
    from trimwave.report.plan_table import plan_json, plan_lines, plan_table
    from trimwave.sweep.one_round import plan_cell, tradeoff_cell

    changes = arguments.overrides(set_, {"seed": seed})
    cell_csv = Path(source) if is_table_name(source) else None
    recipe = "default" if cell_csv else source
    config = arguments.load(recipe, changes)
    text = arguments.planned_method(method, solver, config.method)
    command: Literal["csv", "plan"] = "csv" if cell_csv else "plan"
    also = [] if round_ == 1 else ["--round"]
    arguments.warn_of_idle(command, recipe, changes, replace(config, method=text), also)
    if pareto:
        arguments.check_pareto(method, solver)
        found = tradeoff_cell(config, text, round_=round_, cell_csv=cell_csv)
        as_dict = tradeoff.tradeoff_json(*found)
        table = tradeoff.tradeoff_table(found[0])
        lines = tradeoff.price_lines(*found[1:])
    else:
        planned = plan_cell(config, text, round_=round_, cell_csv=cell_csv)
        as_dict, table = plan_json(*planned), plan_table(planned[1])
        lines = plan_lines(*planned)
    if as_json:
        print(json.dumps(as_dict, indent=2))
        return
    console = plain_console()
    print_whole(console, table)
    for line in lines:
        console.print(line, soft_wrap=True)


@app.command()
def sweep(
    recipe: Recipe = "default",
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=V1,V2", help="Values of a key; a TOML array too."),
    ] = None,
    methods: Annotated[str, typer.Option(help=f"{METHODS_HELP}.")] = "jcpba,ubfp",
    draws: Annotated[int, typer.Option(help="Seeds per point, from `seed` on.")] = 20,
    rounds: Annotated[int, typer.Option(help="Rounds per draw.")] = 1,
    jobs: Annotated[
        int | None, typer.Option(help="Processes; default one per core.")
    ] = None,
    set_: Overrides = None,
    seed: Seed = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write, or to go on with.")
    ] = None,
) -> None:
    """Plan a grid of cells without training, over the cores, to Parquet."""
    from trimwave.cli import arguments
    from trimwave.report import sweep_table as report
    from trimwave.runs.comparison import method_texts
    from trimwave.runs.folder import new_folder, quoted
    from trimwave.sweep.grid import Sweep, parse_vary
    from trimwave.sweep.sweep import read_rows, run_sweep

    changes, varied = arguments.overrides(set_, {"seed": seed}), parse_vary(vary or ())
    config = arguments.load(recipe, changes)
    arguments.warn_of_idle("sweep", recipe, changes, config, list(varied))
    asked = Sweep(
        config=config,
        vary=varied,
        methods=method_texts(methods, config.options),
        draws=draws,
        rounds=rounds,
    )
    console, cores = plain_console(), os.cpu_count() or 1
    with new_folder(out, f"{config.name}-sweep", "sweep.json") as folder:
        again = f"the same command, with --out {quoted(folder)}"
        needed = folder / "sweep.json"
        with (
            stopped_hint(console, again, needed),
            report.draw_progress(console) as told,
        ):
            parts = run_sweep(asked, folder, cores if jobs is None else jobs, told)
        keys = tuple(asked.vary)
        summaries = report.summarise(read_rows(parts, (*keys, *report.NEEDED)), keys)
    print_whole(console, report.sweep_table(summaries, keys))
    for line in report.reason_lines(summaries, keys):
        console.print(line, soft_wrap=True)
    console.print(f"rows  {folder / 'parts'}", soft_wrap=True)


@app.command()
def methods() -> None:
    """List the methods with their options."""
    from trimwave.methods import METHODS
    from trimwave.report.name_tables import method_table

    plain_console().print(method_table(METHODS))


def main() -> None:
    """Run the command line; whatever happens, no traceback is printed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # terminals that lack a character
    errors = plain_console(stderr=True)

    def warn(message: Warning | str, *_: object, **__: object) -> None:
        said = printable(f"warning: {message}")
        errors.print(said, style="yellow", soft_wrap=True)

    warnings.showwarning = warn
    stop_alike()
    try:
        app()
    except (InputError, MissingExtraError) as error:
        errors.print(printable(f"error: {error}"), style="red", soft_wrap=True)
        sys.exit(2)
    except Exception as error:
        told = outside(error)
        said = printable(f"error: {told or report_of(error)}")
        errors.print(said, style="red", soft_wrap=True)
        sys.exit(2 if told else os.EX_SOFTWARE)
