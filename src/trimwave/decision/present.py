"""Rounds in which not all clients are there: what a method sees, and its plan for all.

A method plans for a cell of those who are there and need not know of others. `spread`
makes its plan one for the run's K clients.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from trimwave.base.units import IntArray
from trimwave.decision.check import given_arrays
from trimwave.decision.plan import Plan, Present

ABSENT = "absent"
"""What `Plan.binding` says of a client that is not there."""

MOST_NAMED = 8
"""Clients that an error numbers anew at the most."""


def spread(plan: Plan, present: Present) -> Plan:
    """Return a plan of some clients as one of all; the others do not take part.

    What lies on the devices before round one counts for the others too, since they may
    be there later; `install_s` is the time of those who are there.

    Parameters
    ----------
    plan : Plan
        Of the clients that are there.
    present : Present
        Who they are.
    """
    clients, num_clients = present.clients, present.num_clients
    submodels: list[Any] = [None] * num_clients
    binding = [ABSENT] * num_clients
    for at, k in enumerate(clients.tolist()):
        submodels[k], binding[k] = plan.submodels[at], plan.binding[at]
    arrays: dict[str, Any] = {}
    energy = () if plan.energy_j is None else ("energy_j",)
    for name in (*given_arrays(plan), "server_s", "given_s", *energy):
        values = np.asarray(getattr(plan, name))
        rest = values.max() if name == "install_bits" else 0
        arrays[name] = np.full(num_clients, rest, dtype=values.dtype)
        arrays[name][clients] = values
    return replace(
        plan,
        submodels=tuple(submodels),
        binding=tuple(binding),
        client_ids=present.client_ids,
        **arrays,
    )


def numbered(clients: IntArray) -> str:
    """Say who is meant where an error numbers the clients that are there."""
    first = clients[:MOST_NAMED].tolist()
    named = [f"{at} is client {k}" for at, k in enumerate(first)]
    more = ", and so on" if clients.size > MOST_NAMED else ""
    return (
        f"(Not all clients are there, and those who are have numbers of their own: "
        f"{', '.join(named)}{more}.)"
    )
