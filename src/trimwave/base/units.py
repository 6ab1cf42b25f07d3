"""Units at the edge: decibels and byte prefixes. Inside, everything is linear SI."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

BITS_PER_BYTE = 8
MIB_BYTES = 2**20


def db_to_linear(value_db: ArrayLike) -> FloatArray:
    """Turn a ratio in dB into a linear one."""
    return np.power(10.0, np.asarray(value_db, dtype=np.float64) / 10.0)


def linear_to_db(value: ArrayLike) -> FloatArray:
    """Turn a positive linear ratio into dB."""
    return 10.0 * np.log10(np.asarray(value, dtype=np.float64))


def dbm_to_w(value_dbm: ArrayLike) -> FloatArray:
    """Turn a power in dBm into watts."""
    return db_to_linear(value_dbm) * 1e-3
