from dataclasses import replace

import numpy as np
import pytest
from helpers import make_problem, with_cell, with_workload

from trimwave.problem.limits import Limits
from trimwave.problem.solution import solve
from trimwave.solvers import BlockDescent, Exact, Uniform

BOTH = pytest.mark.parametrize("noise", ["fixed", "psd"])


@BOTH
def test_numbering_the_clients_otherwise_permutes_the_answer(noise):
    problem = make_problem(1, noise=noise, path_loss_db=94)
    order = np.random.default_rng(0).permutation(8)
    names = ("speed_flops_per_s", "memory_bytes", "snr_down", "snr_up")
    moved = {name: getattr(problem.cell, name)[order] for name in names}
    for solver in (Exact(), BlockDescent(), Uniform()):
        here = solve(problem, solver)
        there = solve(with_cell(problem, **moved), solver)
        np.testing.assert_allclose(there.kept, here.kept[order], rtol=1e-8)
        np.testing.assert_allclose(
            there.bandwidth_hz, here.bandwidth_hz[order], rtol=1e-8
        )
        assert there.latency_s == pytest.approx(here.latency_s, rel=1e-11)


@BOTH
@pytest.mark.parametrize("factor", [3.0, 1 / 7])
def test_units_do_not_matter(noise, factor):
    problem = make_problem(2, noise=noise)
    work, cell = problem.workload, problem.cell
    bits = {
        name: getattr(work, name) * factor
        for name in ("adapter_bits", "update_bits", "emulator_params")
    }
    wider = with_cell(
        with_workload(problem, **bits), total_bandwidth_hz=factor * 100e6
    )  # the SNR is that of the whole band, so it stays
    flops = {
        name: getattr(work, name) * factor
        for name in ("adapter_flops", "emulator_flops")
    }
    faster = with_cell(
        with_workload(problem, **flops),
        speed_flops_per_s=factor * cell.speed_flops_per_s,
    )
    here = solve(problem, Exact())
    for other, unit in ((wider, factor), (faster, 1.0)):
        there = solve(other, Exact())
        assert there.latency_s == pytest.approx(here.latency_s, rel=1e-11)
        np.testing.assert_allclose(there.kept, here.kept, rtol=1e-8)
        np.testing.assert_allclose(
            there.bandwidth_hz, unit * here.bandwidth_hz, rtol=1e-8
        )


@BOTH
def test_more_of_anything_helps(noise):
    problem = make_problem(3, noise=noise)
    speed = problem.cell.speed_flops_per_s
    one_faster = np.where(np.arange(8) == 4, 2 * speed, speed)
    # Twice the band is twice the noise power: half the SNR over the whole of it.
    wide = {"total_bandwidth_hz": 200e6}
    wide |= {name: getattr(problem.cell, name) / 2 for name in ("snr_down", "snr_up")}
    easier = (
        with_cell(problem, **wide),
        with_cell(problem, speed_flops_per_s=one_faster),
        replace(problem, limits=Limits(beta_bar=0.55)),
        replace(problem, limits=Limits(beta_max=0.9, beta_min=0.0)),
    )
    here_s = solve(problem, Exact()).latency_s
    for other in easier:
        assert solve(other, Exact()).latency_s < here_s * (1 - 1e-6)
