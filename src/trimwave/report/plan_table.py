"""A plan as a table and as JSON."""

from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from trimwave.base.units import BITS_PER_BYTE, MIB_BYTES
from trimwave.plan.plan import Plan, Situation

COLUMNS = "client", "beta", "MHz", "T s", "compute", "down", "up", "MiB", "GB"

WIDEST = 5
"""Characters of a number in the table: with more, nine of them and what holds x_k do
not fit into 80 columns. `plan_json` has all digits."""


WIDEST_NAME = 12
"""Characters of a client in the table, for the same reason."""


def plan_table(plan: Plan) -> Table:
    """Lay out who gets what: one row per client."""
    shown = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption="MiB: download in the round. GB: peak memory, by the model.",
        caption_justify="left",
        caption_style="dim",
    )
    for title in COLUMNS:
        shown.add_column(title, justify="right", no_wrap=True)
    shown.add_column("held by", no_wrap=True)
    for k, takes_part in enumerate(plan.scheduled):
        if not takes_part:
            shown.add_row(_who(plan, k), *[""] * (len(COLUMNS) - 1), "not scheduled")
            continue
        shown.add_row(
            _who(plan, k),
            f"{plan.prune_rate[k]:.3f}",
            _narrow(plan.bandwidth_hz[k] / 1e6, 2),
            _narrow(plan.total_s[k], 2),
            _narrow(plan.compute_s[k], 2),
            _narrow(plan.down_s[k], 2),
            _narrow(plan.up_s[k], 2),
            _narrow(_mib(plan.down_bits[k]), 1),
            _narrow(plan.memory_bytes[k] / 1e9, 2),
            plan.binding[k],
        )
    return shown


def _who(plan: Plan, client: int) -> str:
    """Return a client's number, and as much of its id as fits."""
    if plan.client_ids is None or plan.client_ids[client] == str(client):
        return str(client)
    name = f"{client} {plan.client_ids[client]}"
    return name if len(name) <= WIDEST_NAME else name[: WIDEST_NAME - 1] + "…"


def plan_lines(situation: Situation, plan: Plan) -> list[str]:
    """Say what holds for the whole cell: latency, constraints, proof, preparation."""
    solution = plan.solution
    by = f" by {solution.solver} ({solution.status})" if solution else ""
    last = situation.cell.who(plan.straggler)
    lines = [
        f"round {_seconds(plan.latency_s)} s{by}; {last} ends last",
        "; ".join(_constraints(situation, plan)),
    ]
    if solution is not None:
        lines.append(_certificate(plan))
    if plan.install_bits.any():
        least, most = (_mib(bits) for bits in np.sort(plan.install_bits)[[0, -1]])
        size = f"{most:.1f}" if least == most else f"{least:.1f} to {most:.1f}"
        lines.append(
            f"one-time download before round one: {size} MiB per client, "
            f"{plan.install_s:.2f} s"
        )
    return lines


def _constraints(situation: Situation, plan: Plan) -> list[str]:
    total_hz = situation.cell.total_bandwidth_hz
    found = [f"C1 {plan.bandwidth_hz.sum() / 1e6:.4f} of {total_hz / 1e6:.4f} MHz"]
    takes_part = plan.scheduled
    if not takes_part.all():
        found.append(f"{takes_part.sum()} of {takes_part.size} clients scheduled")
    rates = plan.prune_rate[takes_part]
    # A method that sends whole models has nothing to keep C5 with.
    if plan.solution is not None or np.any(rates > 0):
        mean, beta_bar = float(rates.mean()), situation.limits.beta_bar
        state = "tight" if mean > beta_bar - 1e-3 else "slack"
        if mean > beta_bar + 1e-6:
            state = "exceeded: this method does not keep it"
        found.append(f"C5 mean beta {mean:.4f} of {beta_bar:.4f}, {state}")
    used = plan.spectrum_utilisation
    found.append(f"spectrum carries bits {used:.1%} of the round")
    return found


def _certificate(plan: Plan) -> str:
    solution = plan.solution
    assert solution is not None
    if solution.bound_s is not None and solution.gap is not None:
        return (
            f"certificate: no plan is faster than {_seconds(solution.bound_s)} s "
            f"(relative gap {solution.gap:.1e}); KKT residual "
            f"{solution.kkt_residual:.1e}"
        )
    if solution.kkt_residual is None:
        return "certificate: none; only the exact solver of jcpba gives one"
    return (
        "certificate: none; this cell is not quasi-convex, so the plan is feasible, "
        "not proven"
    )


def plan_json(situation: Situation, plan: Plan) -> dict[str, Any]:
    """Everything of a plan in plain numbers, SI units in the names."""
    solution = plan.solution
    return {
        **plan.record(),
        "total_bandwidth_hz": situation.cell.total_bandwidth_hz,
        "beta_bar": situation.limits.beta_bar,
        "gap": solution.gap if solution else None,
        "price_hz": solution.price_hz if solution else None,
        "noise": situation.cell.noise,
    }


def _seconds(value: float) -> str:
    """Write the round's time; all digits of a time beyond all reason mislead."""
    return f"{value:.6f}" if value < 1e9 else f"{value:.6e}"


def _narrow(value: float, decimals: int) -> str:
    """Write a number with as many decimals as fit, or with an exponent: 1.2e8."""
    for kept in range(decimals, -1, -1):
        text = f"{value:.{kept}f}"
        if len(text) <= WIDEST:
            return text
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _mib(bits: float) -> float:
    return float(bits) / BITS_PER_BYTE / MIB_BYTES
