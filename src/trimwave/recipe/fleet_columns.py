"""The columns that a table of clients may have, with their units by suffix."""

from collections.abc import Iterator, Mapping

from trimwave.base.columns import Column
from trimwave.base.quantity import Quantity
from trimwave.cell.link import Direction
from trimwave.cell.plausible import (
    DISTANCE,
    HANDHELD_POWER,
    HELD,
    JOULE_PER_FLOP,
    LOSS,
    MEMORY,
    RATE,
    SAMPLE_MS,
    SAMPLES,
    SHARE_MAX,
    SHARE_MIN,
    SNR,
    SPEED,
)

Units = Mapping[str, tuple[str, float]]
"""By a name's suffix: the unit in messages, and one of it in the SI unit."""

HERTZ: Units = {"khz": ("kHz", 1e3), "mhz": ("MHz", 1e6)}
BYTES: Units = {
    "mb": ("MB", 1e6),
    "gb": ("GB", 1e9),
    "mib": ("MiB", 2.0**20),
    "gib": ("GiB", 2.0**30),
}
BPS: Units = {"kbps": ("kbit/s", 1e3), "mbps": ("Mbit/s", 1e6), "gbps": ("Gbit/s", 1e9)}
SPEEDS: Units = {"gflops": ("GFLOP/s", 1e9), "tflops": ("TFLOP/s", 1e12)}


def _columns(
    stem: str, suffix: str, quantity: Quantity, units: Units
) -> Iterator[Column]:
    """Yield a quantity's column in its SI unit, and in the others."""
    name = f"{stem}_{suffix}"
    yield Column(name, quantity, required=False)
    for other, (unit, factor) in units.items():
        yield Column(
            f"{stem}_{other}",
            quantity.in_unit(unit, factor),
            required=False,
            gives=name,
            factor=factor,
        )


FLEET_COLUMNS = (
    Column("client", required=False, is_text=True),
    Column("client_id", required=False, is_text=True, gives="client"),
    *_columns("speed", "flops_per_s", SPEED, SPEEDS),
    Column("compute_ms_per_sample", SAMPLE_MS, required=False),
    *_columns("memory", "bytes", MEMORY, BYTES),
    Column("snr_down_db", SNR, required=False),
    Column("snr_up_db", SNR, required=False),
    *_columns("rate", "bps", RATE, BPS),
    *_columns("rate_down", "bps", RATE, BPS),
    *_columns("rate_up", "bps", RATE, BPS),
    Column("path_loss_db", LOSS, required=False),
    Column("path_loss_down_db", LOSS, required=False),
    Column("path_loss_up_db", LOSS, required=False),
    *_columns("distance", "m", DISTANCE, {"km": ("km", 1e3)}),
    Column("num_samples", SAMPLES, required=False),
    Column("held", HELD, required=False),
    *_columns("bandwidth_min", "hz", SHARE_MIN, HERTZ),
    *_columns("bandwidth_max", "hz", SHARE_MAX, HERTZ),
    *_columns("power_tx", "w", HANDHELD_POWER, {"mw": ("mW", 1e-3)}),
    Column("joule_per_flop", JOULE_PER_FLOP, required=False),
)
"""What a table of clients may have; `fleet.py` says what it must have."""

LINK_OF_BOTH = ("rate_bps", "path_loss_db", "distance_m")
"""Columns that give both directions of a link."""

GIVES_LINK: Mapping[Direction, tuple[str, ...]] = {
    "down": ("snr_down_db", "rate_down_bps", "path_loss_down_db", *LINK_OF_BOTH),
    "up": ("snr_up_db", "rate_up_bps", "path_loss_up_db", *LINK_OF_BOTH),
}
"""By direction, the columns of which one at the most gives it."""
