"""The command line: parse, call, print. Heavy imports happen inside the commands."""

import io
import os
import sys
import warnings
from collections.abc import Callable
from typing import Annotated

import typer

from trimwave.base.errors import InputError, MissingExtraError, printable
from trimwave.base.signals import stop_alike
from trimwave.cli.crash import outside, report_of
from trimwave.cli.export import export
from trimwave.cli.keys import keys_app
from trimwave.cli.lists import methods, recipes, settings
from trimwave.cli.measure import measure
from trimwave.cli.models import models_app
from trimwave.cli.net import emulate, join, profile, serve
from trimwave.cli.plan import plan, sweep
from trimwave.cli.states import states
from trimwave.cli.train import compare, run
from trimwave.cli.tune import tune
from trimwave.report.console import plain_console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Example: trimwave plan gpt2-medium",
)
EXAMPLES: dict[Callable[..., None], str] = {
    run: "trimwave run my.toml --method ubfp --rounds 3",
    compare: "trimwave compare --methods jcpba,lora --seeds 3",
    export: "trimwave export runs/default-jcpba-s0 --to my-model",
    plan: "trimwave plan gpt2-medium --method jcpba:solver=bcd",
    sweep: "trimwave sweep --vary radio.path_loss_db=60,94 --draws 5",
    serve: "trimwave serve my.toml --host 0.0.0.0 --keys keys",
    emulate: "trimwave emulate --set cell.num_clients=4 --slowdown 50",
    join: "trimwave join base.example --data rows.jsonl --key me --ca ca.pem",
    profile: "trimwave profile",
    measure: "trimwave measure --points 5 --repeats 3",
    tune: "trimwave tune best/lora --learning-rates 3e-3,6e-3,1.2e-2",
    states: "trimwave states --delete",
    methods: "trimwave plan --method fedbiot:drop=0.5",
    recipes: "trimwave run letter/small-gsm8k",
    settings: "trimwave settings cell",
}
"""Commands, each with one that works; the last three list what it names."""

for command, example in EXAMPLES.items():
    app.command(epilog=f"Example: {example}")(command)
app.add_typer(
    models_app,
    name="models",
    help="List the models known by name, or fetch one.",
    epilog="Example: trimwave models fetch smollm2-135m",
)
app.add_typer(
    keys_app,
    name="keys",
    help="Make keys and certificates for a run over several machines.",
    epilog="Example: trimwave keys server fl.example.org",
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version as version_of

        print(f"trimwave {version_of('trimwave')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, help="Print the version.", is_eager=True
        ),
    ] = False,
) -> None:
    """Fine-tune a language model over slow, unequal wireless links."""


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
