import re

import pytest

from trimwave.cell import plausible


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SPEED", 0.5, "must be in FLOP/s, got 0.5: .*if it is in TFLOP/s, write 5e11"),
        ("SPEED", 1500, "in TFLOP/s, write 1.5e15, if it is in GFLOP/s, write 1.5e12"),
        ("SPEED", 0, "must be in FLOP/s, got 0"),
        ("SPEED", 1e19, "largest machines"),
        ("MEMORY", 8, "if it is in GB, write 8e9"),
        ("MEMORY", 8000, "if it is in MB, write 8e9"),
        ("MEMORY", -4e9, "must be in byte, got -4e9"),
        ("BAND", 100, "if it is in MHz, write 1e8"),
        ("SNR", 2147483647, "devices write that where they have no measurement"),
        ("SNR", -2147483648, "devices write that where they have no measurement"),
        ("SNR", 255, "devices write that"),
        ("SNR", 100000, "if it is a linear ratio, write 50"),
        ("GAIN", 89.6, "loss with the wrong sign; if it is a loss, write -89.6"),
        ("GAIN", 1e-9, "if it is a linear ratio, write -90"),
        ("GAIN", 999, "devices write that"),
        ("LOSS", -60, "gain with the wrong sign; if it is a gain, write 60"),
        ("NOISE_PSD", 174, "wrong sign, write -174"),
        ("HELD", 50, "if it is in percent, write 0.5"),
        ("SHARE_MIN", 5, "if it is in MHz, write 5e6"),
        ("SHARE_MAX", 0, "must be in Hz, got 0"),
    ],
)
def test_what_cannot_be_is_refused_with_the_unit(name, value, said):
    fault = getattr(plausible, name).fault(value)
    assert fault is not None
    assert re.search(said, fault), fault


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SPEED", 2e6, "if it is in MFLOP/s, write 2e12"),
        ("MEMORY", 8048576, "if it is in kB, as Android and Linux report it"),
        ("MEMORY", 131072, "if it is in MB, write 1.31072e11"),
        ("BAND", 20000, "if it is in kHz, write 2e7"),
        ("SNR", 99, "no measurement"),
        ("GAIN", 0, "is 0, unusual in dB"),
        ("HANDHELD_POWER", 23, "if it is in dBm, write 0.2"),
    ],
)
def test_what_is_odd_is_doubted_with_the_unit(name, value, said):
    quantity = getattr(plausible, name)
    assert quantity.fault(value) is None
    assert said in quantity.doubt(value)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("SPEED", [1e9, 0.5e12, 1e15]),  # a phone's core, a phone, a server
        ("MEMORY", [512e6, 4e9, 2**31 - 1, 1e12]),
        ("BAND", [180e3, 20e6, 400e6, 2e9]),
        ("SHARE_MIN", [0, 15e3, 180e3]),
        ("SHARE_MAX", [3750, 20e6, float("inf")]),
        ("SNR", [-60, -10, 0, 30, 90]),
        ("GAIN", [-60, -90, -140, -200]),
        ("LOSS", [60, 94, 140]),
        ("POWER", [0.1, 10, 46]),
        ("HANDHELD_POWER", [0.01, 0.2, 2]),
        ("NOISE_PSD", [-174, -165]),
        ("SAMPLES", [1, 0.25, 1e6]),
        ("HELD", [0, 0.5, 1]),
    ],
)
def test_what_people_have_is_taken_without_a_word(name, values):
    quantity = getattr(plausible, name)
    assert [quantity.fault(one) for one in values] == [None] * len(values)
    assert [quantity.doubt(one) for one in values] == [None] * len(values)
