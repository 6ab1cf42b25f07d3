"""Random streams named by what they are for, so that nothing has to be saved.

Every draw in a run comes from ``stream(seed, purpose, ...)``. The generator depends on
its name alone, never on what was drawn before, which gives two properties for free: two
methods with one seed see the same channels and the same batches (common random
numbers), and a resumed run needs no generator state.
"""

import zlib

import numpy as np


def stream(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """Return the generator for one purpose.

    Parameters
    ----------
    seed : int
        The run's seed.
    purpose : str
        What is drawn, for example ``"fading"`` or ``"batches"``.
    *index : int
        Which one: a round, a client, an epoch.

    Returns
    -------
    numpy.random.Generator
        The same for the same arguments, on any machine.
    """
    key = (zlib.crc32(purpose.encode()), *index)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
