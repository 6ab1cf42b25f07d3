from dataclasses import replace

import numpy as np
import pytest
from helpers import LETTER_COSTS, letter_costs, make_situation

from trimwave.base.errors import InputError
from trimwave.base.units import BITS_PER_BYTE, MIB_BYTES
from trimwave.methods import parse_method
from trimwave.model.shape import SHAPES, ModelShape
from trimwave.model.workload_of import workload_of

MEDIUM = SHAPES["gpt2-medium"]
BLOCK = 12_596_224
BLOCK_FLOPS = 6_710_886_400  # c_f = 24 H^2 s + 4 H s^2 at H = 1024, s = 256
HEAD_FLOPS = 26_349_142_016  # c_h = 2 H V s at V = 50,257
FULL_AND_LORA = pytest.mark.parametrize("trained", ["full", "lora"])


def letter(**changes):
    sizes = ("split_index", "batch_size", "seq_len", "num_local_steps")
    options = {name: getattr(LETTER_COSTS, name) for name in sizes}
    return workload_of(MEDIUM, **(options | changes))


def mib(bits):
    return bits / BITS_PER_BYTE / MIB_BYTES


def test_gpt2_medium_parameters():
    assert MEDIUM.block_params == BLOCK
    assert 22 * MEDIUM.block_params == 277_116_928
    assert 2 * MEDIUM.block_params == 25_192_448
    assert MEDIUM.embedding_params == 51_463_168 + 1_048_576 + 2_048
    assert MEDIUM.total_params == 354_823_168
    assert MEDIUM.group_params == 262_144 + 3 * 64  # one head and its biases
    assert MEDIUM.neuron_params == 2_048 + 1


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
        ("smollm2-135m", 134_515_008),
        ("smollm2-360m", 361_821_120),
    ],
)
def test_published_parameter_counts(name, params):
    assert SHAPES[name].total_params == params


def test_gpt2_medium_flops():
    assert MEDIUM.block_forward_flops(1, 256) == BLOCK_FLOPS
    assert MEDIUM.block_forward_flops(8, 256) == 8 * BLOCK_FLOPS
    assert MEDIUM.head_forward_flops(256) == HEAD_FLOPS
    assert letter().emulator_flops == 147_639_500_800 == 22 * BLOCK_FLOPS
    assert letter().adapter_flops == 92_963_602_432 == 6 * BLOCK_FLOPS + 2 * HEAD_FLOPS
    assert letter(head_passes=1).adapter_flops == 66_614_460_416
    assert letter(batch_size=3).adapter_flops == 3 * letter().adapter_flops
    # Attention grows with the square of the sequence, the matrices do not.
    assert MEDIUM.block_forward_flops(1, 512) == 2 * BLOCK_FLOPS + 4 * 1024 * 256 * 512


def test_grouped_queries_and_gated_mlp_by_hand():
    # H = 576, 9 query heads of 64, 3 key/value heads, 1536 neurons with three matrices.
    small = SHAPES["smollm2-135m"]
    matrices = 576 * (2 * 576 + 2 * 192 + 3 * 1536)
    assert small.block_params == matrices + 2 * 576
    assert small.block_forward_flops(1, 100) == 2 * 100 * (matrices + 2 * 576 * 100)


def test_letters_bits():
    work = letter()
    assert work.emulator_params == 277_116_928
    assert work.emulator_bits == 22 * BLOCK * 16
    assert work.adapter_bits == work.update_bits == 2 * BLOCK * 16
    assert mib(work.emulator_bits) == pytest.approx(528.56, abs=0.005)
    assert letter(bits_per_param=32).emulator_bits == 2 * work.emulator_bits
    assert letter(bits_per_param=32).update_bits == 2 * work.update_bits
    sent = letter(send_embeddings=True)
    assert mib(sent.adapter_bits - work.adapter_bits) == pytest.approx(
        100.16, abs=0.005
    )
    assert sent.update_bits == work.update_bits


def test_a_plans_bits_are_those_of_fig_3():
    plan = parse_method("ubfp").plan(make_situation(0, beta_bar=0.5))
    assert np.all(plan.down_bits + plan.up_bits == 15 * BLOCK * 16)
    np.testing.assert_allclose(mib(plan.down_bits + plan.up_bits), 360.38, atol=0.005)
    plan = parse_method("jcpba").plan(make_situation(0, beta_bar=0.5))
    expected = 624.66 - 528.56 * plan.prune_rate
    np.testing.assert_allclose(mib(plan.down_bits + plan.up_bits), expected, atol=0.01)
    assert np.ptp(expected) > 50
    assert mib(np.mean(plan.down_bits + plan.up_bits)) == pytest.approx(
        360.38, abs=0.01
    )
    per_step = letter().adapter_flops + 0.5 * letter().emulator_flops
    assert np.mean(plan.flops) == pytest.approx(30 * per_step, rel=1e-9)


def test_lora_shrinks_the_upload():
    lora_params = 2 * 32_768  # rank 8 on c_attn of two blocks: 8 (1024 + 3072)
    work = letter(lora_params=lora_params)
    assert work.update_bits == lora_params * 16
    assert mib(work.update_bits) == 0.125
    assert work.adapter_bits == (2 * BLOCK + lora_params) * 16
    assert work.emulator_bits == letter().emulator_bits
    # No weight gradients of the frozen blocks, but those of the factors.
    flops = 4 * BLOCK_FLOPS + 6 * lora_params * 256 + 2 * HEAD_FLOPS
    assert work.adapter_flops == flops
    assert letter().fixed_memory_bytes - work.fixed_memory_bytes == 16 * (
        2 * BLOCK - lora_params
    )


@pytest.mark.parametrize(("batch_size", "gigabytes"), [(1, 1.3), (8, 2.6), (16, 4.0)])
def test_unpruned_memory(batch_size, gigabytes):
    work = letter(batch_size=batch_size)
    total = work.fixed_memory_bytes + work.emulator_memory_bytes
    assert total == pytest.approx(gigabytes * 1e9, rel=0.05)
    weights = 2 * MEDIUM.total_params + 16 * 2 * BLOCK
    activations = 2 * 256 * (34 * 1024 + 5 * 16 * 256) + 12 * 256 * 50_257
    assert total == weights + batch_size * activations
    assert work.emulator_memory_bytes == 2 * 22 * BLOCK


def test_memory_is_of_a_peak():
    """What is rounded off stays in fp32; a batch may have answers alone."""
    costs, blocks = LETTER_COSTS, (22, 23)
    need = costs.bill(costs.whole(blocks, "full", shared_blocks=blocks)).memory_bytes
    small = replace(costs, update_bits=8)
    found = small.bill(small.whole(blocks, "full", shared_blocks=blocks)).memory_bytes
    assert found - need == 4 * 2 * BLOCK
    answers = replace(costs, head_share=0.25)
    bill = answers.bill(answers.whole(blocks, "full", shared_blocks=blocks))
    assert bill.memory_bytes == need


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split_index": 0}, r"`split_index` must be in \[1, 23\] .* got 0"),
        ({"split_index": 24}, r"`split_index` must be in \[1, 23\] .* got 24"),
        ({"seq_len": 0}, r"seq_len` must be in \[1, 1024\] .* got 0"),
        ({"seq_len": 1025}, r"seq_len` must be in \[1, 1024\] .* got 1025"),
        ({"batch_size": 0}, "batch_size` must be at least 1, got 0"),
        ({"num_local_steps": -1}, "num_local_steps` must be at least 1, got -1"),
    ],
)
def test_impossible_workloads_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        letter(**changes)


def test_a_blocks_matrices_are_its_parameters_and_its_flops():
    assert MEDIUM.matrix_sizes == (
        (1024, 3072),  # q, k and v in one
        (1024, 4096),
        (1024, 1024),
        (4096, 1024),
    )
    # H = 576, 3 key/value heads of 64, 1536 gated neurons: q, k, v, gate, up; o, down.
    assert SHAPES["smollm2-135m"].matrix_sizes == (
        (576, 576),
        (576, 192),
        (576, 192),
        (576, 1536),
        (576, 1536),
        (576, 576),
        (1536, 576),
    )
    for shape in SHAPES.values():
        weights = sum(inputs * outputs for inputs, outputs in shape.matrix_sizes)
        assert weights < shape.block_params < 1.002 * weights
        # Attention's own products grow with the square: f(s) = 2 s W + c s^2.
        once, twice = (shape.block_forward_flops(1, tokens) for tokens in (1, 2))
        assert once - (twice - 2 * once) / 2 == 2 * weights


def test_attainable_sizes():
    work = letter()
    assert work.min_kept == 0.0
    sizes = np.array([work.emulator_params // 4, work.emulator_params])
    assert work.with_sizes(sizes).min_kept == 0.25
    assert work.emulator_sizes is None
    with pytest.raises(ValueError, match="is not the emulator's"):
        work.with_sizes(sizes - 1)


CONVENTIONS = (
    {},
    {"head_passes": 1},
    {"send_embeddings": True},
    {"bits_per_param": 32, "overhead_down_bits": 8_000, "overhead_up_bits": 640},
    {"batch_size": 3, "seq_len": 100, "num_local_steps": 7, "lora_rank": 4},
    {"split_index": 5},
    {"shape": SHAPES["smollm2-135m"], "split_index": 28, "send_embeddings": True},
)


@FULL_AND_LORA
@pytest.mark.parametrize("changes", CONVENTIONS, ids=lambda one: "+".join(one) or "-")
def test_a_pruned_bill_is_the_workload(trained, changes):
    costs = letter_costs(**changes)
    work = costs.workload(trained)
    for kept in (0.0, 0.125, 0.25, 0.5, 0.8125, 1.0):  # exact in binary
        bill = costs.bill(costs.pruned(kept, trained))
        flops = work.adapter_flops + kept * work.emulator_flops
        assert bill.step_flops == flops
        assert bill.num_local_steps == work.num_local_steps
        down_bits = work.adapter_bits + kept * work.emulator_bits
        assert bill.down_bits == down_bits + work.overhead_down_bits
        assert bill.up_bits == work.update_bits + work.overhead_up_bits
        memory_bytes = work.fixed_memory_bytes + kept * work.emulator_memory_bytes
        assert bill.memory_bytes == memory_bytes
        assert bill.server_step_flops == 0


@FULL_AND_LORA
def test_at_real_sizes_a_pruned_bill_is_whole_after_rounding(trained):
    costs = letter_costs()
    work = costs.workload(trained)
    sizes = np.random.default_rng(0).integers(0, costs.emulator_params, 500)
    for size in sizes.tolist():
        submodel = costs.pruned(size / costs.emulator_params, trained)
        assert submodel.emulator_params == size
        bill = costs.bill(submodel)
        assert round(bill.down_bits) == work.adapter_bits + size * 16
        assert round(bill.memory_bytes) == work.fixed_memory_bytes + size * 2


def test_the_workload_takes_the_overheads_and_the_sizes():
    sizes = np.array([22 * BLOCK // 4, 22 * BLOCK])
    costs = letter_costs(overhead_down_bits=7, overhead_up_bits=5, emulator_sizes=sizes)
    for trained in ("full", "lora"):
        work = costs.workload(trained)
        assert (work.overhead_down_bits, work.overhead_up_bits) == (7, 5)
        assert work.emulator_sizes is sizes
    assert letter_costs().workload().emulator_sizes is None
    with pytest.raises(ValueError, match="is not the emulator's"):
        letter_costs(emulator_sizes=sizes - 1)


def test_shapes_from_a_config():
    config = {"model_type": "gpt2", "n_layer": 24, "n_embd": 1024, "n_head": 16}
    assert ModelShape.from_config(config, "gpt2-medium") == MEDIUM
    with pytest.raises(InputError, match="no key `n_head`"):
        ModelShape.from_config({key: config[key] for key in list(config)[:3]}, "x")
    with pytest.raises(InputError, match="`gpt3` of x .* did you mean `gpt2`"):
        ModelShape.from_config(config | {"model_type": "gpt3"}, "x")
    llama = {
        "model_type": "llama",
        "num_hidden_layers": 2,
        "hidden_size": 63,
        "intermediate_size": 8,
        "num_attention_heads": 9,
        "num_key_value_heads": 2,
        "vocab_size": 10,
    }
    with pytest.raises(InputError, match="`num_key_value_heads`, got 9 and 2"):
        ModelShape.from_config(llama, "x")
