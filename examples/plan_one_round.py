"""Plan one round of a cell: the optimum, its proof, its prices, and whom to drop.

Run ``python examples/plan_one_round.py [--clients 8] [--seed 0]``; needs NumPy alone.
Draws K clients of the letter's cell (GPT-2 Medium, 12.5 MHz of band per client).
"""

import argparse
from collections.abc import Sequence

import numpy as np

import trimwave as tw
from trimwave.analysis import drop_clients, prices_of, what_if

PATH_GAIN, NOISE_W_PER_HZ, HZ_PER_CLIENT = 1e-6, 10**-20.4, 12.5e6
SHAPE, SHOWN = tw.SHAPES["gpt2-medium"], 8


def draw_problem(num_clients: int, seed: int) -> tw.Problem:
    """Draw clients and one round's fading from the letter's ranges."""
    rng = np.random.default_rng(seed)
    band_hz = HZ_PER_CLIENT * num_clients
    noise_w = NOISE_W_PER_HZ * band_hz
    cell = tw.Cell(
        speed_flops_per_s=1e12 * rng.uniform(0.5, 2.0, num_clients),
        memory_bytes=rng.uniform(4e9, 8e9, num_clients),
        snr_down=10.0 * PATH_GAIN * rng.exponential(size=num_clients) / noise_w,
        snr_up=0.2 * PATH_GAIN * rng.exponential(size=num_clients) / noise_w,
        num_samples=np.ones(num_clients),
        total_bandwidth_hz=band_hz,
    )
    work = tw.workload_of(
        SHAPE, split_index=22, batch_size=1, seq_len=256, num_local_steps=30
    )
    return tw.Problem(cell=cell, workload=work, limits=tw.Limits(beta_bar=0.5))


def print_plan(problem: tw.Problem, plan: tw.Solution) -> None:
    """Print what the first clients get, and when each part of theirs is over."""
    latency, share_hz = problem.latency, plan.bandwidth_hz
    parts_s = [latency.compute_s(plan.kept), latency.down_s(plan.kept, share_hz)]
    parts_s += [latency.up_s(share_hz), latency.total_s(plan.kept, share_hz)]
    print("client  TFLOP/s  beta    MHz  compute s  down s  up s  total s")
    for k in range(min(SHOWN, plan.kept.size)):
        compute_s, down_s, up_s, total_s = (part[k] for part in parts_s)
        print(
            f"{k:6}{problem.cell.speed_flops_per_s[k] / 1e12:9.2f}"
            f"{plan.prune_rate[k]:6.2f}{share_hz[k] / 1e6:7.2f}{compute_s:11.2f}"
            f"{down_s:8.2f}{up_s:6.2f}{total_s:9.3f}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the plan and what it would take to be faster."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    for name, least in (("clients", 1), ("seed", 0)):
        if getattr(given, name) < least:
            text = f"error: --{name} must be at least {least}"
            parser.exit(2, f"{text}, got {getattr(given, name)}.\n")
    try:
        show(given)
    except tw.InputError as error:  # a draw without a plan
        parser.exit(2, f"error: {error}\n")


def show(given: argparse.Namespace) -> None:
    """Draw, plan, print."""
    problem = draw_problem(given.clients, given.seed)
    plan, letters = (tw.solve(problem, by) for by in (tw.Exact(), tw.BlockDescent()))
    print_plan(problem, plan)
    print(f"\nround        {plan.latency_s:.4f} s, {plan.status}")
    proof = f"gap {plan.gap:.0e}, KKT residual {plan.kkt_residual:.0e}"
    print(f"bound        {plan.bound_s:.4f} s, {proof}")
    late = letters.latency_s / plan.latency_s - 1
    print(f"Algorithm 1  {letters.latency_s:.4f} s, {late:+.2%}")
    prices = prices_of(problem, plan)
    print(f"1 MHz more   saves {-1e6 * prices.band_s_per_hz:.4f} s, at the margin")
    print(f"0.01 beta    saves {-0.01 * prices.beta_bar_s:.4f} s, at the margin")
    band = what_if(problem, plan, more_band=0.1)[0]
    print(f"10 % band    saves {band.saved_s:.4f} s, solved again")
    if given.clients > 1:
        fewer = drop_clients(problem, 1)
        saved_s = plan.latency_s - fewer.solution.latency_s
        print(f"drop first   client {fewer.dropped[0]}, which saves {saved_s:.4f} s")


if __name__ == "__main__":
    main()
