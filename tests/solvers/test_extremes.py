"""Cells and workloads far from any real one: an answer with a proof, or a refusal."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from helpers import make_problem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from variants import VARIANTS, vary

from trimwave.base.errors import InputError
from trimwave.cell.cell import Cell
from trimwave.model.workload import Workload
from trimwave.problem.limits import Limits
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Status, solve
from trimwave.solvers import Exact
from trimwave.solvers.certificate import price_rises


def calm(examples):
    """Settings that draw the same examples every time, with no limit on time."""
    slow = [HealthCheck.too_slow]
    return settings(
        derandomize=True,
        deadline=None,
        max_examples=examples,
        suppress_health_check=slow,
    )


MOST_STEPS = 200
"""Deadlines tried at the most."""


PARTS = {
    "adapter_flops": 24.0,
    "emulator_flops": 24.0,
    "adapter_bits": 18.0,
    "update_bits": 18.0,
    "emulator_params": 16.8,
    "fixed_memory_bytes": 9.0,
    "emulator_memory_bytes": 10.5,
    "overhead_down_bits": 6.0,
    "overhead_up_bits": 6.0,
}
"""What a workload is made of, and the power of ten that each part may reach."""

C5_CORNERS = ("inside", "at beta_min", "at beta_max", "above", "below")


def spread(rng, clients, least, most):
    """Draw alike for all, or anywhere within a part of the range."""
    ends = np.sort(rng.uniform(least, most, 2))
    return np.clip(rng.uniform(*ends, clients), least, most)


@st.composite
def problems(draw, noise, most_clients):
    """Draw a P1 whose clients and parts differ by any factor.

    Which parts are 0, which limits meet: hypothesis draws. How large the others are,
    on a logarithmic scale: a seed.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    few, many = rng.integers(2, 12), rng.integers(1, most_clients + 1)
    clients = int(draw(st.sampled_from([few, many, 1])))
    some = draw(st.lists(st.sampled_from(list(PARTS)), max_size=4, unique=True))
    sizes = {
        part: 0 if part in some else int(10 ** rng.uniform(0, most))
        for part, most in PARTS.items()
    }
    work = Workload(num_local_steps=int(rng.integers(1, 1000)), **sizes)
    cell = Cell(
        speed_flops_per_s=10 ** spread(rng, clients, 6, 15),
        memory_bytes=10 ** spread(rng, clients, 8.5, 13),
        snr_down=10 ** spread(rng, clients, -2, 10),
        snr_up=10 ** spread(rng, clients, -2, 10),
        num_samples=np.ones(clients),
        total_bandwidth_hz=float(10 ** rng.uniform(0, 12)),
        noise=noise,
        max_spectral_efficiency=draw(st.sampled_from([np.inf, 12.0, 5.0, 0.1])),
    )
    return Problem(cell=cell, workload=work, limits=draw(limits(rng)))


@st.composite
def limits(draw, rng):
    """Draw C4 and C5, at their corners too."""
    beta_min, beta_max = np.sort(rng.uniform(0, 0.99, 2))
    meet = draw(st.sampled_from([False, False, False, True]))
    beta_min = draw(st.sampled_from([beta_min, 0.0]))
    beta_max = beta_min if meet else beta_max
    where = draw(st.sampled_from(C5_CORNERS))
    beta_bar = {
        "inside": rng.uniform(beta_min, beta_max),
        "at beta_min": beta_min,
        "at beta_max": beta_max,
        "above": beta_max + 0.1,
        "below": beta_min - 1e-6,
    }[where]
    return Limits(
        beta_min=float(beta_min), beta_max=float(beta_max), beta_bar=float(beta_bar)
    )


def judge(problem):
    """Solve, and check all that is promised of any problem; return the status."""
    try:
        found = solve(problem, Exact())
    except InputError as error:
        assert str(error).startswith("infeasible: C")
        return Status.INFEASIBLE
    numbers = (found.latency_s, found.price_hz, found.kkt_residual)
    assert np.all(np.isfinite([*numbers, *found.kept, *found.bandwidth_hz]))
    assert found.latency_s >= 0 and found.price_hz >= 0 and found.kkt_residual >= 0
    assert problem.violations(found.kept, found.bandwidth_hz) == []
    total_s = problem.latency.total_s(found.kept, found.bandwidth_hz)
    assert found.latency_s == np.max(total_s)
    assert len(found.trace) <= MOST_STEPS
    assert found.bound_s is None or found.bound_s <= found.latency_s
    if found.status is not Status.OPTIMAL:
        assert found.status is Status.FEASIBLE
        assert not price_rises(problem, np.array([found.latency_s]))
    elif found.latency_s > 0:
        assert found.gap <= 1e-9
    return found.status


@calm(100)
@given(problem=problems("fixed", 200))
def test_a_noise_power(problem):
    assert judge(problem) in (Status.OPTIMAL, Status.INFEASIBLE)


@calm(15)
@given(problem=problems("psd", 40))
def test_a_noise_density(problem):
    judge(problem)


OTHERS = st.sampled_from(VARIANTS[1:])


@calm(40)
@given(problem=problems("fixed", 60), kind=OTHERS, seed=st.integers(0, 99))
def test_variants_with_a_noise_power(problem, kind, seed):
    judge(vary(problem, kind, seed))


@calm(8)
@given(problem=problems("psd", 20), kind=OTHERS, seed=st.integers(0, 99))
def test_variants_with_a_noise_density(problem, kind, seed):
    judge(vary(problem, kind, seed))


@pytest.mark.slow
@calm(1000)
@given(problem=problems("fixed", 200), kind=OTHERS, seed=st.integers(0, 10**6))
def test_thousands_of_variants_with_a_noise_power(problem, kind, seed):
    judge(vary(problem, kind, seed))


@pytest.mark.slow
@calm(200)
@given(problem=problems("psd", 60), kind=OTHERS, seed=st.integers(0, 10**6))
def test_hundreds_of_variants_with_a_noise_density(problem, kind, seed):
    judge(vary(problem, kind, seed))


@pytest.mark.slow
@calm(1500)
@given(problem=problems("fixed", 200))
def test_thousands_with_a_noise_power(problem):
    assert judge(problem) in (Status.OPTIMAL, Status.INFEASIBLE)


@pytest.mark.slow
@calm(300)
@given(problem=problems("psd", 200))
def test_hundreds_with_a_noise_density(problem):
    judge(problem)


def crowd(noise, clients, seed=0):
    """Return clients nine orders of magnitude apart in speed, and 120 dB in SNR."""
    rng = np.random.default_rng(seed)
    cell = Cell(
        speed_flops_per_s=10 ** rng.uniform(6, 15, clients),
        memory_bytes=10 ** rng.uniform(9.2, 12, clients),
        snr_down=10 ** rng.uniform(-2, 10, clients),
        snr_up=10 ** rng.uniform(-2, 10, clients),
        num_samples=np.ones(clients),
        total_bandwidth_hz=1e8,
        noise=noise,
    )
    work = Workload(
        adapter_flops=10**11,
        emulator_flops=3 * 10**11,
        num_local_steps=30,
        adapter_bits=4 * 10**8,
        update_bits=4 * 10**8,
        emulator_params=270_000_000,
        fixed_memory_bytes=10**8,
        emulator_memory_bytes=10**9,
    )
    limits = Limits(beta_min=0.1, beta_max=0.9, beta_bar=0.6)
    return Problem(cell=cell, workload=work, limits=limits)


def test_a_thousand_clients_nine_orders_of_magnitude_apart():
    assert judge(crowd("fixed", 1000)) is Status.OPTIMAL
    judge(crowd("psd", 200))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "clients"), [("fixed", 10**5), ("fixed", 10**6), ("psd", 10**4)]
)
def test_a_crowd(noise, clients):
    for seed in range(2):
        status = judge(crowd(noise, clients, seed))
        assert status is Status.OPTIMAL or noise == "psd"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "clients"), [("fixed", 10**5), ("fixed", 10**6), ("psd", 10**5)]
)
def test_a_crowd_in_the_letters_cell(noise, clients):
    problem = make_problem(0, num_clients=clients, noise=noise)
    assert judge(problem) is Status.OPTIMAL


def corner(**changes):
    """Return two clients of whom one thing is extreme."""
    cell = Cell(
        speed_flops_per_s=np.array([1e12, 2e12]),
        memory_bytes=np.array([8e9, 8e9]),
        snr_down=np.array([1e5, 1e6]),
        snr_up=np.array([1e4, 1e5]),
        num_samples=np.ones(2),
        total_bandwidth_hz=1e8,
        noise=changes.pop("noise", "fixed"),
    )
    limits = Limits(beta_min=0.2, beta_max=0.8, beta_bar=0.5)
    problem = crowd("fixed", 2)
    for name, value in changes.items():
        if hasattr(cell, name):
            cell = replace(cell, **{name: value})
        else:
            work = replace(problem.workload, **{name: value})
            problem = replace(problem, workload=work)
    return replace(problem, cell=cell, limits=limits)


CORNERS = (
    {"adapter_flops": 0, "emulator_flops": 0},  # the time is all transfer
    {"adapter_bits": 0, "update_bits": 0, "emulator_params": 0},  # or all compute
    {"adapter_bits": 0, "update_bits": 0},  # nothing fixed to send
    {"emulator_params": 0, "emulator_flops": 0},  # nothing that x changes
    {name: 0 for name in list(PARTS)[:5]},  # no work at all
    {"emulator_params": 1},
    {"emulator_flops": 1, "emulator_params": 1},
    {"adapter_flops": 10**24},  # one client's transfer is lost in its rounding
    {"emulator_flops": 10**24},
    {"emulator_flops": 10**24, "bandwidth_min_hz": np.array([1e6, 2e6])},
    {
        "emulator_flops": 10**24,  # what the least shares send is lost in rounding
        "emulator_params": 1,
        "adapter_bits": 10,
        "update_bits": 10,
        "bandwidth_min_hz": np.array([1e6, 2e6]),
    },
    {"emulator_flops": 10**24, "bandwidth_max_hz": np.array([6e7, 3e7])},
    {
        "emulator_flops": 10**24,
        "speed_flops_per_s": np.array([1e7, 2e7]),
        "emulator_params": 0,
        "adapter_bits": 10**4,
        "update_bits": 10,
        "total_bandwidth_hz": 1e12,
    },
    {"update_bits": 10**18},
    {"bandwidth_min_hz": np.array([0.0, 5e7])},
    {"bandwidth_min_hz": np.array([5e7, 5e7])},
    {"bandwidth_max_hz": np.array([1e-6, 1e8])},
    {"adapter_bits": 10**18, "emulator_params": 1},
    {"num_local_steps": 10**9},
    {"speed_flops_per_s": np.array([1e6, 1e15])},
    {"snr_down": np.array([1e-2, 1e10]), "snr_up": np.array([1e10, 1e-2])},
    {"snr_up": np.array([1e-12, 1e-12])},
    {"total_bandwidth_hz": 1.0},
    {"total_bandwidth_hz": 1e12},
    {"max_spectral_efficiency": 1e-6},
    {"max_spectral_efficiency": 13.0},  # between the two clients' own
)


@pytest.mark.parametrize("noise", ["fixed", "psd"])
@pytest.mark.parametrize("changes", CORNERS, ids=lambda one: "+".join(one))
def test_one_thing_extreme(changes, noise):
    assert judge(corner(noise=noise, **changes)) is not Status.INFEASIBLE


@pytest.mark.parametrize("noise", ["fixed", "psd"])
@pytest.mark.parametrize("beta", [(0.0, 0.0), (0.5, 0.5), (0.99, 0.99), (0.0, 0.99)])
@pytest.mark.parametrize("bar", [-1e-6, 0.0, 1e-12, 0.4, 1.0, 1.1])
def test_corners_of_the_limits(noise, beta, bar):
    beta_min, beta_max = beta
    beta_bar = beta_min + bar * (beta_max - beta_min) if bar <= 1 else beta_max + 0.5
    if bar < 0:
        beta_bar = beta_min + bar
    limits = Limits(beta_min=beta_min, beta_max=beta_max, beta_bar=beta_bar)
    status = judge(replace(corner(noise=noise), limits=limits))
    assert (status is Status.INFEASIBLE) == (bar < 0)
    if status is Status.OPTIMAL and bar >= 1:
        found = solve(replace(corner(noise=noise), limits=limits), Exact())
        np.testing.assert_allclose(found.kept, 1 - beta_max, rtol=1e-12)


def test_the_drawn_problems_are_of_every_kind():
    """The strategies reach what they are for: or the tests above would prove little."""
    seen = Counter()

    @calm(300)
    @given(problem=problems("fixed", 200))
    def look(problem):
        work, cell, limit = problem.workload, problem.cell, problem.limits
        speed = cell.speed_flops_per_s
        seen["one client"] += cell.num_clients == 1
        seen["many clients"] += cell.num_clients > 100
        seen["no compute"] += work.adapter_flops == work.emulator_flops == 0
        seen["apart"] += np.max(speed) > 1e5 * np.min(speed)
        seen["pinned"] += limit.beta_min == limit.beta_max
        seen["tight"] += limit.beta_bar == limit.beta_min < limit.beta_max
        seen["slack"] += limit.beta_bar > limit.beta_max
        seen["capped"] += np.isfinite(cell.max_spectral_efficiency)
        short = problem.memory_kept_max < 1 - limit.beta_min
        seen["memory"] += 0 < np.sum(short) and np.all(
            problem.memory_kept_max > 1 - limit.beta_max
        )

    look()
    assert min(seen.values()) >= 3, seen
