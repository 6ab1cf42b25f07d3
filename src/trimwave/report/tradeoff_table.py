"""The trade-off of latency against pruning, as a table, as prices and as JSON."""

from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from trimwave.analysis import Prices, TradeOff, WhatIf


def tradeoff_table(curve: TradeOff) -> Table:
    """Lay out one row per beta_bar; a star marks the nearest to the recipe's."""
    damaged = not np.array_equal(curve.damage, curve.beta_bar)
    shown = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption=(
            "price: seconds that 0.01 more mean pruning saves. gap: to the bound. "
            "*: nearest to `limits.beta_bar`."
        ),
        caption_justify="left",
        caption_style="dim",
    )
    titles = ["beta_bar", *(["damage"] if damaged else []), "round s", "price s", "gap"]
    for title in titles:
        shown.add_column(title, justify="right", no_wrap=True)
    gaps = (curve.latency_s - curve.bound_s) / curve.latency_s
    for at, value in enumerate(curve.beta_bar):
        star = "*" if at == curve.nearest else ""
        shown.add_row(
            f"{star}{value:.3f}",
            *([f"{curve.damage[at]:.4g}"] if damaged else []),
            f"{curve.latency_s[at]:.3f}",
            f"{0.01 * max(0.0, -curve.seconds_per_beta_bar[at]):.3f}",
            "not proven" if np.isnan(gaps[at]) else f"{gaps[at]:.0e}",
        )
    return shown


def price_lines(prices: Prices, changes: list[WhatIf]) -> list[str]:
    """Say what a little more of each resource is worth, in the user's units."""
    per_mhz, per_point = -1e6 * prices.band_s_per_hz, -0.01 * prices.beta_bar_s
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
