"""A run whose clients are in processes of their own, here or elsewhere."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from trimwave.api.watch import Watch, heard
from trimwave.base.errors import MissingExtraError
from trimwave.recipe.config import Config
from trimwave.recipe.environment import Environment
from trimwave.runs.records import Run

if TYPE_CHECKING:
    from trimwave.net.serving import Listening

Told = Callable[[str, Any], None]
"""Told of events by kind: ``record``, ``client``, ``say``, ``warn``, ``plan``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """How a run goes over a network."""

    verb: str
    """The command that does it, and goes on with it."""
    run: Callable[[Path, Config, Told], None]
    """Runs a config in a folder to its end, telling of events."""


def _run_on_loopback(folder: Path, config: Config, told: Told) -> None:
    from trimwave.net.launch import run_on_loopback

    names = Environment.from_config(config).facts.get("client_ids", ())
    run_on_loopback(folder, config.to_dict(), config.cell.num_clients, told, names)


LOOPBACK = Way(verb="run", run=_run_on_loopback)
"""Clients are started on this machine."""


def served(listening: "Listening") -> Way:
    """Serve devices that join from other machines."""

    def serve(folder: Path, config: Config, told: Told) -> None:
        from trimwave.net.serving import serve_run

        serve_run(folder, config.to_dict(), listening, told)

    return Way(verb="serve", run=serve)


def run_over_network(
    folder: Path, config: Config, watch: Watch, way: Way
) -> list[dict[str, Any]]:
    """Run with clients in processes of their own; the records.

    Raises
    ------
    InputError
        If it cannot be started, or ends in an error.
    MissingExtraError
        If the extra `flower` or `lm` is not installed.
    """
    try:
        from trimwave.net.host import refuse_split
    except ModuleNotFoundError as missing:
        raise MissingExtraError("lm,flower", str(missing.name)) from missing
    refuse_split(config)
    with heard(watch, config) as (on_record, on_client):

        def told(kind: str, value: Any) -> None:
            if kind == "record":
                on_record(value)
            elif kind == "client":
                on_client(*value)
            elif kind == "warn":
                warnings.warn(str(value), stacklevel=2)
            elif kind == "say":
                watch.console.print(Text(str(value), style="dim"), soft_wrap=True)

        way.run(folder, config, told)
    return Run.open(folder).records()
