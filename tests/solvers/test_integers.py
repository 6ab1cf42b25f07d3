from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from helpers import make_problem, with_cell
from variants import NOISES, vary

from trimwave.base.errors import InfeasibleError, InputError
from trimwave.problem.solution import Status, solve
from trimwave.solvers import BlockDescent, Exact
from trimwave.solvers.blocks import bandwidth_block
from trimwave.solvers.exact_blocks import can_search_blocks
from trimwave.solvers.integers import realise, round_to_sizes, whole_blocks

BAND_HZ = 100e6
KINDS = ("base", "held", "table", "weights", "damage", "bounds", "all")


def with_sizes(problem, notches):
    """Allow the sizes i / notches of an emulator of as many tens of millions."""
    sizes = np.arange(1, notches + 1) * 10**7
    work = replace(
        problem.workload, emulator_params=int(sizes[-1]), emulator_sizes=sizes
    )
    return replace(problem, workload=work)


def with_blocks(problem, blocks):
    """Divide the band into so many resource blocks."""
    return replace(
        problem, cell=replace(problem.cell, resource_block_hz=BAND_HZ / blocks)
    )


def draw(seed, num_clients, kind="base", noise="fixed", **limits):
    """Draw a problem of a variant whose limits leave room for coarse sizes."""
    rng = np.random.default_rng(seed)
    drawn = {"beta_min": 0.1, "beta_max": 0.9, "beta_bar": rng.uniform(0.3, 0.7)}
    problem = make_problem(
        seed,
        num_clients=num_clients,
        noise=noise,
        speed_factor=(0.3, 2.5),
        path_loss_db=rng.uniform(60, 100),
        **(drawn | limits),
    )
    return vary(problem, kind, seed)


def bounds_of(problem):
    return problem.cell.bandwidth_min_hz, problem.cell.bandwidth_max_hz


def legal_kept(problem):
    """All kept fractions of real sizes with C3 to C5, [N, K]."""
    grid = problem.workload.emulator_sizes / problem.workload.emulator_params
    kept = np.array(list(product(grid, repeat=problem.cell.num_clients)))
    legal = np.all(kept >= problem.kept_min - 1e-9, axis=-1)
    legal &= np.all(kept <= problem.kept_max + 1e-9, axis=-1)
    legal &= problem.avoided(kept)[:, 0] >= problem.avoid_min - 1e-9
    return kept[legal]


def legal_shares_hz(problem):
    """All shares in whole blocks, one or more each, with C1 and C2, [N, K]."""
    block_hz = problem.cell.resource_block_hz
    total, clients = round(BAND_HZ / block_hz), problem.cell.num_clients
    blocks = np.array(list(product(range(1, total + 1), repeat=clients)))
    shares = blocks[np.sum(blocks, axis=-1) <= total] * block_hz
    least_hz, most_hz = bounds_of(problem)
    legal = np.ones(len(shares), dtype=bool)
    if least_hz is not None:
        legal &= np.all(shares >= least_hz * (1 - 1e-9), axis=-1)
    if most_hz is not None:
        legal &= np.all(shares <= most_hz * (1 + 1e-9), axis=-1)
    return shares[legal]


def best_s(problem, kept, shares_hz):
    return float(np.min(np.max(problem.latency.total_s(kept, shares_hz), axis=-1)))


def assert_real(problem, continuous, real):
    """Expect real sizes, whole blocks, C1 to C5, and an honest gap."""
    assert problem.violations(real.kept, real.bandwidth_hz) == []
    total_s = problem.latency.total_s(real.kept, real.bandwidth_hz)
    assert real.latency_s == np.max(total_s)
    work, block_hz = problem.workload, problem.cell.resource_block_hz
    if work.emulator_sizes is not None:
        sizes = np.rint(real.kept * work.emulator_params).astype(int)
        assert set(sizes.tolist()) <= set(work.emulator_sizes.tolist())
        np.testing.assert_allclose(sizes / work.emulator_params, real.kept, rtol=1e-12)
    if block_hz is not None:
        blocks = real.bandwidth_hz / block_hz
        np.testing.assert_allclose(blocks, np.rint(blocks), rtol=1e-12)
        assert np.min(blocks) >= 1 - 1e-12
    assert continuous.bound_s <= real.bound_s <= real.latency_s
    if block_hz is None or not can_search_blocks(problem):
        assert real.bound_s == continuous.bound_s
    else:
        assert real.status is Status.OPTIMAL
    gap = 1 - real.bound_s / real.latency_s
    assert real.gap == pytest.approx(gap, abs=1e-15)
    assert real.gap >= 0
    assert (real.status is Status.OPTIMAL) == (real.gap <= 1e-9)
    assert real.kkt_residual is None


def test_where_there_is_nothing_to_round_the_solution_comes_back():
    for solver in (Exact(), BlockDescent()):
        problem = make_problem(0)
        found = solve(problem, solver)
        assert realise(problem, found) is found


REAL = [(what, "fixed") for what in ("sizes", "blocks", "both")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("what", "noise"), [*REAL, ("both", "psd")])
def test_real_points_are_real_and_feasible(noise, kind, what):
    for seed in range(2 if noise == "fixed" else 1):
        problem = draw(seed, 7, kind, noise)
        if what != "blocks":
            problem = with_sizes(problem, 25)
        if what != "sizes":
            problem = with_blocks(problem, 150)
        found = solve(problem, Exact())
        assert_real(problem, found, realise(problem, found))


@pytest.mark.parametrize("kind", KINDS)
def test_real_sizes_against_brute_force(kind):
    ratios = []
    for seed in range(6):
        problem = with_sizes(draw(seed, 4, kind), 10)
        kept = legal_kept(problem)
        shares = bandwidth_block(problem.latency, kept, *bounds_of(problem))
        best = best_s(problem, kept, shares)
        real = realise(problem, solve(problem, Exact()))
        assert real.bound_s <= best * (1 + 1e-12)
        ratios.append(real.latency_s / best)
    assert min(ratios) >= 1 - 1e-9
    if kind in ("base", "held", "table", "bounds"):  # every size counts alike in C5
        assert max(ratios) <= 1 + 1e-9
    else:
        assert max(ratios) <= 1.05
        assert np.mean(ratios) <= 1.01


@pytest.mark.parametrize("noise", NOISES)
def test_real_sizes_against_brute_force_for_either_noise(noise):
    for seed in range(20, 23):
        problem = with_sizes(draw(seed, 3, noise=noise), 10)
        kept = legal_kept(problem)
        best = best_s(problem, kept, bandwidth_block(problem.latency, kept))
        real = realise(problem, solve(problem, Exact()))
        assert real.latency_s == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("kind", ["base", "bounds", "all"])
def test_whole_blocks_are_the_best_for_fixed_sizes(noise, kind):
    for seed in range(8 if noise == "fixed" else 3):
        problem = with_blocks(draw(seed, 3, kind, noise), 14)
        shares = legal_shares_hz(problem)
        rng = np.random.default_rng(seed)
        kept = rng.uniform(problem.kept_min, problem.kept_max)
        if not len(shares):
            with pytest.raises(InfeasibleError, match="resource blocks"):
                whole_blocks(problem, kept)
            continue
        found = whole_blocks(problem, kept)
        assert np.any(np.all(np.isclose(shares, found, rtol=1e-12), axis=-1))
        here = np.max(problem.latency.total_s(kept, found))
        assert here == pytest.approx(best_s(problem, kept, shares), rel=1e-9)


def test_finer_sizes_and_blocks_close_the_gap():
    for seed in range(3):
        problem = draw(seed, 6)
        for finer in (with_sizes, with_blocks):
            gaps = []
            for steps in (12, 120, 12_000):
                fine = finer(problem, steps)
                plan = solve(fine, Exact())
                gaps.append(1 - plan.bound_s / realise(fine, plan).latency_s)
            assert gaps[2] < 0.1 * gaps[0]
            assert gaps[2] < 2e-3


def alike(num_clients, **limits):
    """Return a problem of identical clients."""
    problem = make_problem(0, num_clients=1, **limits)
    cell = problem.cell.take(np.zeros(num_clients, dtype=int))
    return replace(problem, cell=cell)


def test_what_is_real_already_stays_and_is_the_optimum():
    problem = with_blocks(with_sizes(alike(5), 10), 20)
    found = solve(problem, Exact())
    real = realise(problem, found)
    np.testing.assert_allclose(real.kept, np.full(5, 0.5))
    np.testing.assert_allclose(real.bandwidth_hz, np.full(5, 20e6))
    assert real.status is Status.OPTIMAL


def test_what_is_left_over_goes_to_those_who_end_last():
    # Eight blocks for three alike: two each, and two more for two of them.
    problem = with_blocks(alike(3), 8)
    blocks = whole_blocks(problem, np.full(3, 0.5)) / 12.5e6
    assert sorted(np.rint(blocks).tolist()) == [2, 3, 3]
    # Whoever keeps more ends later.
    blocks = whole_blocks(problem, np.array([0.5, 0.5, 0.5001])) / 12.5e6
    assert np.rint(blocks).tolist() == [3, 2, 3]


def test_a_part_of_a_block_at_the_edge_of_the_band_is_left():
    problem = alike(2)
    cell = replace(problem.cell, resource_block_hz=30e6)
    shares = whole_blocks(replace(problem, cell=cell), np.array([0.5, 0.6]))
    np.testing.assert_allclose(shares, [30e6, 60e6])


def test_c5_that_is_slack_leaves_everyone_at_the_least_size():
    problem = with_sizes(draw(0, 5, beta_bar=0.95), 10)
    real = realise(problem, solve(problem, Exact()))
    np.testing.assert_allclose(real.kept, np.full(5, 0.1))


def test_one_client_keeps_the_next_size_and_has_every_block():
    for kept_s, keeps in ((0.5, 0.5), (0.501, 0.6), (0.58, 0.6)):
        problem = with_sizes(draw(1, 1, beta_bar=1 - kept_s), 10)
        problem = with_blocks(problem, 7)
        found = solve(problem, Exact())
        real = realise(problem, found)
        assert_real(problem, found, real)
        assert real.kept[0] == pytest.approx(keeps)
        assert real.bandwidth_hz[0] == pytest.approx(BAND_HZ)


@pytest.mark.parametrize(
    ("kind", "noise"), [("base", "fixed"), ("all", "fixed"), ("base", "psd")]
)
def test_numbering_the_clients_otherwise_permutes_the_answer(noise, kind):
    problem = with_sizes(with_blocks(draw(3, 6, kind, noise), 200), 30)
    order = np.random.default_rng(0).permutation(6)
    other = replace(problem, cell=problem.cell.take(order))
    here, there = (realise(one, solve(one, Exact())) for one in (problem, other))
    assert there.latency_s == pytest.approx(here.latency_s, rel=1e-12)
    np.testing.assert_allclose(there.kept, here.kept[order], rtol=1e-12)
    np.testing.assert_allclose(there.bandwidth_hz, here.bandwidth_hz[order], rtol=1e-12)


def test_a_hundred_thousand_clients():
    drawn = make_problem(0, num_clients=100_000, speed_factor=(0.3, 2.5))
    problem = with_blocks(with_sizes(drawn, 3_000), 2_000_000)
    found = solve(problem, Exact())
    real = realise(problem, found)
    assert_real(problem, found, real)
    assert real.gap < 0.05


def test_another_solvers_point_is_rounded_without_a_claim():
    problem = with_sizes(draw(2, 6), 20)
    found = solve(problem, BlockDescent())
    real = realise(problem, found)
    assert problem.violations(real.kept, real.bandwidth_hz) == []
    assert real.bound_s is real.gap is None
    assert real.status is Status.FEASIBLE
    assert real.trace == found.trace


def test_fewer_blocks_than_clients_are_refused():
    problem = with_blocks(draw(0, 4), 3)
    message = (
        "C1: the clients need 4 resource blocks of 3.33333e[+]07 Hz at the least, the "
        "band has 3; use smaller blocks or fewer clients"
    )
    with pytest.raises(InfeasibleError, match=message):
        realise(problem, solve(problem, Exact()))
    realise(with_blocks(problem, 4), solve(problem, Exact()))  # one each is enough


def test_least_shares_of_more_blocks_than_the_band_has_are_refused():
    least_hz = np.array([31e6, 31e6, 31e6])  # 93 MHz, but two blocks of 20 each
    problem = with_cell(draw(0, 3), bandwidth_min_hz=least_hz, resource_block_hz=20e6)
    message = "clients need 6 resource blocks of 2e[+]07 Hz .* the band has 5"
    with pytest.raises(InfeasibleError, match=message):
        realise(problem, solve(problem, Exact()))


def test_a_largest_share_that_holds_no_block_is_refused():
    most_hz = np.array([np.inf, 19e6, 40e6])
    problem = with_cell(draw(0, 3), bandwidth_max_hz=most_hz, resource_block_hz=20e6)
    message = (
        "C2: client 1 needs 1 resource blocks of 2e[+]07 Hz or more, its largest share "
        "holds 0; use smaller blocks"
    )
    with pytest.raises(InfeasibleError, match=message):
        realise(problem, solve(problem, Exact()))


def test_bounds_without_a_size_between_are_refused():
    problem = with_sizes(draw(0, 3, beta_min=0.51, beta_max=0.58, beta_bar=0.55), 10)
    message = "C4: no real sub-model keeps between 0.4200 and 0.4900 .* for client 0"
    with pytest.raises(InfeasibleError, match=message):
        realise(problem, solve(problem, Exact()))


def test_sizes_that_cannot_give_what_c5_asks_are_refused():
    # Sizes end at 0.8 under a bound of 0.85; everyone would have to keep 0.83.
    problem = with_sizes(draw(0, 3, beta_min=0.15, beta_bar=0.17), 10)
    problem = replace(
        problem, cell=replace(problem.cell, memory_bytes=np.full(3, 1e12))
    )
    message = "C5: the largest attainable .* prune 0.2000 on average, over .* by 0.0300"
    with pytest.raises(InfeasibleError, match=message):
        round_to_sizes(problem, np.full(3, 0.83), np.full(3, BAND_HZ / 3))


def test_an_uplink_with_its_own_band_is_refused():
    problem = with_cell(with_blocks(draw(0, 3), 20), up_bandwidth_hz=20e6)
    with pytest.raises(InputError, match="realise takes one band for both directions"):
        realise(problem, solve(problem, Exact()))
