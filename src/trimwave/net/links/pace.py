"""A sender's pace: bytes go out no sooner than a link of that rate would carry them."""

import asyncio
import time

SLACK_S = 0.02
"""Most time that is made up for after a pause: in any second, 2 % above the rate."""

STEP_S = 0.05
"""Longest until a change of the rate is seen."""

PIECE_BYTES = 64 << 10
"""Most that is sent at once."""

LEAST_PIECE_BYTES = 1 << 10


class Pace:
    """What all transfers of one node together are held to; for one event loop.

    Attributes
    ----------
    rate_bps : float or None
        May be set from any thread, within a transfer too; None = as fast as it goes
        [bit/s].
    """

    def __init__(self, rate_bps: float | None = None) -> None:
        self.rate_bps = rate_bps
        self._free_s = 0.0  # when what was taken last had gone out
        self._turn = asyncio.Lock()

    @property
    def piece_bytes(self) -> int:
        """What to take at a time, so that no piece takes long on its own [byte]."""
        rate_bps = self.rate_bps
        if rate_bps is None:
            return PIECE_BYTES
        wanted = int(rate_bps / 8 * SLACK_S)
        return min(max(wanted, LEAST_PIECE_BYTES), PIECE_BYTES)

    async def take(self, num_bytes: int) -> None:
        """Wait until so many bytes would have gone out; in the order of the calls."""
        async with self._turn:
            left_bits = 8.0 * num_bytes
            now_s = time.monotonic()
            at_s = max(self._free_s, now_s - SLACK_S)
            while (rate_bps := self.rate_bps) is not None:
                ends_s = at_s + left_bits / rate_bps
                if ends_s > now_s:
                    await asyncio.sleep(min(ends_s - now_s, STEP_S))
                    now_s = time.monotonic()
                if ends_s <= now_s:
                    at_s = ends_s
                    break
                left_bits -= (now_s - at_s) * rate_bps
                at_s = now_s
            self._free_s = at_s
