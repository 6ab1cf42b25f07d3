from dataclasses import replace

import numpy as np
import pytest
from helpers import make_problem, with_cell, with_workload

from trimwave.base.errors import InfeasibleError, InputError
from trimwave.cell.cell import Cell
from trimwave.problem.limits import Limits, beta_bar_from_c5
from trimwave.problem.violation import Violation, at_least

EVEN_HZ = np.full(8, 12.5e6)
HALF = np.full(8, 0.5)


def only(found):
    """Return the single violation, whose sentence must name it."""
    assert [str(one) for one in found] == [found[0].message]
    assert found[0].message.startswith(found[0].constraint)
    return found[0]


def changed(values, client, value):
    values = values.copy()
    values[client] = value
    return values


def test_the_even_point_violates_nothing():
    assert make_problem(0).violations(HALF, EVEN_HZ) == []


def test_c1_names_the_excess():
    found = only(make_problem(0).violations(HALF, changed(EVEN_HZ, 2, 12.6e6)))
    assert (found.constraint, found.client) == ("C1", None)
    assert found.shortfall == pytest.approx(0.1e6)
    assert make_problem(0).violations(HALF, EVEN_HZ * (1 + 1e-12)) == []


def test_c2_names_the_client():
    found = only(make_problem(0).violations(HALF, changed(EVEN_HZ, 5, -3.0)))
    assert (found.constraint, found.client, found.shortfall) == ("C2", 5, 3.0)
    assert "client 5" in found.message


def test_c3_names_the_client_and_the_bytes():
    problem = make_problem(0)
    work = problem.workload
    memory = problem.cell.memory_bytes.copy()
    memory[6] = work.fixed_memory_bytes + 0.3 * work.emulator_memory_bytes
    found = only(with_cell(problem, memory_bytes=memory).violations(HALF, EVEN_HZ))
    assert (found.constraint, found.client) == ("C3", 6)
    assert found.shortfall == pytest.approx(0.2 * work.emulator_memory_bytes)


def test_c4_names_the_client_both_ways():
    problem = make_problem(0)
    found = only(problem.violations(changed(HALF + 0.1, 1, 0.15), EVEN_HZ))
    assert (found.constraint, found.client) == ("C4", 1)
    assert found.shortfall == pytest.approx(0.05)
    assert "`beta_max`" in found.message
    found = only(problem.violations(changed(HALF, 3, 0.9), EVEN_HZ))
    assert (found.constraint, found.client) == ("C4", 3)
    assert found.shortfall == pytest.approx(0.1)
    assert "`beta_min`" in found.message


def test_c5_names_the_mean():
    found = only(make_problem(0).violations(changed(HALF, 0, 0.42), EVEN_HZ))
    assert (found.constraint, found.client) == ("C5", None)
    assert found.shortfall == pytest.approx(0.01)


@pytest.mark.parametrize("what", ["kept", "bandwidth"])
def test_not_a_number_is_no_feasible_point(what):
    kept = changed(HALF, 4, np.nan) if what == "kept" else HALF
    bandwidth_hz = changed(EVEN_HZ, 4, np.nan) if what == "bandwidth" else EVEN_HZ
    assert make_problem(0).violations(kept, bandwidth_hz)


def test_an_emulator_without_memory_leaves_c3_to_the_fixed_part():
    problem = with_workload(make_problem(0), emulator_memory_bytes=0)
    assert problem.violations(HALF, EVEN_HZ) == []
    short = with_workload(problem, fixed_memory_bytes=10**11)
    found = short.violations(HALF, EVEN_HZ)
    assert {one.constraint for one in found} == {"C3"}
    assert all(np.isfinite(one.shortfall) and one.shortfall > 0 for one in found)
    with pytest.raises(InfeasibleError, match="C3: client 0"):
        short.check()


def test_check_names_every_client_short_of_memory():
    problem = make_problem(0)
    work = problem.workload
    least = work.fixed_memory_bytes + 0.2 * work.emulator_memory_bytes
    memory = problem.cell.memory_bytes.copy()
    memory[[2, 5]] = least - 7e6
    with pytest.raises(InfeasibleError) as caught:
        with_cell(problem, memory_bytes=memory).check()
    first, second = caught.value.violations
    assert first.startswith("C3: client 2")
    assert second.startswith("C3: client 5")
    assert "short by 0.007 GB" in first
    assert "`beta_max` = 0.8" in first
    memory[[2, 5]] = least
    with_cell(problem, memory_bytes=memory).check()


def test_check_names_the_floor_that_pruning_cannot_pass():
    problem = make_problem(0)
    params = problem.workload.emulator_params
    sizes = np.array([params * 3 // 10, params])
    floored = replace(problem, workload=problem.workload.with_sizes(sizes))
    with pytest.raises(InfeasibleError, match=r"C4: `beta_max` = 0.8 .* 0\.3000 "):
        floored.check()
    replace(floored, limits=Limits(beta_max=0.7)).check()


def test_check_names_what_makes_c5_unreachable():
    said = r"C5: .*0\.1, but `beta_min` of C4.*at least 0\.2000"
    with pytest.raises(InfeasibleError, match=said):
        make_problem(0, beta_bar=0.1).check()
    problem = make_problem(0, beta_bar=0.3)
    work = problem.workload
    memory = problem.cell.memory_bytes.copy()
    memory[[1, 4]] = work.fixed_memory_bytes + 0.3 * work.emulator_memory_bytes
    # Two keep 0.3, six 0.8: mean pruning 0.325.
    message = r"C5: .*clients \[1, 4\].*at least 0\.3250, over by 0\.025"
    with pytest.raises(InfeasibleError, match=message):
        with_cell(problem, memory_bytes=memory).check()


def test_the_tightest_feasible_limits_pass():
    make_problem(0, beta_bar=0.2).check()
    make_problem(0, beta_min=0.5, beta_max=0.5, beta_bar=0.5).check()
    make_problem(0, beta_min=0.0, beta_bar=0.0).check()


@pytest.mark.parametrize(
    "limits",
    [
        {"beta_min": -0.1},
        {"beta_max": 1.0},
        {"beta_min": 0.6, "beta_max": 0.5},
        {"beta_min": np.nan},
        {"beta_max": np.nan},
    ],
)
def test_c4_that_contradicts_itself_is_refused(limits):
    with pytest.raises(InputError, match="C4 needs 0 <= `beta_min`"):
        Limits(**limits)


def test_beta_bar_must_be_a_number():
    with pytest.raises(InputError, match="`beta_bar` must be a number, got nan"):
        Limits(beta_bar=np.nan)


FIELDS = ("speed_flops_per_s", "memory_bytes", "snr_down", "snr_up", "num_samples")


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [np.nan, -1.0, 0.0, np.inf])
def test_a_cell_names_the_client_with_an_impossible_value(name, value):
    cell = make_problem(0).cell
    message = f"`{name}` must be positive and finite, got {value} for client 6"
    with pytest.raises(InputError, match=message):
        replace(cell, **{name: changed(getattr(cell, name), 6, value)})


@pytest.mark.parametrize("name", FIELDS)
def test_a_cell_of_arrays_that_do_not_fit_is_refused(name):
    cell = make_problem(0).cell
    with pytest.raises(InputError, match=r"has \d clients"):
        replace(cell, **{name: np.ones(7)})
    with pytest.raises(InputError, match=f"`{name}` must have one value per client"):
        replace(cell, **{name: np.float64(1.0)})


def test_a_cell_without_clients_is_refused():
    with pytest.raises(InputError, match="at least one client"):
        Cell(**dict.fromkeys(FIELDS, np.array([])), total_bandwidth_hz=1e6)


@pytest.mark.parametrize("value", [np.nan, -1.0, 0.0, np.inf])
def test_a_cell_without_a_band_is_refused(value):
    with pytest.raises(InputError, match="`total_bandwidth_hz` must be positive"):
        replace(make_problem(0).cell, total_bandwidth_hz=value)


def test_a_cell_checks_noise_and_cap():
    with pytest.raises(InputError, match="`noise` must be one of .* got 'white'"):
        replace(make_problem(0).cell, noise="white")
    with pytest.raises(InputError, match="`max_spectral_efficiency`"):
        replace(make_problem(0).cell, max_spectral_efficiency=np.nan)


def test_c5s_constants_are_one_number():
    constants = {"c5_xi": 0.1, "c5_phi": 0.8, "c5_psi": 1.0, "gamma_min": 0.7}
    sizes = {"num_clients": 8, "batch_size": 1}
    # 0.7 - 0.1 - 0.8 / 8 = 0.5
    assert beta_bar_from_c5(**constants, **sizes) == pytest.approx(0.5)
    assert beta_bar_from_c5(**constants | {"c5_psi": 2.0}, **sizes) == pytest.approx(
        0.25
    )
    # A batch of four: 0.7 - 0.1 - 0.8 / 32 = 0.575
    more = beta_bar_from_c5(**constants, num_clients=8, batch_size=4)
    assert more == pytest.approx(0.575)
    with pytest.raises(InputError, match=r"0\.2 exceeds `gamma_min` = 0\.15 by 0\.05"):
        beta_bar_from_c5(**constants | {"gamma_min": 0.15}, **sizes)
    for name in ("c5_xi", "c5_phi", "c5_psi"):
        for value in (0.0, -1.0, np.nan, np.inf):
            with pytest.raises(InputError, match=f"`{name}` of C5 must be positive"):
                beta_bar_from_c5(**constants | {name: value}, **sizes)
    with pytest.raises(InputError, match="gamma_min"):
        beta_bar_from_c5(**constants | {"gamma_min": np.nan}, **sizes)


def test_check_and_violations_agree_where_the_best_point_for_a_constraint_is_asked():
    """The least shares, the least kept for memory, the most kept for C5."""
    problem = make_problem(0, beta_bar=0.3)
    least_hz = np.full(8, 13e6)
    have = problem.memory_at(problem.kept_min) - 7e6
    short = with_cell(problem, memory_bytes=have, bandwidth_min_hz=least_hz)
    with pytest.raises(InfeasibleError) as caught:
        short.check()
    said = {one[:2] for one in caught.value.violations}
    found = short.violations(short.kept_min, least_hz)
    assert said == {one.constraint for one in found} == {"C1", "C3", "C5"}
    amounts = {one.client: one.shortfall for one in found if one.constraint == "C3"}
    for client, sentence in enumerate(caught.value.violations[1:9]):
        assert f"client {client} " in sentence
        assert f"short by {at_least(amounts[client] / 1e9)} GB" in sentence


def test_a_violation_holds_plain_numbers():
    found = Violation.of("C3", np.int64(4), np.float64(2.5), "C3: short.")
    assert (type(found.client), type(found.shortfall)) == (int, float)
    assert Violation.of("C1", None, 1, "C1").client is None
