"""The command that measures a pruned model on this machine: `trimwave measure`."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from trimwave.base.errors import InputError, MissingExtraError
from trimwave.cli.options import Data, Model, Out, Overrides, Recipe, Seed
from trimwave.report.aligned import legend
from trimwave.report.console import plain_console, stopped_hint

if TYPE_CHECKING:
    from trimwave.recipe.config import Config
    from trimwave.recipe.measured import Measured

FILE = "measured.json"


def measure(
    recipe: Recipe = "default",
    set_: Overrides = None,
    model: Model = None,
    data: Data = None,
    seed: Seed = None,
    points: Annotated[int, typer.Option(help="Sizes of the emulator.")] = 9,
    repeats: Annotated[int, typer.Option(help="Timed passes of each.")] = 5,
    out: Out = None,
) -> None:
    """Measure time and loss of the pruned model here, as tables for a recipe."""
    from trimwave.base.stored import write_atomic
    from trimwave.cli import arguments
    from trimwave.recipe.environment import Environment
    from trimwave.report import measured_report as report
    from trimwave.runs.folder import new_folder

    for name, value, least in (("points", points, 2), ("repeats", repeats, 1)):
        if value < least:
            raise InputError(f"--{name} must be at least {least}, got {value}.")
    named = {"model.name": model, "data.source": data, "seed": seed}
    changes = arguments.overrides(set_, named)
    config = arguments.load(recipe, changes)
    arguments.warn_of_idle("measure", recipe, changes, config)
    Environment.from_config(config)  # before a model is fetched
    console = plain_console()
    with (
        new_folder(out, f"{config.name}-measure", FILE) as folder,
        stopped_hint(console, "the same command", folder / FILE),
    ):
        found, facts = _measured(config, points, repeats, console)
        report.write_tables(found, folder)
        write_atomic(folder / FILE, f"{json.dumps(facts, indent=2)}\n")
        print("\n".join(["", *report.measured_table(found, console.width), ""]))
        for line in legend(report.MEANINGS, console.width):
            console.print(line, soft_wrap=True, style="dim")
        for line in report.closing_lines(found, folder):
            console.print(line, soft_wrap=True)
        title = f"{config.model.name} on {facts['hardware']['system']}"
        console.print(report.save_measured(found, title, folder), soft_wrap=True)


def _measured(
    config: "Config", points: int, repeats: int, console: Console
) -> "tuple[Measured, dict[str, Any]]":
    """Load, measure, and say what was measured on what."""
    from trimwave.base.provenance import hardware_and_versions

    try:
        from trimwave.lm.measure import measure as measured_on
        from trimwave.lm.session import PACKAGES, torch_facts
        from trimwave.lm.workbench import build_workbench
    except ModuleNotFoundError as missing:
        raise MissingExtraError("lm", str(missing.name)) from missing
    with console.status("loading") as status:

        def say(line: str) -> None:
            status.update(Text(line))

        bench = build_workbench(config, say)
        found = measured_on(bench, points, repeats, say)
    return found, {
        "config": config.to_dict(),
        **{name: values.tolist() for name, values in found.arrays().items()},
        "speed_flops_per_s": found.speed_flops_per_s,
        **bench.facts,
        **hardware_and_versions(PACKAGES),
        "torch": torch_facts(config),
    }
