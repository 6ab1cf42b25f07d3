"""The commands that train: `trimwave run`, `trimwave compare`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimwave.cli.options import (
    METHOD_HELP,
    Data,
    Methods,
    Model,
    Out,
    Overrides,
    Recipe,
    Resume,
    Rounds,
    Seed,
)
from trimwave.report.console import plain_console

if TYPE_CHECKING:
    from trimwave.api.over_network import Way
    from trimwave.recipe.idle import Command


def run(
    recipe: Recipe = "default",
    set_: Overrides = None,
    method: Annotated[str | None, typer.Option(help=METHOD_HELP)] = None,
    model: Model = None,
    data: Data = None,
    rounds: Rounds = None,
    seed: Seed = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="Where the clients are: `local`, in this process; `flower`, in "
            "processes of their own, over sockets. Default local."
        ),
    ] = None,
    resume: Resume = None,
    out: Out = None,
) -> None:
    """Fine-tune with one method and record every round."""
    from trimwave.cli import arguments

    named = {"method": method, "model.name": model, "data.source": data}
    changes = arguments.overrides(set_, {**named, "rounds": rounds, "seed": seed})
    begin(recipe, changes, resume, out, backend)


def begin(
    recipe: str,
    changes: Sequence[str],
    resume: Path | None,
    out: Path | None,
    backend: str | None,
    way: "Way | None" = None,
) -> None:
    """Begin a run, or go on with the one in the folder `resume`.

    `way` is how it goes over a network, if it does; on loopback if left out.
    """
    from trimwave.api.over_network import LOOPBACK
    from trimwave.api.training import new_run, resume_run
    from trimwave.api.watch import Watch
    from trimwave.cli import arguments

    watch, way = Watch(console=plain_console()), way or LOOPBACK
    if resume is not None:
        folder = arguments.resumed_folder(resume, out)
        resume_run(
            folder,
            lambda begun: arguments.continued(folder, begun, recipe, changes),
            watch,
            backend,
            way,
        )
    else:
        config = arguments.load(recipe, changes)
        command: Command = "serve" if backend == "flower" else "run"
        arguments.warn_of_idle(command, recipe, changes, config)
        new_run(config, out, watch, backend or "local", way)


def compare(
    recipe: Recipe = "default",
    methods: Methods = None,
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
    from trimwave.api.training import new_comparison, resume_comparison
    from trimwave.api.watch import Watch
    from trimwave.cli import arguments
    from trimwave.runs.comparison import Comparison

    named = {"model.name": model, "data.source": data, "rounds": rounds, "seed": seed}
    changes = arguments.overrides(set_, named)
    watch = Watch(console=plain_console())
    if resume is not None:
        folder = arguments.resumed_folder(resume, out)

        def further(begun: Comparison) -> Comparison:
            config = arguments.continued(folder, begun.config, recipe, changes)
            return begun.continued(folder, config, methods, seeds)

        resume_comparison(folder, further, watch)
    else:
        config = arguments.load(recipe, changes)
        also = [] if methods is None else ["methods"]
        arguments.warn_of_idle("compare", recipe, changes, config, also)
        new_comparison(Comparison.of(config, methods, seeds), out, watch)
