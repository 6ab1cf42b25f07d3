"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

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
