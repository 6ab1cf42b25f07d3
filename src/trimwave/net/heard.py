"""What a client says of itself, as far as it can be used: it may say anything."""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from trimwave.base.errors import InputError, one_line, printable
from trimwave.base.units import BITS_PER_BYTE
from trimwave.net.device import FRESH
from trimwave.net.shelf import Spent

FEWEST_BYTES = 1 << 18
"""Least that a download must carry for its rate to count."""

MOST_ROWS = 1 << 53
"""No device has as many; below it whole numbers are exact as floats too."""

PROFILE = ("speed_flops_per_s", "memory_bytes")
"""What a device measures when it joins."""


def words(said: object) -> str:
    """Return what a client wrote as one short printable line."""
    return one_line(printable(one_line(said)))


def number(said: object) -> float | None:
    """Return a measurement; None if it is no finite number from 0 on."""
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    # An integer of JSON may be beyond any float.
    return float(said) if 0 <= said < 1e300 and math.isfinite(said) else None


def whole(said: object) -> int:
    """Return a whole number; 12.0 and true are none, as JSON has them.

    Raises
    ------
    TypeError
        If it is none.
    """
    if type(said) is not int:
        raise TypeError(f"{words(repr(said))} is no whole number")
    return said


def spent_of(said: Mapping[str, Any]) -> dict[str, float]:
    """Return what a letter took a device; 0 where it does not tell."""
    told = said.get("spent")
    told = told if isinstance(told, Mapping) else {}
    return {one.name: number(told.get(one.name)) or 0.0 for one in fields(Spent)}


def rates_of(spent: Mapping[str, float]) -> dict[str, float]:
    """Return rates of transfers that were long enough to tell, as in `Cell` [bit/s]."""
    found = {}
    if spent["fetched_bytes"] >= FEWEST_BYTES and spent["fetch_s"] > 0:
        found["rate_down_bps"] = spent["fetched_bytes"] / spent["fetch_s"]
    if spent["probe_bytes"] > 0 and spent["probe_s"] > 0:
        found["rate_up_bps"] = spent["probe_bytes"] / spent["probe_s"]
    return {name: BITS_PER_BYTE * one for name, one in found.items()}


def profile_of(said: Mapping[str, Any]) -> dict[str, float]:
    """Return what a device that joins measured on itself.

    Raises
    ------
    InputError
        If it did not.
    """
    told = said.get("profile")
    found = {}
    for name in PROFILE:
        value = number(told.get(name)) if isinstance(told, Mapping) else None
        if not value:
            raise InputError(f"it does not say what its `{name}` is.")
        found[name] = value
    return found


def fresh_rows_of(said: Mapping[str, Any]) -> int:
    """Return how many rows' states a device computed; 0 where it does not tell.

    Raises
    ------
    TypeError, ValueError
        If that is no number of rows.
    """
    told = whole(said.get(FRESH, 0))
    if not 0 <= told < MOST_ROWS:
        raise ValueError(f"it says {one_line(told, 40)} rows that were computed")
    return told


def rows_of(said: Mapping[str, Any]) -> int | None:
    """Return a device's own rows; None = those that are dealt to it.

    Raises
    ------
    InputError
        If that is no number of rows.
    """
    told = said.get("num_samples")
    if told is None or (type(told) is int and 0 < told < MOST_ROWS):
        return told
    raise InputError(f"it says {words(repr(told))} training rows.")
