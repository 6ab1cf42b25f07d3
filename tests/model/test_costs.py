from dataclasses import replace

import pytest
from helpers import letter_costs

from trimwave.base.errors import InputError
from trimwave.base.units import BITS_PER_BYTE, MIB_BYTES
from trimwave.model.pricing import QUANTISED_BITS
from trimwave.model.shape import SHAPES
from trimwave.model.submodel import Submodel

MEDIUM = SHAPES["gpt2-medium"]
BLOCK = 12_596_224  # P
EMBEDDINGS = 51_463_168 + 1_048_576 + 2_048  # tokens, positions, final LayerNorm
BLOCK_FLOPS = 6_710_886_400  # c_f
HEAD_FLOPS = 26_349_142_016  # c_h
BLOCK_ACTIVATIONS = 256 * (34 * 1024 + 5 * 16 * 256)  # [byte]
LOGITS = 12 * 256 * 50_257  # [byte]
LORA = 8 * (1024 + 3072)  # factors of one block at rank 8
ALL = tuple(range(24))
ADAPTER = (22, 23)


def mib(bits):
    return bits / BITS_PER_BYTE / MIB_BYTES


def dropped(trained, **fields):
    """FedBiOT's sub-model at a drop of 0.2: 18 whole blocks of the emulator's 22."""
    given = {
        "kept_fraction": 18 / 22,
        "emulator_params": 18 * BLOCK,
        "kept_blocks": tuple(range(18)),
        "trained_blocks": ADAPTER,
        "shared_blocks": ADAPTER,
        "trained": trained,
    }
    return Submodel(**(given | fields))


def test_what_a_round_moves_is_as_in_the_tables():
    """By hand, in MiB; LoRA factors are charged down as well as up."""
    costs = letter_costs()

    def moved(submodel):
        bill = costs.bill(submodel)
        return mib(bill.down_bits + bill.up_bits)

    ubfp = costs.pruned(0.5)
    assert moved(ubfp) == mib(15 * BLOCK * 16)
    assert moved(ubfp) == pytest.approx(360.38, abs=0.005)
    for beta in (0.2, 0.493, 0.8):
        expected = 624.66 - 528.56 * beta
        assert moved(costs.pruned(1 - beta)) == pytest.approx(expected, abs=0.01)
    assert moved(dropped("full")) == pytest.approx(528.56, abs=0.005)
    assert moved(dropped("lora")) == mib((20 * BLOCK + 2 * 2 * LORA) * 16)
    assert moved(dropped("lora")) == pytest.approx(480.6 + 0.125, abs=0.05)
    deft = costs.whole((0, 1, 2), "full")
    assert moved(deft) == mib(27 * BLOCK * 16)
    assert moved(deft) == pytest.approx(648.69, abs=0.005)
    sent = letter_costs(send_embeddings=True).bill(costs.whole(ALL, "full"))
    assert sent.down_bits == 354_823_168 * 16
    assert mib(sent.down_bits) == pytest.approx(676.77, abs=0.005)
    assert sent.install_bits == 0


def test_the_model_that_lies_on_the_device():
    costs = letter_costs()
    bill = costs.bill(costs.whole(ALL, "lora", sends_frozen=False))
    assert bill.install_bits == 354_823_168 * 16
    assert mib(bill.install_bits) == pytest.approx(676.77, abs=0.005)
    assert bill.down_bits == bill.up_bits == 24 * LORA * 16
    assert mib(bill.up_bits) == 1.5
    sent = costs.bill(costs.whole(ALL, "lora"))
    assert sent.install_bits == EMBEDDINGS * 16
    assert sent.down_bits == (24 * BLOCK + 24 * LORA) * 16
    assert sent.up_bits == bill.up_bits
    assert sent.step_flops == bill.step_flops
    assert sent.memory_bytes == bill.memory_bytes
    wider = letter_costs(bits_per_param=32)
    assert wider.bill(wider.whole(ALL, "lora", sends_frozen=False)).install_bits == (
        354_823_168 * 32
    )


def test_only_what_is_shared_travels_beside_what_lies_on_the_device():
    costs = letter_costs()
    for shared in (ADAPTER, (3, *ADAPTER), (*range(18), *ADAPTER)):
        here = dropped("lora", shared_blocks=shared, sends_frozen=False)
        bill = costs.bill(here)
        assert bill.down_bits == len(shared) * LORA * 16
        assert bill.up_bits == 2 * LORA * 16
        assert bill.install_bits == (EMBEDDINGS + 20 * BLOCK) * 16
        whole = costs.bill(replace(here, trained="full"))
        assert whole.down_bits == len(shared) * BLOCK * 16
        # Trained weights travel once where the frozen ones travel too.
        sent = costs.bill(replace(here, trained="full", sends_frozen=True))
        assert sent.down_bits == 20 * BLOCK * 16
        sent = costs.bill(replace(here, sends_frozen=True))
        assert sent.down_bits == (20 * BLOCK + len(shared) * LORA) * 16


@pytest.mark.parametrize(
    ("trained_blocks", "inputs", "weights"),
    [(ADAPTER, 2, 2), ((0, 1, 2), 24, 3), ((9, 10, 11), 15, 3), (ALL, 24, 24)],
)
def test_the_gradient_goes_down_to_the_lowest_trained_block(
    trained_blocks, inputs, weights
):
    costs = letter_costs()
    bill = costs.bill(costs.whole(trained_blocks, "full"))
    passes = 24 + inputs + weights
    assert bill.step_flops == passes * BLOCK_FLOPS + 2 * HEAD_FLOPS
    assert bill.up_bits == weights * BLOCK * 16
    assert bill.down_bits == 24 * BLOCK * 16
    held = 2 * 354_823_168 + inputs * BLOCK_ACTIVATIONS + LOGITS
    assert bill.memory_bytes == held + 16 * weights * BLOCK
    lora = costs.bill(costs.whole(trained_blocks, "lora"))
    factors = weights * LORA
    assert lora.step_flops == (24 + inputs) * BLOCK_FLOPS + 2 * HEAD_FLOPS + (
        6 * factors * 256
    )
    assert lora.memory_bytes == held + 16 * factors
    assert lora.up_bits == factors * 16


def test_e0_and_a_are_as_in_the_tables():
    """By hand, in FLOPs."""
    costs = letter_costs()
    assert costs.bill(costs.pruned(0.0)).step_flops == pytest.approx(93.0e9, rel=1e-3)
    difference = (
        costs.bill(costs.pruned(1.0)).step_flops
        - costs.bill(costs.pruned(0.0)).step_flops
    )
    assert difference == pytest.approx(147.6e9, rel=1e-3)
    once = letter_costs(head_passes=1)
    assert once.bill(once.pruned(0.0)).step_flops == pytest.approx(66.6e9, rel=1e-3)


def test_a_dropped_block_costs_nothing():
    costs = letter_costs()
    bill = costs.bill(dropped("full"))
    assert bill.step_flops == pytest.approx(24 * BLOCK_FLOPS + 2 * HEAD_FLOPS)
    expected = 2 * (EMBEDDINGS + 20 * BLOCK) + 16 * 2 * BLOCK
    expected += 2 * BLOCK_ACTIVATIONS + LOGITS
    assert bill.memory_bytes == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(("bits", "stored"), [(4, 4.5), (8, 8.125), (16, 16.0)])
def test_a_quantised_base_takes_less_of_the_device(bits, stored):
    costs = letter_costs()
    assert QUANTISED_BITS[bits] == stored
    plain = costs.bill(costs.whole(ALL, "lora", sends_frozen=False))
    bill = costs.bill(costs.whole(ALL, "lora", sends_frozen=False, weight_bits=bits))
    saved_bits = 24 * BLOCK * (16 - stored)  # embeddings stay as they are
    assert plain.install_bits - bill.install_bits == saved_bits
    assert plain.memory_bytes - bill.memory_bytes == saved_bits / 8
    assert bill.step_flops == plain.step_flops  # the device computes in 16 bits
    assert (bill.down_bits, bill.up_bits) == (plain.down_bits, plain.up_bits)


@pytest.mark.parametrize("bits", [4, 8])
def test_low_rank_terms_lie_beside_a_quantised_base(bits):
    costs = letter_costs()
    plain = costs.whole(ALL, "lora", sends_frozen=False, weight_bits=bits)
    here, there = costs.bill(plain), costs.bill(replace(plain, compensation_rank=6))
    # Inputs and outputs of c_attn, c_fc and the two projections.
    terms = 6 * 24 * ((1024 + 3072) + (1024 + 4096) + (1024 + 1024) + (4096 + 1024))
    assert there.install_bits - here.install_bits == 16 * terms
    assert there.memory_bytes - here.memory_bytes == 2 * terms
    assert there.step_flops - here.step_flops == 4 * terms * 256
    assert (there.down_bits, there.up_bits) == (here.down_bits, here.up_bits)


def split(costs, **fields):
    return costs.whole(ALL, "lora", **({"runs": "split", "trains_head": True} | fields))


def test_blocks_at_the_server_cost_the_link_and_not_the_device():
    """By hand: 0.5 MiB up, down and up again per step, and a LoRA head."""
    costs = letter_costs()
    bill = costs.bill(split(costs))
    head = 8 * (1024 + 50_257)
    assert costs.shape.head_lora_params(8) == head == 410_248
    features_bits = 256 * 1024 * 16
    assert mib(features_bits) == 0.5
    assert bill.up_bits == 30 * 2 * features_bits + head * 16
    assert bill.down_bits == 30 * features_bits + head * 16
    assert mib(bill.up_bits) == pytest.approx(30 + 0.78, abs=0.005)
    assert bill.step_flops == 2 * HEAD_FLOPS + 6 * head * 256
    assert bill.server_step_flops == 2 * 24 * BLOCK_FLOPS + 6 * 24 * LORA * 256
    assert bill.install_bits == EMBEDDINGS * 16
    features = 3 * 2 * 256 * 1024  # up, down and the gradient, 16 bits each
    assert bill.memory_bytes == 2 * EMBEDDINGS + features + 16 * head + LOGITS
    assert bill.memory_bytes < 0.5 * costs.bill(costs.whole(ALL, "lora")).memory_bytes


def test_without_a_trained_head_only_features_travel():
    costs = letter_costs()
    bill = costs.bill(split(costs, trains_head=False))
    assert bill.down_bits == 30 * 256 * 1024 * 16
    assert bill.up_bits == 2 * bill.down_bits
    assert bill.step_flops == 2 * HEAD_FLOPS
    sent = letter_costs(send_embeddings=True, overhead_down_bits=9, overhead_up_bits=4)
    more = sent.bill(split(costs, trains_head=False))
    assert more.down_bits - bill.down_bits == EMBEDDINGS * 16 + 9
    assert more.up_bits - bill.up_bits == 4
    assert more.install_bits == 0


def test_a_submodel_may_bring_its_own_number_of_steps():
    costs = letter_costs()
    one = costs.bill(split(costs, num_local_steps=1))
    assert one.num_local_steps == 1
    assert one.up_bits == (2 * 256 * 1024 + 410_248) * 16
    assert costs.bill(split(costs)).num_local_steps == 30
    whole = costs.whole(ADAPTER, "full")
    here = costs.bill(whole)
    there = costs.bill(replace(whole, num_local_steps=3))
    assert (here.num_local_steps, there.num_local_steps) == (30, 3)
    assert there == replace(here, num_local_steps=3)


def test_the_submodels_that_costs_make():
    costs = letter_costs()
    assert costs.num_blocks == 24
    assert costs.all_blocks == ALL
    assert costs.adapter_blocks == ADAPTER
    assert costs.emulator_params == 22 * BLOCK
    assert costs.tokens == 256
    half = costs.pruned(0.5, "lora")
    assert (half.kept_fraction, half.emulator_params) == (0.5, 11 * BLOCK)
    assert half.trained_blocks == half.shared_blocks == ADAPTER
    assert half.trained == "lora"
    assert half.kept_blocks is None
    whole = costs.whole((3,), "full", proximal_weight=0.1)
    assert (whole.kept_fraction, whole.emulator_params) == (1.0, 22 * BLOCK)
    assert (whole.trained_blocks, whole.shared_blocks) == ((3,), ALL)
    assert whole.proximal_weight == 0.1
    assert costs.whole((3,), "full", shared_blocks=(3,)).shared_blocks == (3,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trained_blocks": ()}, r"at least one block of 0 to 23 .*, got \(\)"),
        ({"trained_blocks": (22, 24)}, r"0 to 23 of gpt2-medium, got \(22, 24\)"),
        ({"shared_blocks": (-1, 22)}, r"got \(22, 23\) with shared \(-1, 22\)"),
    ],
)
def test_blocks_that_the_model_does_not_have_are_named(changes, message):
    costs = letter_costs()
    with pytest.raises(InputError, match=message):
        costs.bill(dropped("full", **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split_index": 24}, r"`split_index` must be in \[1, 23\] .* got 24"),
        ({"seq_len": 1025}, r"`train.seq_len` must be in \[1, 1024\] .* got 1025"),
        ({"batch_size": 0}, "`train.batch_size` must be at least 1, got 0"),
        ({"num_local_steps": 0}, "`train.num_local_steps` must be at least 1, got 0"),
    ],
)
def test_costs_out_of_range_are_named_at_once(changes, message):
    with pytest.raises(InputError, match=message):
        letter_costs(**changes)
