import pytest
import torch
from helpers import with_factors

from trimwave.lm import split_model
from trimwave.lm.data.encode import Encoded, collate
from trimwave.lm.train.tune import add_lora, fine_tune, head_with_lora
from trimwave.lm.wire.ledger import trained_parameters
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


def add_factors(split, seed=1, **factors):
    """Freeze the adapter and put LoRA factors on it."""
    split.adapter.requires_grad_(False)
    submodel = with_factors(**factors)
    add_lora(split.adapter, submodel, split.shape.model_type, seed=seed)


def test_fresh_lora_factors_change_nothing(model, input_ids):
    with torch.no_grad():
        expected = model(input_ids).logits
    split = split_model(model, 3)
    add_factors(split)
    split.adapter.eval()
    got = split.logits(split.hidden(split.features(input_ids)))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_lora_factors_follow_the_seed(tiny):
    def factors(seed):
        split = split_model(tiny("llama"), 3)
        add_factors(split, seed)
        return torch.cat(
            [value.flatten() for value in trained_parameters(split).values()]
        )

    assert torch.equal(factors(1), factors(1))
    assert not torch.equal(factors(1), factors(2))


def test_lora_alpha_scales_the_factors(tiny, input_ids):
    def shift(alpha):
        split = split_model(tiny("llama"), 4)
        plain = split.hidden(split.features(input_ids))
        add_factors(split, lora_rank=4, lora_alpha=alpha)
        with torch.no_grad():
            for value in trained_parameters(split).values():
                value.fill_(3e-3)
        return (split.hidden(split.features(input_ids)) - plain).norm().item()

    assert shift(32.0) == pytest.approx(2 * shift(16.0), rel=0.1)


@pytest.mark.parametrize("variant", ["llama", "llama-tied", "gpt2"])
def test_a_head_with_factors(tiny, input_ids, batch, variant):
    split = split_model(tiny(variant), 3)
    split.adapter.requires_grad_(False)
    plain = split.logits(split.hidden(split.features(input_ids)))
    weight, shell = split.head.weight, copied(split.shell)
    head = head_with_lora(split.head, with_factors(lora_rank=2), seed=1)
    lifted = split.with_head(head)
    assert head.base_layer.weight is weight and split.head is not head
    assert torch.equal(lifted.logits(lifted.hidden(lifted.features(input_ids))), plain)
    names = {f"head.lora_{factor}.default.weight" for factor in "AB"}
    trained = trained_parameters(lifted)
    assert trained.keys() == names
    vocab, hidden = weight.shape
    assert sum(value.numel() for value in trained.values()) == 2 * (vocab + hidden)
    fine_tune(lifted, [batch] * 2, config_of(), seed=0)
    assert all(value.grad.abs().max() > 0 for value in trained.values())
    assert not moved(split.shell, shell)
    split.adapter.eval()
    assert torch.equal(split.logits(split.hidden(split.features(input_ids))), plain)
