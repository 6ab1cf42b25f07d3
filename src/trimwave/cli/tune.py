"""The command that picks a method's step size and rank: `trimwave tune`."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from trimwave.base.errors import InputError, MissingExtraError
from trimwave.cli.options import METHOD_HELP, Data, Model, Overrides, Recipe, Seed
from trimwave.report.aligned import legend
from trimwave.report.console import plain_console


def tune(
    recipe: Recipe = "default",
    set_: Overrides = None,
    method: Annotated[str | None, typer.Option(help=METHOD_HELP)] = None,
    model: Model = None,
    data: Data = None,
    seed: Seed = None,
    learning_rates: Annotated[
        str | None,
        typer.Option(
            metavar="R1,R2",
            help="Step sizes; default 1e-3 to 1.6e-2 for LoRA, 1e-5 to 1e-3 else.",
        ),
    ] = None,
    ranks: Annotated[
        str | None,
        typer.Option(
            metavar="R1,R2",
            help="LoRA ranks; default 4 and 16, or what the method itself says.",
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            help="Rounds that each is tried for; default 2, of stages 2 of the last."
        ),
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="File to write, a recipe over this one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder that keeps the runs.")
    ] = None,
) -> None:
    """Pick a method's step size and LoRA rank by short runs on public rows alone."""
    from trimwave.base.stored import disk_errors, write_atomic
    from trimwave.cli import arguments
    from trimwave.methods import parse_method
    from trimwave.recipe.environment import Environment
    from trimwave.recipe.recipe import find_recipe, is_ours

    if rounds is not None and rounds < 1:
        raise InputError(f"--rounds must be at least 1, got {rounds}.")
    if write is not None and write.exists():
        raise InputError(f"--write {write} is there already; name another file.")
    if write is not None and not write.parent.is_dir():  # known before hours of runs
        raise InputError(
            f"--write {write}: there is no folder {write.parent}; make it."
        )
    if out is not None and out.exists() and any(out.iterdir()):
        raise InputError(f"--out {out} is not empty; name another folder.")
    named = {"method": method, "model.name": model, "data.source": data, "seed": seed}
    changes = arguments.overrides(set_, named)
    config = arguments.load(recipe, changes)
    arguments.warn_of_idle("run", recipe, changes, config)
    Environment.from_config(config)  # before a model is fetched
    parse_method(config.method, config.options)
    rates = [*_values(learning_rates, "--learning-rates", float)]
    sizes = [*_values(ranks, "--ranks", int)]
    try:
        from trimwave.lm.tuning import tune
        from trimwave.lm.workbench import build_workbench
    except ModuleNotFoundError as missing:
        raise MissingExtraError("lm", str(missing.name)) from missing
    from trimwave.report import tune_table as report
    from trimwave.runs.tuned import Tried

    console = plain_console()

    def say(line: str) -> None:
        console.print(line, style="dim", soft_wrap=True, markup=False)

    def told(tried: Tried) -> None:
        rank = "" if tried.lora_rank is None else f", rank {tried.lora_rank}"
        end = "diverged" if tried.diverged else f"loss {tried.losses[-1]:.4f}"
        say(f"learning rate {tried.learning_rate:g}{rank}: {end}")

    bench = build_workbench(config, say)
    tuned = tune(bench, config, rates, sizes, rounds, out, told)
    print("\n".join(["", *report.tune_table(tuned, console.width), ""]))
    for line in legend(report.MEANINGS, console.width):
        console.print(line, soft_wrap=True, style="dim")
    for line in report.tune_lines(tuned):
        console.print(line, soft_wrap=True, markup=False)
    path = find_recipe(recipe)
    below = recipe if is_ours(path) else str(path.absolute())
    lines = report.tune_toml(tuned, below, config.method)
    if write is None:
        print("\n".join(["", *lines]))
        return
    with disk_errors(write, "nothing was written", "tune again"):
        write_atomic(write, "\n".join([*lines, ""]))
    console.print(f"recipe  {write}", soft_wrap=True, markup=False)


def _values(text: str | None, option: str, kind: type[Any]) -> Iterator[Any]:
    """Read the values of an option, separated by commas.

    Raises
    ------
    InputError
        If one is no positive number of its kind, or comes twice.
    """
    seen = set()
    for one in [] if text is None else text.split(","):
        try:
            value = kind(one)
            if not (0 < value < math.inf) or value in seen:
                raise ValueError
        except ValueError:
            words = "whole numbers from 1" if kind is int else "positive numbers"
            raise InputError(
                f"{option} must be {words}, each another, separated by commas, got "
                f"{one.strip()!r} in {text!r}."
            ) from None
        seen.add(value)
        yield value
