"""The clients of a run over a network: who they are, and what was measured on them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trimwave.base.errors import InputError
from trimwave.base.stored import write_atomic

SMOOTHING = 0.5
"""Weight of a new measurement against those before it."""


@dataclass
class Member:
    """One client."""

    number: int
    """k."""
    name: str
    node: int
    """Where it is reached now; another one after it was begun anew."""
    num_samples: int | None
    """Its own rows; None = the rows that the recipe deals to it."""
    measured: dict[str, float] = field(default_factory=dict)
    """Fields of `Cell`, smoothed: what was measured on it."""
    counted: int = 0
    """The last round in which an update of it counted; 0 = none did."""
    away: str = ""
    """Why it is not planned with; empty = it is there."""

    def measure(self, found: Mapping[str, float]) -> None:
        """Take a measurement in."""
        for name, value in found.items():
            before = self.measured.get(name, value)
            self.measured[name] = before + SMOOTHING * (value - before)


class Seats:
    """Which client has which number, kept over restarts of the server.

    Parameters
    ----------
    path : Path
        Where they are written down.
    num_clients : int
        K.
    client_ids : sequence of str, optional
        The clients' names, where the recipe has them.
    """

    def __init__(
        self, path: Path, num_clients: int, client_ids: Sequence[str] | None
    ) -> None:
        self._path, self._num_clients, self._ids = path, num_clients, client_ids
        self._taken: dict[str, list[Any]] = {}
        if path.exists():
            self._taken = json.loads(path.read_bytes())

    def seat(self, name: str, key: str) -> int:
        """Return the number of a client.

        Parameters
        ----------
        name : str
            What it calls itself.
        key : str
            What its node is known by; a name is bound to the first key that has it,
            unless keys are made anew at every start ("" then).

        Raises
        ------
        InputError
            If there is no place for it.
        """
        if name in self._taken:
            number, bound = self._taken[name]
            if bound != key:
                raise InputError(
                    f"client {name!r} comes with another key than before; its place is "
                    "kept for the device that had it."
                )
            return int(number)
        number = self._number_of(name)
        self._taken[name] = [number, key]
        write_atomic(self._path, json.dumps(self._taken).encode())
        return number

    def _number_of(self, name: str) -> int:
        taken = {number for number, _ in self._taken.values()}
        if self._ids is not None:
            if name not in self._ids:
                raise InputError(
                    f"client {name!r} is none of the recipe's: {', '.join(self._ids)}."
                )
            return self._ids.index(name)
        if name.isdecimal() and int(name) < self._num_clients:
            if int(name) not in taken:
                return int(name)
        free = sorted({*range(self._num_clients)} - taken)
        if not free:
            raise InputError(
                f"client {name!r} comes on top of the {self._num_clients} of "
                "`cell.num_clients`; raise it."
            )
        return free[0]
