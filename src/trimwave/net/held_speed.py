"""Computing no faster than a slower device would, by the FLOPs that are counted."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch.utils.flop_counter import FlopCounterMode


@dataclass
class Counted:
    """What was computed."""

    flops: float = 0.0
    """0 = nothing was counted."""


@contextmanager
def held_to(speed_flops_per_s: float | None) -> Iterator[Counted]:
    """Let what is computed inside take as long as at a speed, or longer if it does.

    What PyTorch computes is counted: matrix products, convolutions and attention. It
    takes other kernels then, so that results differ in their last digits.

    Parameters
    ----------
    speed_flops_per_s : float, optional
        None = as fast as it goes, and nothing is counted [FLOP/s].
    """
    counted = Counted()
    if speed_flops_per_s is None:
        yield counted
        return
    started_s = time.monotonic()
    with FlopCounterMode(display=False) as counter:
        yield counted
    counted.flops = float(counter.get_total_flops())
    ends_s = started_s + counted.flops / speed_flops_per_s
    time.sleep(max(0.0, ends_s - time.monotonic()))
