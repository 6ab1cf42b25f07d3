"""From what a method decided to a plan with seconds, bits, FLOPs and memory."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from trimwave.base.errors import InfeasibleError, InputError
from trimwave.base.units import FloatArray, IntArray
from trimwave.cell.cell import Cell
from trimwave.decision.bands import Shares, best_shares, downlink_alone, in_blocks
from trimwave.decision.plan import Plan, Situation
from trimwave.model.submodel import Bill, Submodel
from trimwave.problem.latency import RoundLatency
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Solution
from trimwave.problem.violation import ROUNDING, Violation


def latency_of(
    situation: Situation, bills: Sequence[Bill], clients: IntArray
) -> RoundLatency:
    """Return eq. (9) for clients with fixed sub-models, nothing left to prune.

    The server's speed is shared evenly by the clients at hand. Eqs. (6), (8).

    Raises
    ------
    InputError
        If the server computes and its speed is not known.
    """
    cell = situation.cell.take(clients)
    compute_s = _step_flops(cell, bills) / cell.speed_flops_per_s
    compute_s = compute_s + _server_step_s(cell, bills)
    zeros = np.zeros(len(bills))
    return RoundLatency(
        compute_fixed_s=np.array([bill.num_local_steps for bill in bills]) * compute_s,
        compute_emulator_s=zeros,
        down_fixed_bits=_down_bits(cell, bills),
        down_emulator_bits=zeros,
        up_bits=np.array([bill.up_bits for bill in bills]),
        down=cell.link("down"),
        up=cell.link("up"),
    )


def _step_flops(cell: Cell, bills: Sequence[Bill]) -> FloatArray:
    """Return a local step's FLOPs on each device, [K]: without what is kept of it."""
    step_flops = np.array([bill.step_flops for bill in bills])
    if cell.fresh_share is None:
        return step_flops
    frozen_flops = np.array([bill.frozen_flops for bill in bills])
    return step_flops - (1 - cell.fresh_share) * frozen_flops


def _down_bits(cell: Cell, bills: Sequence[Bill]) -> FloatArray:
    """Return what each client is sent, [K] [bit]."""
    down_bits = np.array([bill.down_bits for bill in bills])
    return down_bits if cell.owed_bits is None else down_bits + cell.owed_bits


def _server_step_s(cell: Cell, bills: Sequence[Bill]) -> FloatArray:
    """Return the server's part of each client's step, [K] [s]."""
    server_flops = np.array([bill.server_step_flops for bill in bills])
    if not np.any(server_flops > 0):
        return np.zeros(len(bills))
    if cell.server_speed_flops_per_s is None:
        raise InputError(
            "this method computes at the server, whose speed is not known; set "
            "`cell.server_speed_flops_per_s`."
        )
    return server_flops / (cell.server_speed_flops_per_s / len(bills))


def best_band(latency: RoundLatency, cell: Cell) -> FloatArray:
    """Return the split with which fixed sub-models end soonest, [K] [Hz].

    They end together, but for whom a bound of its share or a whole block stops.

    Parameters
    ----------
    latency : RoundLatency
        Of all clients of the cell.
    cell : Cell
        Those who share the band.

    Raises
    ------
    InfeasibleError
        If no split obeys the bounds of their shares, C1 and C2.
    InputError
        If the uplink has its own band.
    """
    cell.require_one_band("this method")
    return best_shares(latency, cell).down_hz


def plan_of(
    situation: Situation,
    submodels: Sequence[Submodel | None],
    bandwidth_hz: FloatArray,
    *,
    up_bandwidth_hz: FloatArray | None = None,
    binding: tuple[str, ...] = (),
    solution: Solution | None = None,
    carry: Mapping[str, Any] | None = None,
    bills: Sequence[Bill] | None = None,
    problem: Problem | None = None,
) -> Plan:
    """Price what a method decided, eqs. (6), (8), (9).

    Parameters
    ----------
    situation : Situation
        What it was decided for.
    submodels : [K]
        None for a client that does not take part.
    bandwidth_hz : [K]
        B_k [Hz]; read where a client takes part, and rounded to whole resource blocks
        where the cell has them.
    up_bandwidth_hz : [K], optional
        Under FDD what each has of the uplink's own band [Hz].
    binding, solution, carry
        As in `Plan`.
    bills : sequence of Bill, optional
        Of who takes part, in the order of the clients, where the caller has them at
        hand or counts otherwise than `Costs.bill`.
    problem : Problem, optional
        P1 that the kept fractions are of: its times and payloads count, in which the
        cell's `held` and `emulator_time` are.

    Raises
    ------
    InfeasibleError
        If a sub-model does not fit its client's memory, C3.
    InputError
        If nobody takes part, the server's speed is needed and not known, or the uplink
        has its own band and no shares of it are given.
    """
    _check_cell(situation.cell, problem, up_bandwidth_hz)
    clients = np.array([k for k, one in enumerate(submodels) if one is not None])
    if not clients.size:
        raise InputError("a plan needs at least one client that takes part.")
    if bills is None:
        bills = situation.costs.bills([one for one in submodels if one is not None])
    _check_memory(situation.cell, bills, clients)
    sharing, kept = situation.cell.take(clients), np.zeros(clients.size)
    up_hz = None if up_bandwidth_hz is None else up_bandwidth_hz[clients]
    share_hz, up_hz = in_blocks(sharing, Shares(bandwidth_hz[clients], up_hz))
    _warn_of_bounds(sharing, clients, share_hz)
    if problem is None:
        latency = latency_of(situation, bills, clients)
    else:
        latency = replace(problem, cell=problem.cell.take(clients)).latency
        kept = np.array([one.kept_fraction for one in submodels if one is not None])

    def spread(values: FloatArray) -> FloatArray:
        full = np.zeros(len(submodels))
        full[clients] = values
        return full

    def counts(values: Sequence[float] | FloatArray) -> IntArray:
        return np.rint(spread(np.array(values))).astype(np.int64)

    server_step_s = _server_step_s(situation.cell, bills)
    num_steps = np.array([bill.num_local_steps for bill in bills])
    up_s = spread(latency.up_s(share_hz if up_hz is None else up_hz))
    heeded = sharing if problem is None else replace(sharing, fresh_share=None)
    flops = counts(num_steps * _step_flops(heeded, bills))
    install_bits = counts([bill.install_bits for bill in bills])
    # Whoever is left out of this round may be in the next.
    takes_part = spread(np.ones(clients.size)) > 0
    install_bits = np.where(takes_part, install_bits, install_bits.max())
    return Plan(
        submodels=tuple(submodels),
        bandwidth_hz=spread(share_hz),
        up_bandwidth_hz=None if up_hz is None else spread(up_hz),
        compute_s=spread(latency.compute_s(kept)),
        down_s=spread(latency.down_s(kept, share_hz)),
        up_s=up_s,
        down_bits=counts(latency.down_bits(kept).tolist()),
        up_bits=counts([bill.up_bits for bill in bills]),
        flops=flops,
        memory_bytes=counts([bill.memory_bytes for bill in bills]),
        install_bits=install_bits,
        install_s=_install_s(situation.cell, install_bits),
        given_s=spread(latency.given_s(kept) + np.zeros(clients.size)),
        binding=binding or ("-",) * len(submodels),
        solution=solution,
        carry=carry or {},
        server_s=spread(num_steps * server_step_s),
        energy_j=_energy_j(situation.cell, up_s, flops),
        client_ids=situation.cell.client_ids,
    )


def _energy_j(cell: Cell, up_s: FloatArray, flops: IntArray) -> FloatArray | None:
    """Energy of sending and computing, [K] [J]; None if the cell has no powers.

    p_k t_k,up plus what the FLOPs take. Receiving and waiting are not counted.
    """
    if cell.power_tx_w is None:
        return None
    computing_j = 0.0 if cell.joule_per_flop is None else cell.joule_per_flop * flops
    return cell.power_tx_w * up_s + computing_j


def _check_cell(
    cell: Cell, problem: Problem | None, up_bandwidth_hz: FloatArray | None
) -> None:
    """Refuse what no plan can have, and warn of what this one does not heed."""
    cell.require_one_cell("a plan of a method")
    if up_bandwidth_hz is None:
        cell.require_one_band("this method")
    unheeded = "held", "emulator_time"
    if problem is not None:
        unheeded = "fresh_share", "owed_bits"
    for name in unheeded:
        if getattr(cell, name) is not None:
            warnings.warn(
                f"`{name}` of the cell has no effect on this method.", stacklevel=4
            )


def _warn_of_bounds(cell: Cell, clients: IntArray, share_hz: FloatArray) -> None:
    """Say where a method's shares are outside the clients' bounds."""
    bounds = {"least": cell.share_min_hz, "largest": cell.bandwidth_max_hz}
    for which, bound_hz in bounds.items():
        if bound_hz is None:
            continue
        over_hz = bound_hz - share_hz if which == "least" else share_hz - bound_hz
        for at in np.flatnonzero(over_hz > ROUNDING * bound_hz)[:1]:
            warnings.warn(
                f"this method does not heed the {which} shares of the cell: client "
                f"{clients[at]} has {share_hz[at]:g} Hz, its bound is "
                f"{bound_hz[at]:g} Hz.",
                stacklevel=4,
            )


def _install_s(cell: Cell, install_bits: IntArray) -> float:
    """Time of the one-time download with the best split of the band [s]."""
    if not install_bits.any():
        return 0.0
    zeros, cell = np.zeros(install_bits.size), downlink_alone(cell)
    latency = RoundLatency(
        compute_fixed_s=zeros,
        compute_emulator_s=zeros,
        down_fixed_bits=install_bits.astype(np.float64),
        down_emulator_bits=zeros,
        up_bits=zeros,
        down=cell.link("down"),
        up=cell.link("up"),
    )
    return float(np.max(latency.total_s(zeros, best_band(latency, cell))))


def _check_memory(cell: Cell, bills: Sequence[Bill], clients: IntArray) -> None:
    """Raise for every client whose memory does not hold its sub-model, C3."""
    found = []
    for bill, k in zip(bills, clients.tolist(), strict=True):
        have, need = float(cell.memory_bytes[k]), bill.memory_bytes
        if need <= have * (1 + ROUNDING):
            continue
        found.append(
            Violation(
                constraint="C3",
                client=k,
                shortfall=need - have,
                message=(
                    f"C3: {cell.who(int(k))} has {have / 1e9:.3f} GB, its sub-model "
                    f"needs {need / 1e9:.3f} GB; drop the client, lower the batch size "
                    "or `train.seq_len`, or use a method that prunes."
                ),
            )
        )
    if found:
        raise InfeasibleError(found)
