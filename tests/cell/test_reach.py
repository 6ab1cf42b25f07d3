from dataclasses import replace

import numpy as np
import pytest

from trimwave.cell.cell import Cell
from trimwave.cell.reach import out_of_reach


def cell(down_db, up_db, **changes):
    ones = np.ones(len(down_db))
    return Cell(
        speed_flops_per_s=1e12 * ones,
        memory_bytes=4e9 * ones,
        snr_down=10 ** (np.array(down_db) / 10),
        snr_up=10 ** (np.array(up_db) / 10),
        num_samples=ones,
        total_bandwidth_hz=20e6,
        **changes,
    )


@pytest.mark.parametrize("noise", ["fixed", "psd"])
def test_the_weakest_link_is_named(noise):
    lost = out_of_reach(cell([50, -150, 70], [30, -120, -160], noise=noise))
    assert (lost.client, lost.direction) == (2, "up")
    # B log2(1 + snr) = 20e6 x 1e-16 / ln 2
    assert lost.rate_bps == pytest.approx(20e6 * 1e-16 / np.log(2))
    assert "client 2 is out of reach: its uplink, at an SNR of -160 dB" in str(lost)


def test_one_bit_per_second_is_within_reach():
    just_db = 10 * np.log10(2 ** (1 / 20e6) - 1)
    assert out_of_reach(cell([50, just_db + 1e-6], [50, 50])) is None
    assert out_of_reach(cell([50, just_db - 1e-6], [50, 50])).client == 1


def test_what_the_radio_takes_counts():
    weak = cell([50, -70], [50, 50])
    assert out_of_reach(weak) is None
    narrow = replace(weak, bandwidth_max_hz=np.array([np.inf, 1e6]))
    assert out_of_reach(narrow).client == 1
    uplink = replace(cell([50, 50], [50, -70]), up_bandwidth_hz=1e6)
    assert out_of_reach(uplink).direction == "up"
