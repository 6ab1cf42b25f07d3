"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[
    str, typer.Argument(help="A recipe's name (trimwave recipes) or TOML file.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting of the recipe (trimwave settings).",
    ),
]
Methods = Annotated[
    str | None,
    typer.Option(
        help="Either all, or several between commas, each NAME[:OPTION=VALUE] or, your "
        "own, MODULE:CLASS; default the recipe's own, jcpba and ubfp."
    ),
]
METHOD_HELP = (
    "The method, NAME[:OPTION=VALUE] or, your own, MODULE:CLASS; default the recipe's."
)
Model = Annotated[
    str | None,
    typer.Option(help="The model: a name, a folder or a hub name; model.name."),
]
Data = Annotated[
    str | None,
    typer.Option(help="The rows: a file, a folder or a hub name; data.source."),
]
Rounds = Annotated[int | None, typer.Option(help="Train so many rounds.")]
Seed = Annotated[int | None, typer.Option(help="Everything random follows from it.")]
Resume = Annotated[
    Path | None, typer.Option(help="Go on in this folder; only --rounds may grow.")
]
Out = Annotated[
    Path | None, typer.Option(help="Write this folder; default one under runs/.")
]
