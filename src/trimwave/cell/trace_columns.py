"""What a trace may have as columns, and what must hold of them together."""

from collections.abc import Mapping
from dataclasses import replace

from trimwave.base.columns import Column
from trimwave.base.errors import InputError
from trimwave.cell.link import DIRECTIONS, Direction
from trimwave.cell.plausible import GAIN, INSTANT, RATE, SNR, SPEED
from trimwave.cell.trace import WORDS, LinkKind

BIT_PER_S = {"bit/s": ("bps", 1.0), "kbit/s": ("kbps", 1e3), "Mbit/s": ("mbps", 1e6)}
RATE_OR_NONE = replace(RATE, none_is=0.0)
"""A rate as it is measured: 0 = nothing got through."""

FLOP_PER_S = {"GFLOP/s": ("gflops", 1e9), "TFLOP/s": ("tflops", 1e12)}


def _links() -> list[Column]:
    """Return the columns of links, all of which may have holes."""
    columns = []
    for direction in DIRECTIONS:
        for name, quantity in (("gain", GAIN), ("snr", SNR)):
            heading = f"{name}_{direction}_db"
            columns.append(
                Column(heading, quantity, required=False, may_be_missing=True)
            )
        for unit, (suffix, factor) in BIT_PER_S.items():
            columns.append(
                Column(
                    f"rate_{direction}_{suffix}",
                    RATE_OR_NONE if factor == 1 else RATE_OR_NONE.in_unit(unit, factor),
                    required=False,
                    gives=f"rate_{direction}_bps",
                    factor=factor,
                    may_be_missing=True,
                )
            )
    return columns


TRACE_COLUMNS = (
    Column("round", required=False),
    Column("time_s", INSTANT, required=False),
    Column("client", is_text=True),
    *_links(),
    Column("available", required=False),
    Column("speed_flops_per_s", SPEED, required=False, may_be_missing=True),
    *(
        Column(
            f"speed_{suffix}",
            SPEED.in_unit(unit, factor),
            required=False,
            gives="speed_flops_per_s",
            factor=factor,
            may_be_missing=True,
        )
        for unit, (suffix, factor) in FLOP_PER_S.items()
    ),
)
"""What a trace may have; `client`, one of the first two and one pair of links."""

EXPECTED = "round or time_s, client, gain_down_db, gain_up_db (or snr_..., rate_...)"


def link_names(kind: LinkKind) -> dict[Direction, str]:
    """Name the columns of the links, by direction."""
    word, unit = kind.split("_")
    return {direction: f"{word}_{direction}_{unit}" for direction in DIRECTIONS}


def kinds_of(headings: Mapping[str, str]) -> list[LinkKind]:
    """Return what a table has of its links: one kind, where it is right."""
    return [
        kind
        for kind in WORDS
        if any(name in headings for name in link_names(kind).values())
    ]


def check_header(where: str, headings: Mapping[str, str]) -> None:
    """Refuse a table that does not tell samples apart by one column, links by two."""
    keys = [headings[key] for key in ("round", "time_s") if key in headings]
    if len(keys) > 1:
        raise InputError(f"{where}: both `{keys[0]}` and `{keys[1]}`; keep one.")
    if not keys:
        raise InputError(
            f"{where}: no column `round` or `time_s`, to tell the samples apart."
        )
    kinds = kinds_of(headings)
    pairs = [link_names(kind).values() for kind in kinds]
    given = [name for pair in pairs for name in pair if name in headings]
    if len(kinds) != 1:
        listed = ", ".join(f"`{headings[name]}`" for name in given)
        what = f"links in two ways ({listed})" if kinds else "no column of links"
        raise InputError(
            f"{where}: {what}; expected a gain, an SNR or a rate for each direction, "
            "such as `snr_down_db` and `snr_up_db`."
        )
    for name in link_names(kinds[0]).values():
        if name not in headings:
            raise InputError(
                f"{where}: no column `{name}`, but `{headings[given[0]]}`; a trace "
                "needs both directions."
            )
