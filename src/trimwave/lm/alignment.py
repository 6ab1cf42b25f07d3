"""Whether a run's server aligns the emulator, and with what."""

import warnings
from typing import Any

from trimwave.decision.plan import Scheme
from trimwave.lm.train.align import Aligner
from trimwave.lm.workbench import Workbench
from trimwave.model.submodel import Submodel
from trimwave.recipe.limits import limits_of
from trimwave.runs.alignment import alignment_of, has_emulator


def aligner_of(bench: Workbench, scheme: Scheme) -> Aligner | None:
    """Return what aligns the emulator, or None where nothing does."""
    config = alignment_of(bench.config.align, scheme)
    if config is None:
        return None
    reference = scheme.submodel
    if not has_emulator(reference):
        warnings.warn(
            "`[align]` has no effect: this method has no emulator to align.",
            stacklevel=3,
        )
        return None
    return Aligner(
        rows=bench.public_rows,
        config=config,
        seed=bench.config.seed,
        pad_id=bench.pad_id,
        **_sub_networks(bench, reference),
    )


def _sub_networks(bench: Workbench, reference: Submodel) -> dict[str, Any]:
    """Say which sizes of the emulator clients may hold, and which units those keep."""
    if reference.kept_blocks is not None:
        return {}
    ranking, limits = bench.ranking, limits_of(bench.config)
    low, high = (ranking.size_of(1 - b) for b in (limits.beta_max, limits.beta_min))
    within = (ranking.sizes >= low) & (ranking.sizes <= high)
    return {"ranking": ranking, "sizes": ranking.sizes[within].tolist()}
