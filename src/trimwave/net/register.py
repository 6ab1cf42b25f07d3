"""Tells a running SuperLink the public keys of the clients that it is to let in."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from trimwave.base.errors import RunError, one_line
from trimwave.net.credentials import Credentials
from trimwave.net.processes import flower_env

LONGEST_S = 60.0
"""Longest that one registration may take [s]; it starts a Python process, some 4 s."""

KNOWN = "[code: 23]"
"""How Flower says that a key is registered already."""


def register_clients(
    credentials: Credentials, home: Path, connection: str
) -> dict[str, int | None]:
    """Register the clients' keys with a SuperLink; those it knows already stay.

    Parameters
    ----------
    credentials : Credentials
        The server's, with the clients' public keys by name.
    home : Path
        FLWR_HOME, whose ``config.toml`` says how to reach the SuperLink.
    connection : str
        The name that it has there.

    Returns
    -------
    dict
        Node ids by name; None for a key that was registered before, whose id Flower
        does not tell.

    Raises
    ------
    RunError
        If the SuperLink cannot be reached or refuses a key.
    """
    return {
        name: _register(name, path, home, connection)
        for name, path in credentials.clients.items()
    }


def _register(name: str, path: Path, home: Path, connection: str) -> int | None:
    argv = ["flwr", "supernode", "register", str(path), connection]
    argv += ["--name", name, "--format", "json"]
    try:
        done = subprocess.run(
            argv,
            env=flower_env(home),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RunError(
            f"the SuperLink did not answer within {LONGEST_S:.0f} s about the key of "
            f"client {name}."
        ) from None
    told = _answer(done.stdout)
    if isinstance(number := told.get("node-id"), int):  # its exit status is always 0
        return number
    why = str(told.get("error-message", f"{done.stdout} {done.stderr}"))
    if KNOWN in why:
        return None
    why = one_line(re.sub(r"\AUsing SuperLink:.*\n\s*", "", why))
    raise RunError(f"the SuperLink did not take the key of client {name}: {why}")


def _answer(text: str) -> dict[str, Any]:
    """Return the JSON object that Flower prints, {} if it printed something else."""
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
