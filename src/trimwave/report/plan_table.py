"""A plan as a table and as JSON."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trimwave.analysis import Selection
from trimwave.base.units import BITS_PER_BYTE, MIB_BYTES, FloatArray, IntArray
from trimwave.decision.plan import Plan, Situation
from trimwave.report.aligned import aligned, narrow

MOST_ROWS = 20
"""Clients of which all are shown without being asked for."""

FIRST_ROWS = 8
"""Clients that are shown of more, besides the one that ends last."""

DIGITS = 5, 4
"""Characters of a number: the first with which the table fits the screen. With more,
ten of them and what holds x_k do not fit into 80 columns; `plan_json` has them all."""

WIDEST_NAME = 12
"""Characters of a client in the table, for the same reason."""

MEANINGS = {
    "client": "its number in the cell, from 0, and its id",
    "beta": "the part of the emulator that it leaves out",
    "MHz": "its share of the band",
    "up MHz": "its share of the uplink's band",
    "T s": "seconds of its round, the sum of the next three",
    "compute": "local fine-tuning",
    "down": "download",
    "up": "upload",
    "J": "energy of sending, and of computing where that is known",
    "MiB": "download in the round",
    "GB": "peak memory, by the model",
    "held by": "what keeps beta from going on: memory (C3), beta_max or beta_min (C4)",
}
"""Every title that a plan's table may have."""

DECIMALS = dict.fromkeys(MEANINGS, 2) | {"beta": 3, "MiB": 1}


def plan_meanings(plan: Plan) -> dict[str, str]:
    """Return the titles of a plan's table and what they mean."""
    titles = ["client", *_numbers(plan), "held by"]
    meanings = {title: MEANINGS[title] for title in titles}
    if plan.up_bandwidth_hz is not None:
        meanings["MHz"] = "its share of the downlink's band"
    return meanings


def plan_table(
    plan: Plan,
    width: int,
    *,
    every: bool = False,
) -> list[str]:
    """Lay out who gets what, one line per client, below the titles.

    Of many clients the first and the one that ends last, and what lies between.

    Parameters
    ----------
    plan : Plan
        Of any method.
    width : int
        Columns of the screen.
    every : bool
        Show all clients, however many.
    """
    lines: list[str] = []
    for digits in DIGITS:
        columns = _columns(plan, digits, every)
        lines = aligned(columns, width, left=("held by",))
        if max(map(len, lines)) <= width:
            break
    return lines


def _columns(plan: Plan, digits: int, every: bool) -> dict[str, list[str]]:
    """Return the cells of all that is shown, by title."""
    numbers, clients = _numbers(plan), np.arange(plan.num_clients)
    if every or plan.num_clients <= MOST_ROWS:
        return _cells(plan, clients, digits)
    columns = _cells(plan, clients[:FIRST_ROWS], digits)
    if plan.straggler >= FIRST_ROWS:
        _append(columns, {"client": "..."})
        last = _cells(plan, clients[[plan.straggler]], digits)
        _append(columns, {title: one for title, (one,) in last.items()})
    _append(columns, {"client": "..."})
    chosen = plan.scheduled
    for name, of in (("least", np.min), ("median", np.median), ("most", np.max)):
        found = {title: float(of(of_k[chosen])) for title, of_k in numbers.items()}
        cells = {title: _cell(title, one, digits) for title, one in found.items()}
        _append(columns, {"client": name} | cells)
    return columns


def _numbers(plan: Plan) -> dict[str, FloatArray]:
    """Return the columns of numbers by their titles, [K] each, in their units."""
    bands = {"MHz": plan.bandwidth_hz / 1e6}
    if plan.up_bandwidth_hz is not None:
        bands["up MHz"] = plan.up_bandwidth_hz / 1e6
    return {
        "beta": plan.prune_rate,
        **bands,
        "T s": plan.total_s,
        "compute": plan.compute_s,
        "down": plan.down_s,
        "up": plan.up_s,
        **({} if plan.energy_j is None else {"J": plan.energy_j}),
        "MiB": _mib(plan.down_bits),
        "GB": plan.memory_bytes / 1e9,
    }


def _cells(plan: Plan, clients: IntArray, digits: int) -> dict[str, list[str]]:
    """Return the cells of some clients by title."""
    chosen = plan.scheduled[clients].tolist()
    at = clients.tolist()
    columns = {"client": [_who(plan.client_ids, k) for k in at]}
    for title, values in _numbers(plan).items():
        columns[title] = [
            _cell(title, one, digits) if taken else ""
            for one, taken in zip(values[clients].tolist(), chosen, strict=True)
        ]
    columns["held by"] = [_held_by(plan, k) for k in at]
    return columns


def _held_by(plan: Plan, client: int) -> str:
    """Return what holds a client's pruning, or why it takes no part."""
    bound = plan.binding[client]
    return bound if plan.scheduled[client] or bound != "-" else "not scheduled"


def _who(
    names: Sequence[str] | None, client: int, widest: int | None = WIDEST_NAME
) -> str:
    """Return a client's number, and of its id, if it has one, as much as fits."""
    if names is None or names[client] == str(client):
        return str(client)
    name = f"{client} {names[client]}"
    if widest is None or len(name) <= widest:
        return name
    return f"{name[: widest - 1]}…"


def _append(columns: dict[str, list[str]], cells: Mapping[str, str]) -> None:
    for title, values in columns.items():
        values.append(cells.get(title, ""))


def _cell(title: str, value: float, digits: int) -> str:
    return narrow(value, DECIMALS[title], digits)


def plan_lines(
    situation: Situation,
    plan: Plan,
    *,
    every: bool = False,
) -> list[str]:
    """Say what holds for the whole cell: latency, constraints, proof, preparation."""
    solution = plan.solution
    by = f" by {solution.solver} ({solution.status})" if solution else ""
    last = _who(plan.client_ids, plan.straggler, None)
    lines = [
        f"round {_seconds(plan.latency_s)} s{by}; client {last} ends last",
        "; ".join(_constraints(situation, plan)),
    ]
    if plan.num_clients > MOST_ROWS and not every:
        lines.insert(0, _left_out(plan))
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


def _left_out(plan: Plan) -> str:
    """Say what the table does not show of many clients."""
    counts = Counter(_held_by(plan, client) for client in range(plan.num_clients))
    names = {"-": "nothing"}
    held = ", ".join(
        f"{names.get(one, one)} {number}" for one, number in counts.most_common()
    )
    shown = FIRST_ROWS + (plan.straggler >= FIRST_ROWS)
    return (
        f"{shown} of {plan.num_clients} clients, and the least, median and most of "
        f"each column; --all prints every client. held by: {held}"
    )


def _constraints(situation: Situation, plan: Plan) -> list[str]:
    cell = situation.cell
    total_hz = cell.total_bandwidth_hz
    found = [f"C1 {plan.bandwidth_hz.sum() / 1e6:.4f} of {total_hz / 1e6:.4f} MHz"]
    if plan.up_bandwidth_hz is not None and cell.up_bandwidth_hz is not None:
        used_hz = plan.up_bandwidth_hz.sum()
        found[0] += f" down, {used_hz / 1e6:.4f} of {cell.up_bandwidth_hz / 1e6:.4f} up"
    if cell.resource_block_hz is not None:
        blocks = round(plan.bandwidth_hz.sum() / cell.resource_block_hz)
        found.append(f"{blocks} blocks of {cell.resource_block_hz / 1e3:g} kHz")
    takes_part = plan.scheduled
    if not takes_part.all():
        found.append(f"{takes_part.sum()} of {takes_part.size} clients scheduled")
    rates = plan.prune_rate[takes_part]
    # A method that sends whole models has nothing to keep C5 with.
    if plan.solution is not None or np.any(rates > 0):
        found.append(_mean_pruning(situation, rates, takes_part))
    used = plan.spectrum_utilisation
    found.append(f"spectrum carries bits {used:.1%} of the round")
    return found


def _mean_pruning(
    situation: Situation, rates: FloatArray, takes_part: np.ndarray[Any, Any]
) -> str:
    """Say what C5 comes to: of the rates, or of what they damage."""
    limits, most, what = situation.limits, situation.limits.beta_bar, "mean beta"
    if limits.damage is not None:
        rates, what = limits.damage(rates), "mean damage"
        most = float(limits.damage(np.array([most]))[0])
    weights = None
    if limits.weighted:  # the cell is of those who are there
        weights = situation.cell.num_samples[takes_part[situation.clients]]
    mean, size = float(np.average(rates, weights=weights)), max(1.0, abs(most))
    state = "tight" if mean > most - 1e-3 * size else "slack"
    if mean > most + 1e-6 * size:
        state = "exceeded: this method does not keep it"
    if limits.weighted:
        what += ", by samples,"
    return f"C5 {what} {mean:.4f} of {most:.4f}, {state}"


def _certificate(plan: Plan) -> str:
    solution = plan.solution
    assert solution is not None
    if solution.bound_s is not None and solution.gap is not None:
        residual = solution.kkt_residual
        return (
            f"certificate: no plan is faster than {_seconds(solution.bound_s)} s "
            f"(relative gap {solution.gap:.1e})"
            + ("" if residual is None else f"; KKT residual {residual:.1e}")
        )
    if solution.kkt_residual is None:
        return "certificate: none; only the exact solver of jcpba gives one"
    return (
        "certificate: none; this cell is not quasi-convex, so the plan is feasible, "
        "not proven"
    )


def plan_json(situation: Situation, plan: Plan) -> dict[str, Any]:
    """Everything of a plan in plain numbers, SI units in the names."""
    solution, cell = plan.solution, situation.cell
    bands = {
        "total_bandwidth_hz": cell.total_bandwidth_hz,
        "total_up_bandwidth_hz": cell.up_bandwidth_hz,
        "resource_block_hz": cell.resource_block_hz,
    }
    return {
        **plan.record(),
        **{name: value for name, value in bands.items() if value is not None},
        "beta_bar": situation.limits.beta_bar,
        "gap": solution.gap if solution else None,
        "price_hz": solution.price_hz if solution else None,
        "noise": cell.noise,
    }


def selection_json(selection: Selection, deadline_s: float | None) -> dict[str, Any]:
    """Who is dropped, and whether more could be served, beside `plan_json`."""
    found: dict[str, Any] = {"dropped": selection.dropped.tolist()}
    if deadline_s is not None:
        found |= {"deadline_s": deadline_s, "most_served": selection.most}
    return found


def selection_lines(
    selection: Selection,
    deadline_s: float | None,
    names: Sequence[str] | None = None,
) -> list[str]:
    """Say who is dropped, and what of that is proven."""
    dropped = selection.dropped.tolist()
    called = [_who(names, k, None) for k in dropped[:MOST_ROWS]]
    if len(dropped) > MOST_ROWS:
        called.append(f"and {len(dropped) - MOST_ROWS} more")
    who = f"dropped: {', '.join(called) or 'nobody'}"
    served = selection.clients.size
    of = f"{served} of {served + len(dropped)} clients served"
    if deadline_s is None:
        return [f"{of}; {who}"]
    proof = "nobody could serve more"
    if not selection.proven:
        proof = f"no more than {selection.most} could be"
    return [f"{of} within {deadline_s:g} s, {proof}; {who}"]


def json_text(values: Mapping[str, Any]) -> str:
    """Write JSON with a line for each key: of long lists many times faster."""
    lines = (f"  {json.dumps(key)}: {json.dumps(one)}" for key, one in values.items())
    return "{\n" + ",\n".join(lines) + "\n}"


def _seconds(value: float) -> str:
    """Write the round's time; all digits of a time beyond all reason mislead."""
    return f"{value:.6f}" if value < 1e9 else f"{value:.6e}"


def _mib(bits: Any) -> Any:
    return bits / BITS_PER_BYTE / MIB_BYTES
