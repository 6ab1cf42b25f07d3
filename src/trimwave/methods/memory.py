"""Who can hold a sub-model in memory, for methods that let the others rest."""

import numpy as np

from trimwave.base.errors import InfeasibleError
from trimwave.base.units import IntArray
from trimwave.decision.plan import Situation
from trimwave.model.submodel import Bill
from trimwave.problem.violation import ROUNDING, Violation


def holders(
    situation: Situation, bill: Bill, part: str = "its part of the model"
) -> IntArray:
    """Return the clients whose memory holds a sub-model, [K'] ascending, C3.

    `part` is what messages call it.

    Raises
    ------
    InfeasibleError
        If there is none.
    """
    have, need = situation.cell.memory_bytes, bill.memory_bytes
    able = np.flatnonzero(need <= have * (1 + ROUNDING))
    if able.size:
        return able
    most = int(np.argmax(have))
    raise InfeasibleError(
        [
            Violation(
                constraint="C3",
                client=most,
                shortfall=float(need - have[most]),
                message=(
                    f"C3: no client holds {part}, {need / 1e9:.3f} GB; "
                    f"client {most} has the most, {have[most] / 1e9:.3f} GB; lower the "
                    "batch size or `train.seq_len`, or add clients with more memory."
                ),
            )
        ]
    )
