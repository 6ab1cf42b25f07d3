"""What the numbers of a cell can be in this world: for what users bring.

`Cell` itself takes any positive number. Files and recipes are checked against these
ranges, since a value in the wrong unit gives the optimum of another problem. Ranges are
wide: each end has its reason beside it.
"""

from collections.abc import Callable
from dataclasses import replace

from trimwave.base.quantity import Quantity
from trimwave.base.units import dbm_to_w, linear_to_db


def _times(factor: float) -> Callable[[float], float]:
    return lambda value: value * factor


def _from_linear(value: float) -> float:
    """Turn a linear ratio into dB; what cannot be one into nan."""
    possible = 0 < value < float("inf")
    return round(float(linear_to_db(value)), 3) if possible else float("nan")


def _from_dbm(value: float) -> float:
    """Turn a power in dBm into watts."""
    return float(f"{dbm_to_w(min(value, 300.0)):.3g}")


SPEED = Quantity(
    unit="FLOP/s",
    least=1e6,
    too_low="a microcontroller has 1e6",
    most=1e18,
    too_high="the largest machines have 1e18",
    usual=(1e8, 1e17),  # from a small processor without vector units to a large cluster
    others={
        "in TFLOP/s": _times(1e12),
        "in GFLOP/s": _times(1e9),
        "in MFLOP/s": _times(1e6),
    },
)
"""What a device or server computes."""

MEMORY = Quantity(
    unit="byte",
    least=1e5,
    too_low="no transformer trains in less than 1e5",
    most=1e15,
    too_high="no device has 1e15",
    usual=(64e6, 4e12),  # a small embedded Linux board; a large server
    others={
        "in GB": _times(1e9),
        "in MB": _times(1e6),
        "in kB, as Android and Linux report it": _times(1e3),
    },
)
"""What a device can hold."""

BAND = Quantity(
    unit="Hz",
    least=1e3,
    too_low="no radio's band is narrower than 1e3",
    most=1e12,
    too_high="radio ends below 1e12",
    usual=(1e5, 1e11),  # below NB-IoT's 180 kHz; above all of the millimetre waves
    others={"in MHz": _times(1e6), "in kHz": _times(1e3), "in GHz": _times(1e9)},
)
"""The whole band."""

BLOCK = replace(
    BAND,
    usual=(15e3, 20e6),  # a subcarrier of LTE; above 12 of 1,440 kHz, NR's widest
    others={"in MHz": _times(1e6), "in kHz": _times(1e3)},
)
"""A resource block."""

SHARE_MIN = replace(BAND, usual=None, none_is=0.0)
"""A client's least share; 0 = none."""
SHARE_MAX = replace(BAND, usual=None, none_is=float("inf"))
"""A client's largest share; infinite = the whole band."""

SNR = Quantity(
    unit="dB",
    least=-200.0,
    too_low="nothing so weak can be measured",
    most=100.0,
    too_high="a receiver of 16 bits spans 98 dB",
    others={"a linear ratio": _from_linear},
    has_markers=True,
)
"""Signal over noise of the whole band."""

GAIN = Quantity(
    unit="dB",
    least=-300.0,
    too_low="nothing so weak can be measured",
    most=0.0,
    too_high="a gain above 0 dB is a loss with the wrong sign",
    usual=(-300.0, -10.0),  # a metre at 1 GHz costs 32 dB; hardly any antennas win 20
    others={"a loss": _times(-1.0), "a linear ratio": _from_linear},
    has_markers=True,
)
"""What is received over what is sent."""

LOSS = Quantity(
    unit="dB",
    least=0.0,
    too_low="a loss below 0 dB is a gain with the wrong sign",
    most=300.0,
    too_high="nothing so weak can be measured",
    usual=(10.0, 300.0),
    others={"a gain": _times(-1.0)},
)
"""What is sent over what is received."""

DISTANCE = Quantity(
    unit="m",
    least=0.0,
    too_low="a distance is at least 0",
    most=1e6,
    too_high="nothing hears so far",
    usual=(0.1, 1e5),
    others={"in km": _times(1e3)},
)
"""From a client to the base station, along the ground."""

CARRIER = Quantity(
    unit="Hz",
    least=0.5e9,
    too_low="the path loss of TR 38.901 begins at 0.5e9",
    most=100e9,
    too_high="the path loss of TR 38.901 ends at 100e9",
    others={"in GHz": _times(1e9), "in MHz": _times(1e6)},
)
"""The carrier of the path loss models."""

POWER = Quantity(
    unit="W",
    least=1e-9,
    too_low="nothing hears less than 1e-9",
    most=1e7,
    too_high="no transmitter has 1e7",
    others={"in dBm": _from_dbm},
)
"""What a server sends."""

HANDHELD_POWER = replace(POWER, usual=(1e-9, 10.0))  # handhelds stay below 2 W
"""What a client sends."""

JOULE_PER_FLOP = Quantity(
    unit="J/FLOP",
    least=1e-16,
    too_low="no processor is so frugal",
    most=1e-3,
    too_high="no processor needs so much",
    usual=(1e-14, 1e-7),  # accelerators of today some 1e-12, microcontrollers 1e-9
    none_is=0.0,
    others={"in pJ/FLOP": _times(1e-12), "in nJ/FLOP": _times(1e-9)},
)
"""What a device takes to compute; 0 = it is not counted."""

NOISE_PSD = Quantity(
    unit="dBm/Hz",
    least=-220.0,
    too_low="noise at 0.01 K has -218",
    most=-60.0,
    too_high="thermal noise has -174",
    others={"a value with the wrong sign": _times(-1.0)},
)
"""Density of the noise."""

NOISE_FIGURE = Quantity(
    unit="dB",
    least=0.0,
    too_low="a receiver takes no noise away",
    most=100.0,
    too_high="no receiver is so bad",
    usual=(0.0, 30.0),
    others={"a value with the wrong sign": _times(-1.0)},
)
"""What a receiver adds to the noise."""

EFFICIENCY = Quantity(
    unit="bit/s/Hz",
    least=1e-3,
    too_low="no modem spreads a bit so far",
    most=100.0,
    too_high="no modem has so many bits in a symbol",
    usual=(0.01, 30.0),
    none_is=float("inf"),
)
"""What a modem carries at most."""

PRUNE_RATE = Quantity(
    unit="parts of one",
    least=0.0,
    too_low="nothing is pruned by less than 0",
    most=1.0,
    too_high="nothing is pruned by more than all of it",
    others={"in percent": _times(0.01)},
)
"""A pruning rate."""

INSTANT = Quantity(
    unit="s",
    least=0.0,
    too_low="a clock begins at 0",
    most=1e11,
    too_high="1e11 are 3000 years",
    usual=(0.0, 1e10),  # a Unix time has 2e9
    others={"in ms": _times(1e-3), "in us": _times(1e-6), "in ns": _times(1e-9)},
)
"""When something was measured."""

SAMPLES = Quantity(
    unit="rows",
    least=1e-12,
    too_low="every client has some",
    most=1e15,
    too_high="no device holds 1e15",
)
"""Rows of a client; only their ratios count, so that parts of one do."""

RATE = Quantity(
    unit="bit/s",
    least=1.0,
    too_low="a round would take a year for 4 MB at 1",
    most=1e13,
    too_high="no link to a device carries 1e13",
    usual=(1e3, 1e11),  # below GPRS; above all of WLAN and mobile radio
    others={"in Mbit/s": _times(1e6), "in kbit/s": _times(1e3)},
)
"""What a link carries whose rate is known."""

SAMPLE_MS = Quantity(
    unit="ms",
    least=1e-6,
    too_low="no device has done a sample in less than 1e-6",
    most=1e9,
    too_high="1e9 are eleven days",
    others={"in seconds": _times(1e3)},
)
"""What a device takes for a sample of a known work."""

HELD = Quantity(
    unit="parts of one",
    least=0.0,
    too_low="a part of something is at least 0",
    most=1.0,
    too_high="a part of something is at most 1",
    others={"in percent": _times(0.01)},
)
"""The part of the emulator that lies on the device already."""

PASS_TIME = Quantity(
    unit="s",
    least=1e-9,
    too_low="a clock tick takes 1e-9",
    most=1e7,
    too_high="nobody measures for 1e7",
    others={"in ms": _times(1e-3), "in us": _times(1e-6)},
)
"""How long a pass of the emulator took."""

DAMAGE = Quantity(
    unit="units of loss",
    least=-1e6,
    too_low="no loss falls by 1e6",
    most=1e6,
    too_high="no loss rises by 1e6",
)
"""What pruning costs: a loss, or how much it rose."""
