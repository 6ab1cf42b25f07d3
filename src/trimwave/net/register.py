"""Tells a running SuperLink the public keys of the clients that it is to let in."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trimwave.base.errors import RunError, one_line
from trimwave.base.stored import write_atomic
from trimwave.net.processes import flower_env

LONGEST_S = 60.0
"""Longest that one registration may take [s]; it starts a Python process, some 4 s."""

KNOWN = "[code: 23]"
"""How Flower says that a key is registered already."""


def write_connection(home: Path, address: str, ca: Path) -> None:
    """Write how Flower's command line reaches a SuperLink, under the name ``run``.

    Parameters
    ----------
    home : Path
        The folder that is FLWR_HOME.
    address : str
        Of the SuperLink, ``host:port``.
    ca : Path
        The certificate of its CA.
    """
    home.mkdir(parents=True, exist_ok=True)
    quoted = json.dumps(str(ca.absolute()))  # a basic string of TOML
    write_atomic(
        home / "config.toml",
        f'[superlink]\ndefault = "run"\n\n[superlink.run]\naddress = "{address}"\n'
        f"root-certificates = {quoted}\n",
    )


def register(home: Path, clients: Mapping[str, Path]) -> dict[str, int | None]:
    """Register clients' public keys with a SuperLink; those it knows already stay.

    Parameters
    ----------
    home : Path
        FLWR_HOME, where `write_connection` wrote how to reach it.
    clients : mapping
        Files of public keys by the names of the clients.

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
    return {name: _register(home, name, path) for name, path in clients.items()}


def _register(home: Path, name: str, path: Path) -> int | None:
    argv = ["flwr", "supernode", "register", str(path), "run"]
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
    why = one_line(why.partition("\n\n")[2] or why)
    raise RunError(f"the SuperLink did not take the key of client {name}: {why}")


def _answer(text: str) -> dict[str, Any]:
    """Return the JSON object that Flower prints, {} if it printed something else."""
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
