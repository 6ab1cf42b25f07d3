"""Two clients by hand."""

import numpy as np
from helpers import LETTER_COSTS

from trimwave.cell.cell import Cell

# Two clients whose links carry 10 and 5 bit/s/Hz down, 4 and 2 up, over 10 MHz.
CELL = Cell(
    speed_flops_per_s=np.array([1e12, 2e12]),
    memory_bytes=np.array([4e9, 8e9]),
    snr_down=2.0 ** np.array([10.0, 5.0]) - 1,
    snr_up=2.0 ** np.array([4.0, 2.0]) - 1,
    num_samples=np.array([10.0, 30.0]),
    total_bandwidth_hz=10e6,
)
BLOCK_BITS = 12_596_224 * 16
BLOCK_FLOPS, HEAD_FLOPS = 6_710_886_400, 26_349_142_016
SHARE_HZ = np.array([4e6, 6e6])


def submodels(*kept):
    return [None if x is None else LETTER_COSTS.pruned(x) for x in kept]
