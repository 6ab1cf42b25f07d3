"""Splits of the band between clients whose sub-models are fixed."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from trimwave.base.units import FloatArray
from trimwave.decision.bands import best_shares, even_shares
from trimwave.decision.plan import Plan, Situation
from trimwave.decision.predict import latency_of, plan_of
from trimwave.model.submodel import Submodel

Bandwidth = Literal["optimal", "uniform"]
"""How the band is split: so that all end together, or evenly."""


def fixed_plan(
    situation: Situation, submodels: Sequence[Submodel | None], bandwidth: Bandwidth
) -> Plan:
    """Return the plan in which clients take part with the sub-models given.

    Parameters
    ----------
    submodels : [K]
        None for who rests, and has nothing of the band.

    Raises
    ------
    InfeasibleError
        If a sub-model does not fit its client's memory, C3.
    """
    bills = situation.costs.bills([one for one in submodels if one is not None])
    clients = np.array([k for k, one in enumerate(submodels) if one is not None])
    sharing = situation.cell.take(clients)
    if bandwidth == "uniform":
        shares = even_shares(sharing)
    else:
        latency = latency_of(situation, bills, clients)
        shares = best_shares(latency, sharing)

    def spread(share_hz: FloatArray) -> FloatArray:
        full_hz = np.zeros(len(submodels))
        full_hz[clients] = share_hz
        return full_hz

    up_hz = None if shares.up_hz is None else spread(shares.up_hz)
    return plan_of(
        situation,
        submodels,
        spread(shares.down_hz),
        up_bandwidth_hz=up_hz,
        bills=bills,
    )
