"""A device measures its uplink: how long bytes take that it sends to the file route."""

import os
import time
from contextlib import suppress

from trimwave.net.blobs.sources import CutError, Source

SIZES_BYTES = 64 << 10, 1 << 20
"""What is sent: a few, and more if these were soon there."""

SOON_S = 0.5

TIMEOUT_S = 60.0


def measure_uplink(
    base: str, token: str, verify: str | bool = True
) -> tuple[int, float]:
    """Return bytes that were sent and the seconds they took; zeros if none got there.

    Parameters
    ----------
    base : str
        The server's file route.
    token : str
        What it granted.
    verify : str or bool
        What its certificate is checked with, as in `Source`.
    """
    source = Source(base=base, token=token, verify=verify, timeout_s=TIMEOUT_S)
    found = 0, 0.0
    with suppress(CutError):
        for size in SIZES_BYTES:
            data = os.urandom(size)
            started_s = time.monotonic()
            source.post("probe", data)
            found = size, time.monotonic() - started_s
            if found[1] > SOON_S:
                break
    return found
