"""Splits of the band between clients whose sub-models are fixed."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from trimwave.decision.bands import best_shares, even_shares
from trimwave.decision.plan import Plan, Situation
from trimwave.decision.predict import latency_of, plan_of
from trimwave.model.submodel import Submodel

Bandwidth = Literal["optimal", "uniform"]
"""How the band is split: so that all end together, or evenly."""


def fixed_plan(
    situation: Situation, submodels: Sequence[Submodel], bandwidth: Bandwidth
) -> Plan:
    """Return the plan in which every client takes part with the sub-model given.

    Raises
    ------
    InfeasibleError
        If a sub-model does not fit its client's memory, C3.
    """
    bills = situation.costs.bills(submodels)
    if bandwidth == "uniform":
        shares = even_shares(situation.cell)
    else:
        clients = np.arange(len(submodels))
        latency = latency_of(situation, bills, clients)
        shares = best_shares(latency, situation.cell)
    down_hz, up_hz = shares
    return plan_of(situation, submodels, down_hz, up_bandwidth_hz=up_hz, bills=bills)
