"""What lies on the disk of the states of rows, and how it goes."""

from pathlib import Path
from typing import Annotated

import typer

from trimwave.base.errors import InputError, MissingExtraError
from trimwave.base.stored import disk_errors
from trimwave.report.console import plain_console


def states(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="A device's cache (--cache of join); this user's if left out."
        ),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them all.")] = False,
) -> None:
    """Say what kept states of rows take on the disk, or delete them.

    A state can be turned back into the row's text (`train.state_disk_bytes`).
    """
    try:
        from trimwave.lm.source.fetch import cache_folder
        from trimwave.lm.states.files import FOLDER, delete_states, kept_states
    except ModuleNotFoundError as missing:
        raise MissingExtraError("lm", str(missing.name)) from missing
    if folder is None:
        folder = cache_folder() / FOLDER
    elif not folder.is_dir():
        raise InputError(f"there is no folder {folder}; name a cache, or its states.")
    elif (folder / FOLDER).is_dir():
        folder /= FOLDER
    with disk_errors(folder, "some states may be left", "try again"):
        count, taken = delete_states(folder) if delete else kept_states(folder)
    what = "states deleted" if delete else "states"
    plain_console().print(
        f"{folder}: {count} {what}, {taken / 1e6:.1f} MB", soft_wrap=True
    )
