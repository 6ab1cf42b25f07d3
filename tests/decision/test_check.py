"""A plan of any method is checked once, before a backend gets it."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import make_situation, with_cell, with_costs

from trimwave.base.errors import InputError
from trimwave.decision.check import check_plan
from trimwave.methods import ALL, METHODS, parse_method

SIZES = 22 * 12_596_224 - np.arange(1300)[::-1] * 200_000


@pytest.fixture
def situation():
    """Return a cell whose emulator comes in some sizes only."""
    return with_costs(make_situation(0), emulator_sizes=SIZES)


def served(situation):
    return with_cell(situation, server_speed_flops_per_s=50e12)


def checked(situation, text="jcpba", **changes):
    """Check a method's plan with some fields of the plan changed."""
    method = parse_method(text)
    plan = replace(method.plan(situation), **changes)
    scheme = method.scheme(situation.costs, situation.limits)
    check_plan(situation, plan, method.label, scheme)


def spoilt(situation, text="jcpba", client=2, **changes):
    """Check one with some fields of a client's sub-model changed."""
    submodels = list(parse_method(text).plan(situation).submodels)
    submodels[client] = replace(submodels[client], **changes)
    checked(situation, text, submodels=tuple(submodels))


VARIANTS = (
    *ALL,
    *("deft:adapter=lora", "deft:groups=3", "fedbiot:adapter=full", "fedbiot:drop=0"),
    *("fedqlora:bits=4", "fedqlora:bits=mixed", "split_lora:v=1e-9", "partial:v=1e-9"),
    *("jcpba:adapter=lora", "lora:bandwidth=uniform", "deft:local_steps=1"),
)


@pytest.mark.parametrize("text", VARIANTS)
def test_every_method_of_ours_passes(situation, text):
    assert {name.split(":")[0] for name in VARIANTS} == set(METHODS)
    for seed in range(3):
        here = replace(make_situation(seed), costs=situation.costs)
        checked(served(here), text)
        checked(served(make_situation(seed)), text)  # any size, as `plan` and `sweep`


def test_it_names_the_method_and_the_client(situation):
    with pytest.raises(InputError, match=r"plan of JCPBA\* .* client 2 has"):
        spoilt(situation, trained_blocks=(99,))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"trained_blocks": (22, 24)},
            r"`trained_blocks` \[24\], out of range: .* 0 to 23",
        ),
        ({"shared_blocks": (-1, 22, 23)}, r"`shared_blocks` \[-1\], out of range"),
        (
            {"trained_blocks": (23, 22)},
            r"`trained_blocks` \(23, 22\), which must ascend",
        ),
        ({"trained_blocks": (22, 22, 23)}, "which must ascend, each block once"),
        ({"trained_blocks": ()}, "trains no block"),
        ({"shared_blocks": (23,)}, r"trains blocks \[22\], .* not among its `shared_b"),
        (
            {"trained_blocks": (3, 22), "shared_blocks": (3, 22)},
            r"\[3\], which it does not",
        ),
        (
            {"kept_blocks": (0, 22)},
            r"`kept_blocks` \[22\], out of range: blocks are 0 to 21",
        ),
        ({"kept_blocks": (0, 1)}, "its 2 `kept_blocks` are 25192448 parameters"),
        (
            {"emulator_params": -5},
            "`emulator_params` = -5, of an emulator of 277116928",
        ),
        ({"emulator_params": 277116929}, "of an emulator of 277116928"),
        ({"kept_fraction": 0.123}, "`kept_fraction` = 0.123, but `emulator_params` = "),
        ({"kept_fraction": np.nan}, "`kept_fraction` = nan, but"),
        ({"trained": "some"}, "`trained` = 'some'; it must be one of full, lora"),
        ({"trained": "lora"}, "has `trained` = 'lora', but the method's scheme 'full'"),
        ({"runs": "cloud"}, "`runs` = 'cloud'; it must be one of device, split"),
        ({"weight_bits": 5}, "`weight_bits` = 5; it must be one of 4, 8, 16"),
        ({"num_local_steps": 0}, "`num_local_steps` = 0; it must be at least 1"),
        (
            {"compensation_rank": -1},
            "`compensation_rank` = -1; it must be finite, at l",
        ),
        ({"proximal_weight": np.inf}, "`proximal_weight` = inf"),
        ({"trains_head": True}, "factors on the head, which the method's scheme does"),
    ],
)
def test_a_sub_model_that_cannot_exist_is_refused(situation, changes, said):
    with pytest.raises(InputError, match=f"client 2 .*{said}"):
        spoilt(situation, **changes)


def test_an_emulator_that_no_heads_and_neurons_add_up_to_is_refused(situation):
    below, above = SIZES[500], SIZES[501]
    odd = {"emulator_params": int(below) + 7, "kept_fraction": (below + 7) / SIZES[-1]}
    with pytest.raises(InputError, match=f"the nearest of .* are {below} and {above}"):
        spoilt(situation, **odd)
    any_size = with_costs(situation, emulator_sizes=None)
    spoilt(any_size, **odd)
    tiny = {"emulator_params": 0, "kept_fraction": 0.0}
    with pytest.raises(InputError, match=f"the nearest of .* are {SIZES[0]}"):
        spoilt(situation, **tiny)


def test_lora_on_blocks_that_the_server_has_no_factors_for_is_refused(situation):
    with pytest.raises(InputError, match=r"\[21\], which the method's scheme does not"):
        spoilt(
            situation,
            "jcpba:adapter=lora",
            trained_blocks=(21, 22, 23),
            shared_blocks=(21, 22, 23),
            emulator_params=int(SIZES[-1]),
            kept_fraction=1.0,
        )


def with_one(values, client, value):
    changed = np.array(values, dtype=float)
    changed[client] = value
    return changed


@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf])
@pytest.mark.parametrize("name", ["bandwidth_hz", "compute_s", "down_s", "up_s"])
def test_a_number_that_cannot_be_is_refused(situation, name, value):
    good = getattr(parse_method("jcpba").plan(situation), name)
    said = f"`{name}` of client 3 must be finite, at least 0, got {value}"
    with pytest.raises(InputError, match=said):
        checked(situation, **{name: with_one(good, 3, value)})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"bandwidth_hz": np.full(8, 13e6)},
            "adds up to 104000000 Hz, more than the b",
        ),
        (
            {"bandwidth_hz": with_one(np.full(8, 1e6), 5, 0)},
            "client 5 takes part with no",
        ),
        (
            {"bandwidth_hz": np.full(7, 1e6)},
            r"`bandwidth_hz` has shape \(7,\) for 8 cl",
        ),
        ({"binding": ("-",) * 3}, "`binding` has 3 entries for 8 clients"),
        ({"submodels": ()}, "`submodels` has 0 entries for 8 clients"),
        ({"submodels": (None,) * 8}, "nobody takes part"),
        ({"submodels": (None,) * 7 + (0.5,)}, "client 7 has float for a `Submodel`"),
        ({"install_s": np.nan}, "`install_s` .*must be finite"),
        ({"carry": {"queue": np.arange(3)}}, "`carry` must be plain JSON"),
        ({"carry": {"queue": np.nan}}, "`carry` must be plain JSON"),
    ],
)
def test_a_plan_that_is_not_of_this_cell_is_refused(situation, changes, said):
    with pytest.raises(InputError, match=said):
        checked(situation, **changes)


def test_what_is_no_plan_is_refused(situation):
    with pytest.raises(InputError, match="mine returned dict instead of a `Plan`"):
        check_plan(situation, {}, "mine")


def test_a_scheme_that_names_blocks_out_of_range_is_refused(situation):
    method = parse_method("jcpba")
    scheme = method.scheme(situation.costs, situation.limits)
    wrong = replace(scheme.submodel, shared_blocks=(22, 23, 40))
    scheme = replace(scheme, submodel=wrong)
    with pytest.raises(InputError, match=r"the scheme of mine .* \[40\], out of range"):
        check_plan(situation, method.plan(situation), "mine", scheme)
