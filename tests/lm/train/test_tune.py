import copy
import math

import pytest
import torch
from helpers import with_factors
from torch import nn

from trimwave.base.errors import InputError
from trimwave.lm import split_model
from trimwave.lm.data.encode import IGNORED, Encoded, collate
from trimwave.lm.train.tune import (
    add_lora,
    answer_loss,
    fine_tune,
    pick_device,
    precision,
)
from trimwave.lm.wire.ledger import tensors_of, trained_parameters
from trimwave.recipe.config import TrainConfig


@pytest.fixture
def batch():
    """Rows of three lengths, the answers at their ends."""
    generator = torch.Generator().manual_seed(5)
    lengths = ((11, 6), (8, 7), (5, 2))
    rows = [
        Encoded(torch.randint(3, 96, (length,), generator=generator), start)
        for length, start in lengths
    ]
    return collate(rows, pad_id=0)


def config_of(**changes):
    plain = {"learning_rate": 1e-2, "weight_decay": 0.0, "device": "cpu"}
    return TrainConfig(**{**plain, **changes})


def copied(blocks):
    return {name: value.detach().clone() for name, value in blocks.named_parameters()}


def moved(blocks, before):
    """Return the names of the parameters that changed by at least one bit."""
    now = dict(blocks.named_parameters())
    return {name for name in before if not torch.equal(now[name], before[name])}


def uppers(split):
    """Return the adapter's parameters under the names that `trained_parameters` has."""
    return {
        name: value.clone()
        for name, value in tensors_of(split).items()
        if name.split(".")[0] in ("head", *map(str, range(split.split_index, 99)))
    }


def add_factors(split, seed=1, **factors):
    """Freeze the adapter and put LoRA factors on it."""
    split.adapter.requires_grad_(False)
    submodel = with_factors(**factors)
    add_lora(split.adapter, submodel, split.shape.model_type, seed=seed)


def with_dropout(model):
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.2
    return model


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_only_the_adapter_moves(model, batch, adapter):
    split = split_model(model, 3)
    config = config_of()
    if adapter == "lora":
        add_factors(split, lora_rank=2)
    emulator, shell = copied(split.emulator), copied(split.shell)
    upper = uppers(split)
    fine_tune(split, [batch] * 3, config, seed=0)
    assert not moved(split.emulator, emulator)
    assert not moved(split.shell, shell)
    for part in (split.emulator, split.shell):
        assert all(value.grad is None for value in part.parameters())
        assert not any(value.requires_grad for value in part.parameters())
    trained = trained_parameters(split)
    # A key's bias adds the same to every score of a query: no gradient but rounding.
    skipped = {name for name in trained if "k_proj.bias" in name}
    now = uppers(split)
    changed = {name for name in upper if not torch.equal(now[name], upper[name])}
    assert changed | skipped == set(trained) | skipped
    assert {name.split(".")[0] for name in trained} == {"3", "4"}
    assert all(("lora_" in name) == (adapter == "lora") for name in trained)


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_the_loss_falls(model, batch, adapter):
    split = split_model(model, 3)
    config = config_of()
    if adapter == "lora":
        add_factors(split, lora_rank=2)
    losses = [fine_tune(split, [batch], config, seed=0) for _ in range(8)]
    assert losses[-1] < 0.9 * losses[0]


def test_the_loss_returned_is_the_mean_per_answer_token(tiny, batch):
    split = split_model(tiny("llama"), 3)
    with torch.no_grad():
        features = split.features(batch.input_ids)
        total, count = answer_loss(split, features, batch.labels)
    single = collate([Encoded(batch.input_ids[0], 4)], pad_id=0)
    with torch.no_grad():
        more, others = answer_loss(split, features[:1], single.labels)
    assert count == batch.num_answer_tokens
    # Steps so small that the second batch sees the same weights.
    config = config_of(learning_rate=1e-12)
    loss = fine_tune(split, [batch, single], config, seed=0)
    assert loss == pytest.approx(float(total + more) / (count + others), rel=1e-5)


def test_the_loss_is_the_whole_models_cross_entropy_at_answers(model, batch):
    with torch.no_grad():
        full = model(batch.input_ids).logits.float()
    by_hand, count = 0.0, 0
    for row, labels in enumerate(batch.labels):
        for position, label in enumerate(labels.tolist()):
            if label != IGNORED:
                scores = full[row, position - 1].log_softmax(-1)
                by_hand, count = by_hand - float(scores[label]), count + 1
    split = split_model(model, 3)
    features = split.features(batch.input_ids)
    loss, answers = answer_loss(split, features, batch.labels)
    assert answers == count == 5 + 1 + 3
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)


def test_the_head_runs_at_answer_positions_only(tiny, batch):
    split = split_model(tiny("llama"), 3)
    seen = []
    head = getattr(split.shell, split.arch.head)
    head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    answer_loss(split, split.features(batch.input_ids), batch.labels)
    assert seen == [(batch.num_answer_tokens, split.shape.hidden_size)]


def test_padding_changes_nothing(tiny, batch):
    split = split_model(tiny("llama"), 3)
    together, _ = answer_loss(split, split.features(batch.input_ids), batch.labels)
    apart = 0.0
    for ids, labels, length in zip(
        batch.input_ids, batch.labels, (11, 8, 5), strict=True
    ):
        features = split.features(ids[None, :length])
        apart += answer_loss(split, features, labels[None, :length])[0].item()
    assert together.item() == pytest.approx(apart, rel=1e-5)


def test_gradients_are_clipped(tiny, batch):
    def largest_move(max_grad_norm):
        split = split_model(tiny("llama"), 3)
        before = copied(split.adapter)
        fine_tune(split, [batch], config_of(max_grad_norm=max_grad_norm), seed=0)
        now = copied(split.adapter)
        return max(float((now[name] - before[name]).abs().max()) for name in now)

    # Adam forgets a gradient's scale, but for its epsilon of 1e-8.
    assert largest_move(1.0) == pytest.approx(1e-2, rel=0.01)
    assert largest_move(1e-11) < 1e-4


def test_the_gradients_norm_is_the_limit(tiny, batch, monkeypatch):
    norms = []
    step = torch.optim.AdamW.step

    def watched(self, *args, **kwargs):
        grads = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(math.sqrt(sum(float(grad.square().sum()) for grad in grads)))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    split = split_model(tiny("llama"), 3)
    fine_tune(split, [batch] * 2, config_of(max_grad_norm=1e-3), seed=0)
    assert norms == pytest.approx([1e-3, 1e-3], rel=1e-3)


def test_weight_decay_acts(tiny, batch):
    def norm(weight_decay):
        split = split_model(tiny("llama"), 3)
        fine_tune(split, [batch], config_of(weight_decay=weight_decay), seed=0)
        weights = copied(split.adapter).values()
        return sum(float(value.square().sum()) for value in weights)

    assert norm(10.0) < 0.9 * norm(0.0)


@pytest.mark.parametrize("variant", ["llama", "gpt2"])
def test_one_seed_gives_one_result(tiny, batch, variant):
    def trained(seed):
        split = split_model(with_dropout(tiny(variant)), 3)
        torch.rand(seed + 1)  # whatever was drawn before does not matter
        loss = fine_tune(split, [batch] * 3, config_of(), seed=seed)
        return loss, copied(split.adapter)

    (loss, weights), (again, same), (other, _) = trained(1), trained(1), trained(2)
    assert loss == again
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    # A Llama has no dropout, so nothing is random there.
    assert (other != loss) == (variant == "gpt2")


def test_the_global_generator_is_left_alone(tiny, batch):
    split = split_model(with_dropout(tiny("gpt2")), 3)
    before = torch.random.get_rng_state()
    fine_tune(split, [batch], config_of(), seed=3)
    add_factors(split)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_emulator_never_drops_out(tiny, batch):
    split = split_model(with_dropout(tiny("gpt2")), 3)
    fine_tune(split, [batch], config_of(learning_rate=1e-12), seed=3)
    first = split.features(batch.input_ids)
    assert torch.equal(first, split.features(batch.input_ids))


def test_a_penalty_acts_and_is_not_part_of_the_loss(tiny, batch):
    def trained(penalty):
        split = split_model(tiny("llama"), 3)
        before = uppers(split)
        values = list(trained_parameters(split).values())
        term = None if penalty is None else lambda: penalty(values)
        loss = fine_tune(split, [batch], config_of(), seed=0, penalty=term)
        return loss, {n: v - before[n] for n, v in uppers(split).items()}

    plain, moves = trained(None)
    nothing, same = trained(lambda values: values[0].sum() * 0.0 + 5.0)
    assert nothing == plain
    assert all(torch.equal(moves[name], same[name]) for name in moves)
    pulled, down = trained(lambda values: 1e4 * sum(v.sum() for v in values))
    assert pulled == plain  # of the first step, before it acts
    assert all((move < 0).all() for move in down.values())
    assert not all((move < 0).all() for move in moves.values())


def test_the_step_size_may_be_given(tiny, batch):
    def largest_move(**settings):
        split = split_model(tiny("llama"), 3)
        before = uppers(split)
        fine_tune(split, [batch], config_of(), seed=0, **settings)
        return max(float((v - before[n]).abs().max()) for n, v in uppers(split).items())

    assert largest_move() == pytest.approx(1e-2, rel=0.01)
    assert largest_move(learning_rate=1e-3) == pytest.approx(1e-3, rel=0.01)


def test_bf16_leaves_the_weights_in_fp32(tiny, batch):
    split = split_model(tiny("llama"), 3)
    plain = split_model(copy.deepcopy(tiny("llama")), 3)
    loss = fine_tune(split, [batch], config_of(precision="bf16"), seed=0)
    expected = fine_tune(plain, [batch], config_of(precision="fp32"), seed=0)
    assert loss != expected
    assert loss == pytest.approx(expected, rel=0.05)
    assert {value.dtype for value in split.adapter.parameters()} == {torch.float32}


def test_auto_is_fp32_on_a_cpu():
    with precision(config_of(), torch.device("cpu")):
        assert not torch.is_autocast_enabled("cpu")
    with precision(config_of(precision="bf16"), torch.device("cpu")):
        assert torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "tpu", "", "cpu:x", "meta"])
def test_a_device_that_is_not_here_is_refused(name):
    with pytest.raises(InputError, match=r"`train.device` = .* set `auto`"):
        pick_device(name)


def test_a_device_that_is_here_is_taken():
    assert pick_device("cpu").type == "cpu"
    best = "cuda" if torch.cuda.is_available() else "cpu"
    assert pick_device("auto").type == best
