"""The commands that make keys and certificates for a run over several machines."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from trimwave.base.errors import InputError, MissingExtraError, nearest
from trimwave.report.console import plain_console


class KeysGroup(TyperGroup):
    """Its commands; settings of recipes, once listed here, are where they are now."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command.

        Raises
        ------
        InputError
            If there is none of the name.
        """
        name = args[0]
        if name in self.commands or name.startswith("-"):
            return super().resolve_command(ctx, args)
        from trimwave.report.setting_table import settings_of_recipes

        try:
            settings_of_recipes(name)
        except InputError:
            raise InputError(
                f"no command `trimwave keys {name}`; {nearest(name, self.commands)}"
            ) from None
        raise InputError(
            f"`trimwave keys` makes keys and certificates; settings are listed by "
            f"`trimwave settings {name}`."
        )


keys_app = typer.Typer(cls=KeysGroup, no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--to", help="The folder of keys.")]


@keys_app.command(epilog="Example: trimwave keys server fl.example.org 192.168.1.10")
def server(
    hosts: Annotated[
        list[str],
        typer.Argument(
            metavar="HOST...", help="Names and addresses by which clients reach it."
        ),
    ],
    to: Folder = Path("keys"),
    days: Annotated[int, typer.Option(help="How long the certificate is good.")] = 365,
) -> None:
    """Make the server's certificate, and the authority (CA) that signs it.

    The CA is made once; later certificates are signed by the same one.
    """
    try:
        from trimwave.net.keys import host_names, make_ca, make_server_certificate
    except ModuleNotFoundError as missing:
        raise MissingExtraError("flower", str(missing.name)) from missing
    host_names(hosts)  # before anything is written
    ca = make_ca(to)
    made = make_server_certificate(to, hosts, days)
    _say(
        f"{to}/server.pem covers {', '.join(hosts)} and this machine itself until "
        f"{made.not_valid_after_utc:%Y-%m-%d}.",
        f"Copy {ca} to every client, and nothing else of {to}.",
    )


@keys_app.command(epilog="Example: trimwave keys client ward-1 ward-2")
def client(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="One name per client.")
    ],
    to: Folder = Path("keys"),
) -> None:
    """Make a key pair for each client, by which the server knows it."""
    try:
        from trimwave.net.key_files import refuse_to_replace
        from trimwave.net.keys import check_name, client_files, make_client_key
    except ModuleNotFoundError as missing:
        raise MissingExtraError("flower", str(missing.name)) from missing
    for name in names:  # all or none of them
        check_name(name)
        refuse_to_replace(*client_files(to, name))
    for name in dict.fromkeys(names):
        private = make_client_key(to, name)
        _say(f"{private} is for the device {name} only: move it there.")
    _say(
        f"The server needs the .pub files alone: `trimwave serve --keys {to}` takes "
        f"every one in {to}/clients.",
    )


def _say(*lines: str) -> None:
    for line in lines:
        plain_console().print(line, soft_wrap=True)
