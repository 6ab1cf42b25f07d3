"""What a run knows of its clients beside the recipe: who is there, what they hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trimwave.base.units import FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """Clients as they were found."""

    ready: NDArray[np.bool_] | None = None
    """[K] who can be planned; None = everyone."""
    fields: Mapping[str, FloatArray] = field(default_factory=dict)
    """Arrays of `Cell`, [K] each, in place of what the recipe says: what was measured
    on the clients, or what they hold."""
    num_samples: FloatArray | None = None
    """[K] |D_k| as the clients say; None = as the server dealt rows out."""


ALL_AS_DRAWN = Seen()
"""Everyone is there, and as the recipe says."""
