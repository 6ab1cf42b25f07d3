"""The trace of a recipe, read once however often it is asked for."""

from functools import lru_cache
from pathlib import Path

from trimwave.base.stored import sha256_of
from trimwave.cell.trace import Holes, Trace
from trimwave.cell.trace_file import read_trace
from trimwave.recipe.config import RadioConfig


def trace_of(
    radio: RadioConfig, ids: tuple[str, ...] | None = None
) -> tuple[Trace, str]:
    """Return the trace that `radio.trace` names, and its SHA-256.

    Parameters
    ----------
    radio : RadioConfig
        Its `trace` and `trace_holes`.
    ids : tuple of str, optional
        The clients' ids in the cell's order, where it has any.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    path = Path(radio.trace)
    try:
        digest = sha256_of(path)
    except (OSError, ValueError):
        digest = ""  # reading says what is wrong
    return _read(path, digest, radio.trace_holes, ids), digest


@lru_cache(maxsize=4)
def _read(path: Path, digest: str, holes: Holes, ids: tuple[str, ...] | None) -> Trace:
    """Read it, or return what was read of the same content."""
    return read_trace(path, holes, ids)
