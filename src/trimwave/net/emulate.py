"""A run on links that are shaped to its plan, round by round, and measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trimwave.base.errors import InputError
from trimwave.net.launch import Told
from trimwave.net.links.kernel import KernelLinks, why_not
from trimwave.net.links.links import Links, Ports
from trimwave.net.links.meter import Meter
from trimwave.net.links.relays import RelayLinks
from trimwave.net.loopback import run_on_loopback
from trimwave.net.processes import free_port
from trimwave.runs.phases import Passed, phases_of, read_phases, write_phases
from trimwave.runs.records import Run


def links_of(shaper: str, num_clients: int) -> tuple[Links, str]:
    """Return links, not yet made, and why the kernel's cannot be had, if that is so.

    ``relay`` and ``kernel`` are what they are called; ``auto`` is the kernel's where
    they can be had, else relays.

    Raises
    ------
    InputError
        If the kernel is asked for and cannot.
    """
    why = "" if shaper == "relay" else why_not()
    if shaper == "kernel" and why:
        raise InputError(f"--shaper kernel: {why}; --shaper relay asks for nothing.")
    ports = Ports(control=free_port(), blobs=free_port())
    made = RelayLinks if why or shaper == "relay" else KernelLinks
    return made(ports, num_clients), why


def run_on_links(
    folder: Path,
    config: Mapping[str, Any],
    num_clients: int,
    told: Told,
    names: Sequence[str],
    links: Links,
) -> None:
    """Run on this machine over shaped links; ``phases.csv`` grows with each round.

    Clients join before anything is planned, over links without a limit.

    Parameters
    ----------
    folder, config, num_clients, told, names
        As in `run_on_loopback`.
    links : Links
        Not yet made.

    Raises
    ------
    RunError
        If the links cannot be made, or the run ends in an error.
    """
    rates: dict[int, Mapping[str, float]] = {}
    with links, Meter(links) as meter:

        def passed(
            client: int, way: int, from_s: float, to_s: float
        ) -> tuple[float, float]:
            rate_bps = rates[client][("down_bps", "up_bps")[way]]
            return meter.passed(client, way, from_s, to_s, rate_bps)

        def heard(kind: str, value: Any) -> None:
            if kind == "plan":
                for client, of in value.items():
                    rates[int(client)] = of
                    links.set_rates(int(client), **of)
            elif kind == "record":
                _measure(folder, value, meter, passed)
            told(kind, value)

        run_on_loopback(folder, config, num_clients, heard, names, links)


def _measure(
    folder: Path, record: Mapping[str, Any], meter: Meter, passed: Passed
) -> None:
    """Add a round's phases, unless it was run before these links were made."""
    number = record["round"]
    timings = {one["round"]: one for one in Run.open(folder).timings()}
    timing = timings.get(number, {})
    asked = [one.get("asked_at_s", 0.0) for one in timing.get("clients", {}).values()]
    if number == 0 or not asked or max(asked) < meter.started_s:
        return
    before = [one for one in read_phases(folder) if one.round < number]
    write_phases(folder, [*before, *phases_of(record, timing, passed)])
