"""The trace of a recipe, read once however often it is asked for."""

from functools import lru_cache
from pathlib import Path

from trimwave.base.stored import sha256_of
from trimwave.cell.trace import Holes, Trace
from trimwave.cell.trace_file import read_trace
from trimwave.recipe.config import Config
from trimwave.recipe.fleet import fleet_of


def trace_of(config: Config) -> tuple[Trace, str]:
    """Return the trace that `radio.trace` names, and its SHA-256.

    Its clients are those of `cell.clients`, where that has ids.

    Raises
    ------
    InputError
        If it cannot be read, or has another number of clients than the cell.
    """
    fleet, path = fleet_of(config), Path(config.radio.trace)
    try:
        digest = sha256_of(path)
    except (OSError, ValueError):
        digest = ""  # reading says what is wrong
    ids = fleet.ids if fleet else None
    trace = _read(path, digest, config.radio.trace_holes, ids)
    trace.require_clients(config.cell.num_clients)
    return trace, digest


@lru_cache(maxsize=4)
def _read(path: Path, digest: str, holes: Holes, ids: tuple[str, ...] | None) -> Trace:
    """Read it, or return what was read of the same content."""
    return read_trace(path, holes, ids)
