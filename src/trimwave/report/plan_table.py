"""A plan as a table and as JSON."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from trimwave.problem import Problem
from trimwave.solution import Plan
from trimwave.units import BITS_PER_BYTE, MIB_BYTES


def plan_table(plan: Plan) -> Table:
    """Lay out who gets what: one row per client."""
    shown = Table(box=SIMPLE_HEAD)
    titles = ("client", "beta", "MHz", "T s", "compute", "down", "up", "MiB")
    for title in titles:
        shown.add_column(title, justify="right", no_wrap=True)
    shown.add_column("held by", no_wrap=True)
    for k in range(plan.num_clients):
        shown.add_row(
            str(k),
            f"{plan.prune_rate[k]:.3f}",
            f"{plan.bandwidth_hz[k] / 1e6:.2f}",
            f"{plan.total_s[k]:.2f}",
            f"{plan.compute_s[k]:.2f}",
            f"{plan.down_s[k]:.2f}",
            f"{plan.up_s[k]:.2f}",
            f"{plan.down_bits[k] / BITS_PER_BYTE / MIB_BYTES:.1f}",
            plan.binding[k],
        )
    return shown


def plan_lines(problem: Problem, plan: Plan) -> list[str]:
    """Say what holds for the whole cell: latency, constraints, certificate."""
    solution, limits = plan.solution, problem.limits
    mean = float(plan.prune_rate.mean())
    c5 = "tight" if mean > limits.beta_bar - 1e-3 else "slack"
    used = float(plan.bandwidth_hz.sum())
    lines = [
        f"round {plan.latency_s:.6f} s by {solution.solver} ({solution.status}); "
        f"client {plan.straggler} ends last",
        f"C1 {used / 1e6:.4f} of {problem.cell.total_bandwidth_hz / 1e6:.4f} MHz; "
        f"C5 mean beta {mean:.4f} of {limits.beta_bar:.4f}, {c5}; "
        f"spectrum carries bits {plan.spectrum_utilisation:.1%} of the round",
    ]
    if solution.bound_s is not None and solution.gap is not None:
        lines.append(
            f"certificate: no plan is faster than {solution.bound_s:.6f} s (relative "
            f"gap {solution.gap:.1e}); KKT residual {solution.kkt_residual:.1e}"
        )
    else:
        reason = "`--solver exact` gives one"
        if solution.kkt_residual is not None:
            reason = (
                "this cell is not quasi-convex, so the plan is feasible, not proven"
            )
        lines.append(f"certificate: none; {reason}")
    return lines


def plan_json(problem: Problem, plan: Plan) -> dict[str, Any]:
    """Everything of a plan in plain numbers, SI units in the names."""
    return {
        **plan.record(),
        "total_bandwidth_hz": problem.cell.total_bandwidth_hz,
        "beta_bar": problem.limits.beta_bar,
        "gap": plan.solution.gap,
        "price_hz": plan.solution.price_hz,
        "noise": problem.cell.noise,
    }
