import numpy as np
import pytest
import torch

from trimwave.base.errors import InputError
from trimwave.lm import fisher, layer_drop, magnitude, random_scores, score, split_model
from trimwave.lm.surgery.blocks import unit_indices
from trimwave.lm.surgery.importance import drop_order


def batches(input_ids, count=2):
    labels = input_ids.clone()
    labels[0, 6:] = -100
    return [(input_ids.roll(i, 1), labels.roll(i, 1)) for i in range(count)]


def model_loss(model, input_ids, labels):
    with torch.no_grad():
        return model(input_ids, labels=labels).loss.item()


def slope(model, split, path, rows, batch, step=1e-2):
    """Of the whole model's own loss as a mask on `rows` of block 1 moves from one."""
    axis = next(cut.axis for cut in split.arch.cuts if cut.path == f"{path}.weight")
    weight = split.emulator[1].get_submodule(path).weight
    original, rows = weight.detach().clone(), torch.as_tensor(rows)
    losses = []
    for factor in (1 + step, 1 - step):
        with torch.no_grad():
            changed = original.index_select(axis, rows) * factor
            weight.copy_(original.index_copy(axis, rows, changed))
        losses.append(model_loss(model, *batch))
    with torch.no_grad():
        weight.copy_(original)
    return (losses[0] - losses[1]) / (2 * step)


def test_fisher_is_the_squared_slope_of_the_loss(model, input_ids):
    split = split_model(model.double(), 3)
    (batch,) = batches(input_ids, 1)
    scores = fisher(split, [batch])
    arch, shape = split.arch, split.shape
    groups = [
        unit_indices("query", shape, np.array([group]), np.array([]))
        for group in range(shape.num_kv_heads)
    ]
    slopes = [slope(model, split, arch.attention_output, g, batch) for g in groups]
    expected = np.abs(slopes)
    np.testing.assert_allclose(scores.groups[1] ** 0.5, expected, rtol=1e-2, atol=1e-4)
    neurons = np.argsort(scores.neurons[1])[[0, 25, -2, -1]]
    slopes = [slope(model, split, arch.mlp_output, [n], batch) for n in neurons]
    found, expected = scores.neurons[1, neurons] ** 0.5, np.abs(slopes)
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-4)
    assert expected[-1] > 2e-3 > expected[0]


def test_fisher_adds_up_over_batches_and_leaves_no_trace(tiny, input_ids):
    model = tiny("gpt2")
    split = split_model(model, 3)
    split.adapter.train()
    before = split.features(input_ids)
    both = fisher(split, batches(input_ids))
    parts = [fisher(split, [batch]) for batch in batches(input_ids)]
    np.testing.assert_allclose(both.groups, sum(p.groups for p in parts), rtol=1e-5)
    np.testing.assert_allclose(both.neurons, sum(p.neurons for p in parts), rtol=1e-5)
    assert all(module.training for module in split.adapter.modules())
    assert torch.equal(before, split.features(input_ids))
    assert all(p.grad is None for p in model.parameters())


def test_a_unit_that_does_nothing_has_no_importance(tiny, input_ids):
    split = split_model(tiny("gpt2"), 2)
    with torch.no_grad():
        split.emulator[0].mlp.c_proj.weight[5] = 0
        split.emulator[1].attn.c_proj.weight[8:16] = 0  # head 1 of width 8
    scores = fisher(split, batches(input_ids))
    assert np.argwhere(scores.neurons == 0).tolist() == [[0, 5]]
    assert np.argwhere(scores.groups == 0).tolist() == [[1, 1]]


def test_fisher_wants_labels_and_batches(tiny, input_ids):
    split = split_model(tiny("llama"), 2)
    with pytest.raises(InputError, match="no batches"):
        fisher(split, [])
    good = batches(input_ids, 1)
    with pytest.raises(InputError, match="batch 1 has no label"):
        fisher(split, [*good, (input_ids, torch.full_like(input_ids, -100))])


def test_magnitude_adds_up_to_all_cut_weights(model):
    split = split_model(model, 3)
    scores = magnitude(split)
    parameters = dict(split.emulator[2].named_parameters())
    total = sum(
        parameters[cut.path].double().square().sum().item()
        for cut in split.arch.cuts
        if cut.path in parameters
    )
    assert scores.groups[2].sum() + scores.neurons[2].sum() == pytest.approx(total)


def test_magnitude_sees_the_unit_that_was_scaled(tiny):
    split = split_model(tiny("qwen2"), 2)
    before = magnitude(split)
    with torch.no_grad():
        split.emulator[1].self_attn.k_proj.bias[8:16] *= 10  # group 1 of width 8
        split.emulator[0].mlp.down_proj.weight[:, 7] *= 10
    after = magnitude(split)
    assert np.argwhere(after.groups != before.groups).tolist() == [[1, 1]]
    assert np.argwhere(after.neurons != before.neurons).tolist() == [[0, 7]]


@pytest.mark.parametrize("num_blocks", [1, 2, 3, 4, 7, 22, 28])
def test_drops_take_every_block_once_and_the_ends_last(num_blocks):
    order = drop_order(num_blocks)
    assert sorted(order) == list(range(num_blocks))
    assert order[-2:] == [num_blocks - 1, 0][-num_blocks:]


def test_drops_spread_evenly():
    order = drop_order(22)
    assert order[0] == 10
    for count in range(1, 8):  # a third of the blocks: no two neighbours
        assert min(np.diff(sorted(order[:count])), default=9) > 1
    kept = sorted(order[11:])  # half of them: no hole wider than two
    assert max(np.diff(kept)) <= 3


def test_score_calls_the_criterion_of_that_name(tiny, input_ids):
    split = split_model(tiny("llama"), 3)
    rng = np.random.default_rng
    assert np.array_equal(
        score(split, "random", rng=rng(1)).groups, random_scores(split, rng(1)).groups
    )
    assert np.array_equal(score(split, "magnitude").neurons, magnitude(split).neurons)
    assert np.array_equal(score(split, "layer_drop").blocks, layer_drop(split).blocks)
    data = batches(input_ids)
    assert np.array_equal(
        score(split, "fisher", batches=data).groups, fisher(split, data).groups
    )


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        ("fischer", "did you mean `fisher`"),
        ("uniform", "known: fisher, layer_drop, magnitude, random"),
        ("fisher", "needs `batches`"),
        ("random", "needs `rng`"),
    ],
)
def test_a_criterion_that_cannot_run_says_why(tiny, criterion, message):
    with pytest.raises(InputError, match=message):
        score(split_model(tiny("llama"), 3), criterion)
