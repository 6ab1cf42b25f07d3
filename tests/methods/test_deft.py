from dataclasses import replace

import numpy as np
import pytest
from deft_by_hand import (
    BLOCK_FLOPS,
    BLOCK_PARAMS,
    EMBEDDING_PARAMS,
    HEAD_FLOPS,
    MIB_BITS,
    owners_of,
    situation_of,
)
from helpers import LETTER_COSTS

from trimwave.base.errors import InfeasibleError, InputError
from trimwave.methods.deft import Deft
from trimwave.problem.limits import Limits


def test_bytes_of_the_letters_setting():
    plan = Deft().plan(situation_of(0))
    assert np.all(plan.down_bits == 16 * 24 * BLOCK_PARAMS)
    assert np.all(plan.up_bits == 16 * 3 * BLOCK_PARAMS)
    total_mib = (plan.down_bits + plan.up_bits) / MIB_BITS
    np.testing.assert_allclose(total_mib, 648.69, atol=0.005)
    assert np.all(plan.install_bits == 16 * EMBEDDING_PARAMS)


def test_bytes_of_the_other_settings():
    situation, lora_params = situation_of(0), 8 * (1024 + 3 * 1024)
    everything = 24 * BLOCK_PARAMS + EMBEDDING_PARAMS
    plan = Deft(download="delta").plan(situation)
    assert np.all(plan.down_bits == 16 * 24 * BLOCK_PARAMS)
    assert np.all(plan.install_bits == 16 * everything)
    plan = Deft(download="delta", adapter="lora").plan(situation)
    assert np.all(plan.down_bits == 16 * 24 * lora_params)
    assert np.all(plan.up_bits == 16 * 3 * lora_params)
    assert np.all(plan.install_bits == 16 * everything)
    plan = Deft(adapter="lora").plan(situation)
    assert np.all(plan.down_bits == 16 * 24 * (BLOCK_PARAMS + lora_params))
    idle = ~Deft(groups=5).plan(situation).scheduled
    # Whoever is idle now may have a group in the next round.
    assert np.all(Deft(groups=5).plan(situation).install_bits[idle] > 0)


def test_flops_of_the_proper_accounting():
    plan = Deft().plan(situation_of(0))
    step_flops = plan.flops[owners_of(plan)] / 30
    # 24 forward, 3 j input gradients, 3 weight gradients, the head twice
    expected = [(24 + 3 * j + 3) * BLOCK_FLOPS + 2 * HEAD_FLOPS for j in range(1, 9)]
    assert step_flops.tolist() == expected
    assert np.mean(step_flops) == 40.5 * BLOCK_FLOPS + 2 * HEAD_FLOPS


def test_flops_of_the_accounting_of_fig_3():
    plan = Deft(accounting="fig3").plan(situation_of(0))
    step_flops = plan.flops[owners_of(plan)] / 30
    expected = [(24 + 6 * j) * BLOCK_FLOPS + 2 * HEAD_FLOPS for j in range(1, 9)]
    assert step_flops.tolist() == expected
    assert np.mean(step_flops) == 394_953_490_432
    compute_s = plan.flops / situation_of(0).cell.speed_flops_per_s
    np.testing.assert_allclose(plan.compute_s, compute_s, rtol=1e-12)


def test_fig_3_fits_at_the_letters_tokens_without_the_attention_term():
    situation = replace(situation_of(0), costs=replace(LETTER_COSTS, seq_len=237))
    plan = Deft(accounting="fig3").plan(situation)
    attention = (24 + 2 * 13.5) * 4 * 1024 * 237**2
    giga = np.mean(plan.flops) / 30 - attention
    assert giga == pytest.approx(351.3e9, rel=0.005)


def test_fig_3_counts_the_head_twice_whatever_the_costs_say():
    situation = situation_of(0)
    once = replace(situation, costs=replace(LETTER_COSTS, head_passes=1))
    method = Deft(accounting="fig3")
    assert np.array_equal(method.plan(situation).flops, method.plan(once).flops)
    less = Deft().plan(situation).flops - Deft().plan(once).flops
    assert np.all(less == 30 * HEAD_FLOPS)


def test_one_local_step_is_one_gradient():
    many, one = Deft().plan(situation_of(0)), Deft(local_steps=1).plan(situation_of(0))
    assert {part.num_local_steps for part in one.submodels} == {1}
    assert {part.num_local_steps for part in many.submodels} == {None}
    assert np.sum(many.flops) == 30 * np.sum(one.flops)
    assert np.array_equal(many.up_bits, one.up_bits)
    assert one.latency_s < many.latency_s


def test_the_scheme_is_the_whole_model():
    scheme = Deft(adapter="lora", download="delta", local_steps=2).scheme(
        LETTER_COSTS, Limits()
    )
    part = scheme.submodel
    assert part.trained_blocks == part.shared_blocks == tuple(range(24))
    assert (part.kept_fraction, part.trained) == (1.0, "lora")
    assert not part.sends_frozen
    assert Deft().scheme(LETTER_COSTS, Limits()).submodel.sends_frozen
    assert Deft().label == "DEFT"


def test_fewer_devices_than_groups_is_refused():
    message = r"fewer devices than block groups: .* is 8, .* has 6; set it to 6 or less"
    with pytest.raises(InputError, match=message):
        Deft(groups=8).plan(situation_of(0, num_clients=6))


def test_more_groups_than_blocks_is_refused():
    message = "`groups` of `deft` must be at most the 24 blocks of gpt2-medium, got 25"
    with pytest.raises(InputError, match=message):
        Deft(groups=25).plan(situation_of(0, num_clients=30))
    with pytest.raises(InputError, match=message):
        Deft(groups=25).scheme(LETTER_COSTS, Limits())


@pytest.mark.parametrize("option", ["groups", "local_steps"])
def test_negative_options_are_refused(option):
    message = f"option `{option}` of `deft` must be at least 0, got -1"
    with pytest.raises(InputError, match=message):
        Deft(**{option: -1})


def test_too_little_memory_names_the_deepest_group_and_a_remedy():
    plan = Deft().plan(situation_of(0, memory_bytes=np.full(8, 8e9)))
    need = plan.memory_bytes[owners_of(plan)].astype(float)
    memory = np.full(8, need[7] - 1000)
    message = (
        r"^infeasible: C3: block group 8 of 8 \(training blocks 0 to 2\) takes "
        r"1\.808 GB, which 0 of 8 clients have; groups this deep need 1; lower the "
        r"batch size or `train\.seq_len`, set option `adapter` of `deft` to lora, or "
        r"add clients with more memory\.$"
    )
    for bandwidth in ("joint", "uniform"):
        with pytest.raises(InfeasibleError, match=message):
            Deft(bandwidth=bandwidth).plan(situation_of(0, memory_bytes=memory))


def test_too_little_memory_for_two_deep_groups_counts_the_devices():
    plan = Deft().plan(situation_of(0, memory_bytes=np.full(8, 8e9)))
    need = plan.memory_bytes[owners_of(plan)].astype(float)
    memory = np.full(8, need[5] + 1000)
    memory[3] = 8e9
    message = r"group 7 of 8 \(training blocks 3 to 5\) .* 1 of 8 .* this deep need 2;"
    with pytest.raises(InfeasibleError, match=message):
        Deft().plan(situation_of(0, memory_bytes=memory))


def test_the_remedy_fits_the_options():
    memory = np.full(8, 2e9)
    with pytest.raises(InfeasibleError, match="to lora, raise option `groups`"):
        Deft(groups=2).plan(situation_of(0, memory_bytes=memory))
    assert Deft(groups=2, adapter="lora").plan(situation_of(0, memory_bytes=memory))
    with pytest.raises(InfeasibleError, match="`train.seq_len`, or add clients"):
        Deft(adapter="lora").plan(situation_of(0, memory_bytes=memory / 2))
