"""Splits of the band between clients whose sub-models are fixed."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from trimwave.model.submodel import Submodel
from trimwave.plan.plan import Plan, Situation
from trimwave.plan.predict import best_band, even_band, latency_of, plan_of

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
        share_hz = even_band(situation, len(submodels))
    else:
        clients = np.arange(len(submodels))
        share_hz = best_band(latency_of(situation, bills, clients), situation.cell)
    return plan_of(situation, submodels, share_hz, bills=bills)
