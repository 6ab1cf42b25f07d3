"""The path loss of 3GPP TR 38.901, Table 7.4.1-1, against its formulas by hand."""

import numpy as np
import pytest

from trimwave.cell.path_loss import (
    MODELS,
    breakpoint_m,
    distance_fault,
    path_loss_db,
)


@pytest.mark.parametrize(
    ("model", "sight", "distance_m", "carrier_hz", "loss_db"),
    [
        # 28 + 22 log10(sqrt(100^2 + 23.5^2)) + 20 log10(3.5)
        ("UMa", "los", 100, 3.5e9, 28 + 44.2567958 + 10.8813609),
        # d'BP = 4 x 24 x 0.5 x 3.5e9 / 3e8 = 560 m; beyond it:
        # 28 + 40 log10(1000.27609) + 10.8814 - 9 log10(560^2 + 23.5^2)
        ("UMa", "los", 1000, 3.5e9, 28 + 120.0047955 + 10.8813609 - 49.4742616),
        # 13.54 + 39.08 log10(1000.27609) + 20 log10(3.5), above the LOS formula
        ("UMa", "nlos", 1000, 3.5e9, 13.54 + 117.2446852 + 10.8813609),
        # 32.4 + 21 log10(sqrt(100^2 + 8.5^2)) + 20 log10(3.5); d'BP = 210 m
        ("UMi", "los", 100, 3.5e9, 32.4 + 42.0328282 + 10.8813609),
        # 32.4 + 40 log10(500.072245) + 10.8814 - 9.5 log10(210^2 + 8.5^2)
        ("UMi", "los", 500, 3.5e9, 32.4 + 107.9613100 + 10.8813609 - 44.1289205),
        # 22.4 + 35.3 log10(500.072245) + 21.3 log10(3.5)
        ("UMi", "nlos", 500, 3.5e9, 22.4 + 95.2758561 + 11.5886493),
        # 32.4 + 17.3 log10(sqrt(20^2 + 2^2)) + 20 log10(28)
        ("InH", "los", 20, 28e9, 32.4 + 22.5451988 + 28.9431606),
        # 17.3 + 38.3 log10(20.0997512) + 24.9 log10(28)
        ("InH", "nlos", 20, 28e9, 17.3 + 49.9122031 + 36.0342350),
    ],
)
def test_the_formulas_by_hand(model, sight, distance_m, carrier_hz, loss_db):
    found = path_loss_db(model, sight, np.array([float(distance_m)]), carrier_hz)
    assert found[0] == pytest.approx(loss_db, abs=2e-7)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("carrier_hz", [0.5e9, 3.5e9, 100e9])
def test_farther_is_weaker_and_no_sight_is_no_better(model, carrier_hz):
    distance_m = np.geomspace(10, 149, 500)
    los, nlos = (
        path_loss_db(model, sight, distance_m, carrier_hz) for sight in ("los", "nlos")
    )
    assert np.all(np.diff(los) > 0) and np.all(np.diff(nlos) > 0)
    assert np.all(nlos >= los)


@pytest.mark.parametrize("model", ["UMa", "UMi"])
def test_the_two_slopes_meet_at_the_breakpoint(model):
    bend_m = breakpoint_m(model, 3.5e9)
    near, far = path_loss_db(model, "los", bend_m * np.array([1, 1 + 1e-9]), 3.5e9)
    assert near == pytest.approx(far, abs=1e-6)


def test_distances_out_of_the_table_are_said():
    assert distance_fault("UMa", 10) is None and distance_fault("UMi", 5000) is None
    assert distance_fault("InH", 0) is None
    for model, distance_m in (("UMa", 9.9), ("UMi", 5001), ("InH", 150)):
        fault = distance_fault(model, distance_m)
        assert f"{distance_m:g} m is out of the range of {model}" in fault
