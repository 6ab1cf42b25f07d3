"""The commands that plan without training: `trimwave plan`, `trimwave sweep`."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.console import Console

from trimwave.cli.options import Methods, Overrides, Recipe, Seed
from trimwave.report.aligned import legend, wrapped
from trimwave.report.console import plain_console, stopped_hint

if TYPE_CHECKING:
    from trimwave.recipe.config import Config


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
    time_s: Annotated[
        float | None,
        typer.Option("--time", help="Which second of a trace in seconds."),
    ] = None,
    cell: Annotated[
        Path | None, typer.Option(help="CELL.csv, in place of the recipe's clients.")
    ] = None,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="Latency against beta_bar, and prices.")
    ] = False,
    deadline_s: Annotated[
        float | None,
        typer.Option(
            "--deadline",
            metavar="S",
            help="Serve as many clients as end within S seconds.",
        ),
    ] = None,
    drop: Annotated[
        int | None,
        typer.Option(metavar="N", help="Drop the N clients that save the most time."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Print all clients, however many.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Plan one round without training: who gets how much band and model."""
    from trimwave.cli import arguments

    asked = arguments.check_question(pareto, deadline_s, drop, every)
    recipe, clients = arguments.planned_cell(source, cell, set_)
    changes = arguments.overrides(set_, {"seed": seed, "cell.clients": clients})
    config = arguments.load(recipe, changes)
    text = arguments.planned_method(method, solver, config.method)
    also = [] if round_ == 1 else ["--round"]
    also += [] if time_s is None else ["--time"]
    arguments.warn_of_idle("plan", recipe, changes, replace(config, method=text), also)
    if asked:
        arguments.check_exact(asked, method, solver)
    where = _Where(config, text, round_, time_s)
    shown = _tradeoff(where) if pareto else _plan(where, deadline_s, drop, every)
    if as_json:
        print(shown.json())
        return
    console = plain_console()
    _print_table(console, shown.table(console.width), shown.legend)
    for line in shown.lines:
        print("\n".join(wrapped(line, console.width)))


class _Where(NamedTuple):
    """What round is planned, and how."""

    config: "Config"
    method: str
    round_: int
    time_s: float | None


class _Shown(NamedTuple):
    """What is printed of it, the table for a width of the screen."""

    json: Callable[[], str]
    table: Callable[[int], list[str]]
    legend: Mapping[str, str]
    lines: list[str]


def _tradeoff(where: _Where) -> _Shown:
    """Return what `--pareto` prints."""
    from trimwave.report import tradeoff_table as report
    from trimwave.report.plan_table import json_text
    from trimwave.sweep.one_round import tradeoff_cell

    config, method, round_, time_s = where
    found = tradeoff_cell(config, method, round_=round_, time_s=time_s)
    return _Shown(
        json=lambda: json_text(report.tradeoff_json(*found)),
        table=lambda width: report.tradeoff_table(found[0], width),
        legend=report.tradeoff_meanings(found[0]),
        lines=report.price_lines(*found[1:]),
    )


def _plan(
    where: _Where, deadline_s: float | None, drop: int | None, every: bool
) -> _Shown:
    """Return what a plan prints, of all clients or of those who are served."""
    from trimwave.report import plan_table as report
    from trimwave.report.stage_lines import stage_json, stage_lines
    from trimwave.sweep.one_round import plan_cell, planned_stages, served_cell

    config, method, round_, time_s = where
    more: dict[str, Any] = {}
    told: list[str] = []
    if deadline_s is None and drop is None:
        situation, plan = plan_cell(config, method, round_=round_, time_s=time_s)
        stages = planned_stages(config, method, situation, plan)
        more, told = stage_json(stages), stage_lines(stages)
    else:
        situation, plan, selection = served_cell(
            config,
            method,
            deadline_s=deadline_s,
            num_dropped=drop or 0,
            round_=round_,
            time_s=time_s,
        )
        more = report.selection_json(selection, deadline_s)
        told = report.selection_lines(selection, deadline_s, plan.client_ids)
    return _Shown(
        json=lambda: report.json_text(report.plan_json(situation, plan) | more),
        table=lambda width: report.plan_table(plan, width, every=every),
        legend=report.plan_meanings(plan),
        lines=[*told, *report.plan_lines(situation, plan, every=every)],
    )


def _print_table(
    console: Console, table: Sequence[str], meanings: Mapping[str, str]
) -> None:
    """Print a table as fast as any text, and below it what its titles mean."""
    print("\n".join(["", *table, ""]))
    for line in legend(meanings, console.width):
        console.print(line, soft_wrap=True, style="dim")


def sweep(
    recipe: Recipe = "default",
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=V1,V2", help="Values of a key; a TOML array too."),
    ] = None,
    methods: Methods = None,
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
    from trimwave.runs.comparison import methods_of
    from trimwave.runs.folder import new_folder, quoted
    from trimwave.sweep.grid import Sweep, parse_vary
    from trimwave.sweep.sweep import read_rows, run_sweep

    changes, varied = arguments.overrides(set_, {"seed": seed}), parse_vary(vary or ())
    config = arguments.load(recipe, changes)
    also = [*varied, *([] if methods is None else ["methods"])]
    arguments.warn_of_idle("sweep", recipe, changes, config, also)
    asked = Sweep(
        config=config,
        vary=varied,
        methods=methods_of(config, methods),
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
    table = report.sweep_table(summaries, keys, console.width)
    _print_table(console, table, report.sweep_meanings(keys))
    for line in report.reason_lines(summaries, keys):
        console.print(line, soft_wrap=True)
    console.print(f"rows  {folder / 'parts'}", soft_wrap=True)
