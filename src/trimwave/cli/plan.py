"""The commands that plan without training: `trimwave plan`, `trimwave sweep`."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from trimwave.cli.options import METHODS_HELP, Overrides, Recipe, Seed
from trimwave.report.console import plain_console, print_whole, stopped_hint


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

    clients, recipe = (source, "default") if is_table_name(source) else (None, source)
    changes = arguments.overrides(set_, {"seed": seed, "cell.clients": clients})
    config = arguments.load(recipe, changes)
    text = arguments.planned_method(method, solver, config.method)
    also = [] if round_ == 1 else ["--round"]
    also += [] if time_s is None else ["--time"]
    arguments.warn_of_idle("plan", recipe, changes, replace(config, method=text), also)
    if pareto:
        arguments.check_pareto(method, solver)
        found = tradeoff_cell(config, text, round_=round_, time_s=time_s)
        as_dict = tradeoff.tradeoff_json(*found)
        table = tradeoff.tradeoff_table(found[0])
        lines = tradeoff.price_lines(*found[1:])
    else:
        planned = plan_cell(config, text, round_=round_, time_s=time_s)
        as_dict, table = plan_json(*planned), plan_table(planned[1])
        lines = plan_lines(*planned)
    if as_json:
        print(json.dumps(as_dict, indent=2))
        return
    console = plain_console()
    print_whole(console, table)
    for line in lines:
        console.print(line, soft_wrap=True)


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
