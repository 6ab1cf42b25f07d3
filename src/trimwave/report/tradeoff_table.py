"""The trade-off of latency against pruning, as a table, as prices and as JSON."""

from typing import Any

import numpy as np

from trimwave.analysis import Prices, TradeOff, WhatIf
from trimwave.report.aligned import aligned, narrow

MEANINGS = {
    "beta_bar": "the mean pruning that C5 allows, * the nearest to `limits.beta_bar`",
    "damage": "what C5 counts there, on average",
    "round s": "when the slowest client ends",
    "price s": "seconds that 0.01 more mean pruning saves",
    "gap": "to the bound, relative",
}
"""Every title of the table."""

WIDEST = 8
"""Characters of a time in the table."""


def tradeoff_meanings(curve: TradeOff) -> dict[str, str]:
    """Return the titles of the table and what they mean."""
    meanings = dict(MEANINGS)
    if not _is_damaged(curve):
        del meanings["damage"]
    return meanings


def tradeoff_table(curve: TradeOff, width: int) -> list[str]:
    """Lay out one row per beta_bar; a star marks the nearest to the recipe's."""
    gaps = (curve.latency_s - curve.bound_s) / curve.latency_s
    prices_s = 0.01 * np.maximum(0.0, -curve.seconds_per_beta_bar) + 0.0  # no -0
    columns = {
        "beta_bar": [
            f"{'*' if at == curve.nearest else ''}{value:.3f}"
            for at, value in enumerate(curve.beta_bar)
        ],
        "damage": [f"{value:.4g}" for value in curve.damage],
        "round s": [narrow(value, 3, WIDEST) for value in curve.latency_s],
        "price s": [narrow(value, 3, WIDEST) for value in prices_s],
        "gap": ["not proven" if np.isnan(gap) else f"{gap:.0e}" for gap in gaps],
    }
    return aligned({title: columns[title] for title in tradeoff_meanings(curve)}, width)


def _is_damaged(curve: TradeOff) -> bool:
    return not np.array_equal(curve.damage, curve.beta_bar)


def price_lines(prices: Prices, changes: list[WhatIf]) -> list[str]:
    """Say what a little more of each resource is worth, in the user's units."""
    per_mhz = 0.0 - 1e6 * prices.band_s_per_hz  # no -0
    per_point = 0.0 - 0.01 * prices.beta_bar_s
    lines = [
        f"marginal prices: 1 MHz {per_mhz:.4g} s; 0.01 of mean pruning "
        f"{per_point:.4g} s"
    ]
    for one in changes:
        if one.constraint == "C1":
            what = f"{one.change / 1e6:g} MHz more saves"
        elif one.constraint == "C5":
            what = f"{one.change:.2g} more mean pruning saves"
        else:
            what = f"client {one.client}'s memory costs"
        lines.append(f"{what} {one.saved_s:.3g} s")
    return lines


def tradeoff_json(
    curve: TradeOff, prices: Prices, changes: list[WhatIf]
) -> dict[str, Any]:
    """Everything in plain numbers, SI units in the names."""
    bounds = [None if np.isnan(one) else float(one) for one in curve.bound_s]
    return {
        "beta_bar": curve.beta_bar.tolist(),
        "damage": curve.damage.tolist(),
        "latency_s": curve.latency_s.tolist(),
        "bound_s": bounds,
        "seconds_per_beta_bar": curve.seconds_per_beta_bar.tolist(),
        "prices": {
            "band_s_per_hz": prices.band_s_per_hz,
            "beta_bar_s": prices.beta_bar_s,
            "memory_s_per_byte": prices.memory_s_per_byte.tolist(),
            "beta_max_s": prices.beta_max_s.tolist(),
            "speed_s_per_flops": prices.speed_s_per_flops.tolist(),
        },
        "what_if": [
            {
                "constraint": one.constraint,
                "client": one.client,
                "change": one.change if np.isfinite(one.change) else None,
                "saved_s": one.saved_s,
            }
            for one in changes
        ],
    }
