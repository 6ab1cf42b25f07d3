import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from trimwave.base.errors import InputError
from trimwave.lm import (
    BlockScores,
    Ranking,
    Scores,
    layer_drop,
    prune_emulator,
    random_scores,
    rank_units,
    split_model,
)
from trimwave.lm.surgery.blocks import unit_indices
from trimwave.model.shape import SHAPES


def mask_emulator(split, kept):
    """The same function as the pruned emulator, by zeros in the output projections."""
    blocks = []
    for b in kept.blocks:
        block = copy.deepcopy(split.emulator[b])
        for path in (split.arch.attention_output, split.arch.mlp_output):
            (cut,) = [c for c in split.arch.cuts if c.path == f"{path}.weight"]
            index = unit_indices(cut.kind, split.shape, kept.groups[b], kept.neurons[b])
            weight = block.get_submodule(path).weight
            mask = torch.zeros(weight.shape[cut.axis], dtype=weight.dtype)
            mask[torch.as_tensor(index)] = 1
            weight.mul_(mask[:, None] if cut.axis == 0 else mask)
        blocks.append(block)
    return nn.ModuleList(blocks)


def numel(module):
    return sum(value.numel() for value in module.parameters())


def fractions(sizes, count=6):
    return [int(sizes[i]) for i in np.linspace(0, len(sizes) - 1, count).astype(int)]


def ranked(split, seed=0, **limits):
    scores = random_scores(split, np.random.default_rng(seed))
    return rank_units(scores, split.shape, **{"min_neurons": 16, **limits})


def random_ranking(name, num_blocks, seed=0, **limits):
    rng, shape = np.random.default_rng(seed), SHAPES[name]
    groups = rng.gamma(0.5, size=(num_blocks, shape.num_kv_heads))
    neurons = rng.gamma(0.5, size=(num_blocks, shape.intermediate_size)) / 128
    return rank_units(Scores(groups, neurons), shape, **limits), shape


def units(kept):
    return {
        (kind, b, int(i))
        for kind in ("groups", "neurons")
        for b, indices in getattr(kept, kind).items()
        for i in indices
    }


def test_pruned_equals_masked_and_has_the_planned_size(model, input_ids):
    split = split_model(model.double(), 3)  # fp32 would differ by the processor
    ranking = ranked(split)
    for size in fractions(ranking.sizes):
        kept = ranking.kept(size)
        pruned = prune_emulator(split, kept)
        assert numel(pruned) == size
        found = split.with_emulator(pruned).features(input_ids)
        with torch.no_grad():
            masked = split.with_emulator(mask_emulator(split, kept))
        expected = masked.features(input_ids)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    assert ranking.sizes[-1] == 3 * split.shape.block_params == numel(split.emulator)


def test_layer_drop_removes_whole_blocks(model, input_ids):
    split = split_model(model, 4)
    ranking = rank_units(layer_drop(split), split.shape)
    block = split.shape.block_params
    assert ranking.sizes.tolist() == [block, 2 * block, 3 * block, 4 * block]
    for count, left in ((1, (0,)), (2, (0, 3)), (3, (0, 2, 3))):
        kept = ranking.kept(count * block)
        assert kept.blocks == left
        found = split.with_emulator(prune_emulator(split, kept)).features(input_ids)
        originals = nn.ModuleList([split.emulator[b] for b in left])
        expected = split.with_emulator(originals).features(input_ids)
        assert torch.equal(found, expected)


def test_all_units_are_the_same_weights(model, input_ids):
    split = split_model(model, 3)
    ranking = ranked(split)
    pruned = prune_emulator(split, ranking.kept(int(ranking.sizes[-1])))
    before, after = split.emulator.state_dict(), pruned.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    found = split.with_emulator(pruned).features(input_ids)
    assert torch.equal(found, split.features(input_ids))


def test_pruned_blocks_share_no_storage_and_leave_the_original(model, input_ids):
    split = split_model(model, 3)
    before = split.features(input_ids)
    ranking = ranked(split)
    for size in fractions(ranking.sizes, 3):
        pruned = prune_emulator(split, ranking.kept(size))
        assert not any(p.requires_grad for p in pruned.parameters())
        assert not any(module.training for module in pruned.modules())
        with torch.no_grad():
            for value in pruned.parameters():
                value.fill_(9.0)
    assert torch.equal(split.features(input_ids), before)
    assert split.emulator[0].get_submodule(split.arch.attention).config is model.config


def test_modules_know_their_new_sizes(model):
    split = split_model(model, 3)
    ranking = ranked(split)
    kept = ranking.kept(int(ranking.sizes[0]))
    block = prune_emulator(split, kept)[0]
    query = split.shape.num_heads // split.shape.num_kv_heads * split.shape.head_dim
    for path, width in (
        (split.arch.attention_output, query),
        (split.arch.mlp_output, 16),
    ):
        projection = block.get_submodule(path)
        sizes = {getattr(projection, n, None) for n in ("in_features", "nx")}
        assert width in sizes
    if split.shape.model_type == "gpt2":
        assert (block.attn.num_heads, block.attn.split_size) == (1, query)
        assert block.attn.c_attn.nf == 3 * query
    else:
        assert block.mlp.intermediate_size == 16


def test_half_precision_is_kept(tiny):
    split = split_model(tiny("qwen3").to(torch.bfloat16), 3)
    ranking = ranked(split)
    pruned = prune_emulator(split, ranking.kept(int(ranking.sizes[3])))
    assert {p.dtype for p in pruned.parameters()} == {torch.bfloat16}


def test_a_pruned_emulator_is_not_pruned_again(tiny):
    split = split_model(tiny("llama"), 3)
    ranking = ranked(split)
    kept = ranking.kept(int(ranking.sizes[4]))
    pruned = split.with_emulator(prune_emulator(split, kept))
    with pytest.raises(InputError, match="pruned already"):
        prune_emulator(pruned, kept)


@pytest.mark.parametrize(
    ("name", "blocks"), [("gpt2-medium", 22), ("smollm2-135m", 28)]
)
def test_larger_sets_contain_smaller_ones(name, blocks):
    ranking, _ = random_ranking(name, blocks)
    sets = [units(ranking.kept(size)) for size in fractions(ranking.sizes, 9)]
    for smaller, larger in zip(sets, sets[1:], strict=False):
        assert smaller < larger


def test_floors_hold_and_counts_are_rounded():
    ranking, shape = random_ranking("smollm2-135m", 28, min_groups=2, min_neurons=60)
    for size in fractions(ranking.sizes):
        kept = ranking.kept(size)
        assert kept.blocks == tuple(range(28))
        for b in kept.blocks:
            assert len(kept.groups[b]) >= 2 and len(kept.neurons[b]) >= 64
            assert len(kept.neurons[b]) % 8 == 0
            assert (np.diff(kept.groups[b]) > 0).all()
            assert (np.diff(kept.neurons[b]) > 0).all()
    smallest = ranking.kept(int(ranking.sizes[0]))
    assert {len(g) for g in smallest.groups.values()} == {2}
    assert {len(n) for n in smallest.neurons.values()} == {64}
    expected = 2 * shape.group_params + 64 * shape.neuron_params
    assert ranking.sizes[0] == 28 * (expected + shape.fixed_block_params)


def test_floors_stop_at_what_a_block_has():
    ranking, shape = random_ranking("smollm2-135m", 3, min_groups=9, min_neurons=9999)
    assert ranking.sizes.tolist() == [3 * shape.block_params]


def test_the_best_units_stay_longest():
    """By hand: the floor is one head and one pair of neurons in each block."""
    shape = SHAPES["gpt2"]
    groups, neurons = np.zeros((2, 12)), np.zeros((2, 3072))
    groups[0, 5], groups[1, 3] = 3.0, 2.0
    groups[1, 7] = 1.0  # 5.1e-6 per parameter
    neurons[0, 100], neurons[1, 200] = 9.0, 8.0
    neurons[0, 101], neurons[1, 201] = 1.0, 1.0
    neurons[1, [50, 60]] = 0.01  # 6.5e-6 per parameter
    limits = {"round_to": 2, "min_neurons": 1}
    ranking = rank_units(Scores(groups, neurons), shape, **limits)
    floors, one, two = (ranking.kept(int(size)) for size in ranking.sizes[:3])
    assert [floors.groups[b].tolist() for b in (0, 1)] == [[5], [3]]
    assert [floors.neurons[b].tolist() for b in (0, 1)] == [[100, 101], [200, 201]]
    assert units(one) - units(floors) == {("neurons", 1, 50), ("neurons", 1, 60)}
    assert units(two) - units(one) == {("groups", 1, 7)}


@pytest.mark.parametrize("prune_rate", [0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8])
def test_gpt2_medium_meets_any_rate_within_half_a_percent(prune_rate):
    """The letter's emulator of GPT-2 Medium: 22 blocks, 277,116,928 parameters."""
    ranking, _ = random_ranking("gpt2-medium", 22)
    assert ranking.sizes[-1] == 277_116_928
    target = (1 - prune_rate) * 277_116_928
    assert np.abs(ranking.sizes - target).min() < 0.005 * target


def test_sizes_climb_by_one_unit_at_a_time():
    ranking, shape = random_ranking("smollm2-135m", 28)
    steps = set(np.diff(ranking.sizes).tolist())
    assert steps == {shape.group_params, 8 * shape.neuron_params}
    with pytest.raises(ValueError, match="read-only"):
        ranking.sizes[0] = 0


def test_equal_scores_are_ordered_by_block_kind_and_index():
    shape = SHAPES["smollm2-135m"]
    ones = Scores(
        np.full((3, 3), float(shape.group_params)),
        np.full((3, 1536), float(shape.neuron_params)),
    )
    ranking = rank_units(ones, shape)
    keys = list(zip(ranking.block, ranking.kind, ranking.index, strict=True))
    floor = ranking.num_floor_units
    assert keys[floor:] == sorted(keys[floor:]) and keys[:floor] == sorted(keys[:floor])


def test_the_ranking_survives_the_disk_and_has_one_digest(tmp_path: Path):
    ranking, shape = random_ranking("smollm2-135m", 28)
    again, _ = random_ranking("smollm2-135m", 28)
    other, _ = random_ranking("smollm2-135m", 28, seed=1)
    ranking.save(tmp_path / "ranking.safetensors")
    loaded = Ranking.load(tmp_path / "ranking.safetensors")
    assert loaded.digest() == ranking.digest() == again.digest() != other.digest()
    assert np.array_equal(loaded.sizes, ranking.sizes)
    size = int(ranking.sizes[1000])
    assert units(loaded.kept(size)) == units(ranking.kept(size))
    coarser, _ = random_ranking("smollm2-135m", 28, round_to=16)
    assert coarser.digest() != ranking.digest()


def test_a_file_that_is_no_ranking_is_named(tmp_path: Path):
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"x\.safetensors is not a ranking"):
        Ranking.load(tmp_path / "x.safetensors")


def test_a_size_between_two_units_is_refused_with_its_neighbours():
    ranking, _ = random_ranking("smollm2-135m", 28)
    low, high = ranking.sizes[10:12].tolist()
    with pytest.raises(InputError, match=rf"{low + 1} parameters.*{low}, {high}"):
        ranking.kept(low + 1)
    for outside in (int(ranking.sizes[0]) - 1, int(ranking.sizes[-1]) + 1):
        with pytest.raises(InputError, match=f"exactly {outside}"):
            ranking.kept(outside)


def test_scores_that_do_not_fit_are_refused():
    shape = SHAPES["smollm2-135m"]
    groups, neurons = np.ones((2, 3)), np.ones((2, 1536))
    with pytest.raises(InputError, match=r"groups .*\(2, 3\), got \(2, 4\)"):
        rank_units(Scores(np.ones((2, 4)), neurons), shape)
    with pytest.raises(InputError, match=r"neurons .*\(2, 1536\), got \(3, 1536\)"):
        rank_units(Scores(groups, np.ones((3, 1536))), shape)
    groups[1, 2] = np.nan
    with pytest.raises(InputError, match=r"score \[1, 2\] of groups must be finite"):
        rank_units(Scores(groups, neurons), shape)
    with pytest.raises(InputError, match="blocks"):
        rank_units(BlockScores(np.zeros(0)), shape)
    with pytest.raises(InputError, match="`round_to` must be at least 1, got 0"):
        rank_units(BlockScores(np.ones(3)), shape, round_to=0)
