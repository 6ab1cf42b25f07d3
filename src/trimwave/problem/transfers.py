"""What each client sends in a round, and how long that takes, eqs. (7), (8).

A transfer over a link whose rate is given takes time and nothing of the band.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from trimwave.base.units import FloatArray
from trimwave.cell.link import Link


@dataclass(frozen=True, kw_only=True, eq=False)
class Transfers:
    """Payloads and links of K clients, all [..., K]; leading axes are draws."""

    down_fixed_bits: FloatArray
    """|w^A| and container header [bit]."""
    down_emulator_bits: FloatArray
    """|w^E| [bit]."""
    up_bits: FloatArray
    """|Delta w^A| and container header [bit]."""
    down: Link
    up: Link
    held: FloatArray | None = None
    """[..., K] kept fraction that the client holds already and is not sent."""

    def down_bits(self, kept: FloatArray) -> FloatArray:
        """Payload of the download, [..., K] [bit]."""
        sent = kept if self.held is None else np.maximum(kept - self.held, 0.0)
        return self.down_fixed_bits + self.down_emulator_bits * sent

    def shared_down_bits(self, kept: FloatArray) -> FloatArray:
        """Payload of the download that takes band, [..., K] [bit]."""
        bits, given = self.down_bits(kept), self.down.is_given
        return bits if given is None else np.where(given, 0.0, bits)

    @cached_property
    def shared_up_bits(self) -> FloatArray:
        """Payload of the upload that takes band, [..., K] [bit]."""
        given = self.up.is_given
        return self.up_bits if given is None else np.where(given, 0.0, self.up_bits)

    def given_s(self, kept: FloatArray) -> FloatArray | float:
        """Time of transfers over links whose rate is given, [..., K] [s]."""
        return over_given(self.down_bits(kept), self.down) + self.given_up_s

    @cached_property
    def given_up_s(self) -> FloatArray | float:
        """Time of uploads over links whose rate is given, else 0, [..., K] [s]."""
        return over_given(self.up_bits, self.up)

    def down_s(self, kept: FloatArray, bandwidth_hz: FloatArray) -> FloatArray:
        """Download time, first term of eq. (8), [..., K] [s]."""
        return _seconds(self.down_bits(kept), self.down.rate_bps(bandwidth_hz))

    def up_s(self, bandwidth_hz: FloatArray) -> FloatArray:
        """Upload time, second term of eq. (8), [..., K] [s]."""
        return _seconds(self.up_bits, self.up.rate_bps(bandwidth_hz))

    def shared_up_s(self, bandwidth_hz: FloatArray) -> FloatArray:
        """Upload time over the band, 0 where the rate is given, [..., K] [s]."""
        return _seconds(self.shared_up_bits, self.up.rate_bps(bandwidth_hz))


def over_given(bits: FloatArray, link: Link) -> FloatArray | float:
    """Time of a payload where the link's rate is given, else 0, [..., K] [s]."""
    if link.is_given is None or link.given_bps is None:
        return 0.0
    return np.where(link.is_given, bits / link.given_bps, 0.0)


def _seconds(bits: FloatArray, rate_bps: FloatArray) -> FloatArray:
    if np.min(rate_bps) > 0:
        return bits / rate_bps
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bits > 0, bits / rate_bps, 0.0)
