"""A run whose clients are in processes of their own, here or elsewhere."""

import warnings
from collections.abc import Callable, Sequence
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

SHAPERS = "auto", "relay", "kernel"
"""Who shapes the links of an emulation."""

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
    from trimwave.net.loopback import run_on_loopback

    num_clients = config.cell.num_clients
    run_on_loopback(folder, config.to_dict(), num_clients, told, _names(config))


def _names(config: Config) -> Sequence[str]:
    """Return the ids of the clients, where the recipe has them."""
    found: Sequence[str] = Environment.from_config(config).facts.get("client_ids", ())
    return found


LOOPBACK = Way(verb="run", run=_run_on_loopback)
"""Clients are started on this machine."""


def served(listening: "Listening") -> Way:
    """Serve devices that join from other machines."""

    def serve(folder: Path, config: Config, told: Told) -> None:
        from trimwave.net.serving import serve_run

        serve_run(folder, config.to_dict(), listening, told)

    return Way(verb="serve", run=serve)


def emulated(shaper: str) -> Way:
    """Start clients on this machine, over links shaped to the plan.

    Parameters
    ----------
    shaper : str
        Of `SHAPERS`.
    """

    def emulate(folder: Path, config: Config, told: Told) -> None:
        from trimwave.net.emulate import links_of, run_on_links

        num_clients = config.cell.num_clients
        links, why = links_of(shaper, num_clients)
        by = f"{links.kind} ({why})" if why and shaper == "auto" else links.kind
        told(
            "say",
            f"everything {config.cell.slowdown:g} times slower than the recipe says, "
            f"links shaped by {by}",
        )
        plain = config.to_dict()
        run_on_links(folder, plain, num_clients, told, _names(config), links)

    return Way(verb="emulate", run=emulate)


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
        from trimwave.net.host import refuse_unbuilt
    except ModuleNotFoundError as missing:
        raise MissingExtraError("lm,flower", str(missing.name)) from missing
    refuse_unbuilt(config)
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
