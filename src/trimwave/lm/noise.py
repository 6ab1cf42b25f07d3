"""What the noise of differential privacy is drawn from: a secret of the run's folder.

The run's seed will not do: every client is told it, for its batches, and could take off
the noise again. The price is that a second run of the same seed has other noise; a
resumed run has the same, since the secret stays beside its records.
"""

import secrets
import warnings

from trimwave.base.errors import RunError
from trimwave.base.stored import disk_errors, read_sealed, write_sealed
from trimwave.recipe.config import AggregateConfig
from trimwave.runs.records import RECORDS, Run

FILE = "noise.json"
"""In a run's folder, for its owner alone."""

NUM_BYTES = 32


def noise_seed(run: Run, config: AggregateConfig) -> int | None:
    """Return what a run's noise is drawn from, None without noise.

    Parameters
    ----------
    run : Run
        The run; a secret is made in its folder if there is none.
    config : AggregateConfig
        Its `noise_seed` is taken in place of a secret, with a warning.

    Raises
    ------
    RunError
        If the run was begun and its secret is gone, or the disk refuses.
    """
    if not config.noise_multiplier:
        return None
    if config.noise_seed:
        warnings.warn(
            f"`aggregate.noise_seed` = {config.noise_seed}: the run can be repeated to "
            "the bit, and its noise protects from nobody who has this number.",
            stacklevel=2,
        )
        return config.noise_seed
    path = run.folder / FILE
    if not path.exists():
        if (run.folder / RECORDS).exists():
            raise RunError(
                f"{path} is gone, the secret that the run's noise was drawn from; put "
                "it back, or start a new run."
            )
        with disk_errors(path, "the run was not started", "run again"):
            secret = secrets.token_bytes(NUM_BYTES).hex()
            write_sealed(path, {"secret": secret}, mode=0o600)
    return int(read_sealed(path, "secret")["secret"], 16)
