import pytest
import torch
from torch import nn

from trimwave.base.errors import InputError
from trimwave.lm import split_model
from trimwave.lm.surgery.split import block_sources


@pytest.mark.parametrize("split_index", [1, 3])
def test_the_halves_in_turn_are_the_model(model, input_ids, split_index):
    with torch.no_grad():
        expected = model(input_ids).logits
    split = split_model(model, split_index)
    logits = split.logits(split.hidden(split.features(input_ids)))
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids).logits, expected)


@pytest.mark.parametrize("variant", ["mistral", "qwen2-sliding"])
def test_the_sliding_window_matters_here(tiny, input_ids, variant):
    """Else the test above would not notice a window that got lost."""
    model, wide = tiny(variant), tiny(variant)
    wide.config.sliding_window = 64
    with torch.no_grad():
        difference = model(input_ids).logits - wide(input_ids).logits
    assert difference.abs().max() > 1e-3


def test_attention_types_follow_the_blocks_that_are_left(tiny, input_ids):
    model = tiny("qwen2-sliding")
    split = split_model(model, 4)
    dropped = nn.ModuleList([split.emulator[1], split.emulator[2]])
    features = split.with_emulator(dropped).features(input_ids)
    model.model.layers = dropped
    model.model.norm = nn.Identity()
    model.config.num_hidden_layers = 2
    model.config.layer_types = ["full_attention", "sliding_attention"]
    with torch.no_grad():
        expected = model.model(input_ids, use_cache=False).last_hidden_state
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=0)


def test_the_attention_implementation_may_change_later(tiny, input_ids):
    model = tiny("llama")
    split = split_model(model, 2)
    sdpa = split.hidden(split.features(input_ids))
    model.set_attn_implementation("eager")
    eager = split.hidden(split.features(input_ids))
    torch.testing.assert_close(eager, sdpa, atol=1e-5, rtol=0)


@pytest.mark.parametrize("border", [0, 1, 4])
def test_the_border_may_move(model, input_ids, border):
    with torch.no_grad():
        expected = model(input_ids).logits
    split = split_model(model, 3)
    moved = split.split_at(border)
    assert block_sources(moved.emulator, split.arch) == list(range(border))
    assert block_sources(moved.adapter, split.arch) == list(range(border, 5))
    logits = moved.logits(moved.hidden(moved.features(input_ids)))
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    # Shared, not copied; and back again.
    blocks = [*split.emulator, *split.adapter]
    assert [*moved.emulator, *moved.adapter] == blocks
    back = moved.split_at(3)
    assert [*back.emulator] == blocks[:3] and [*back.adapter] == blocks[3:]
    assert split.split_at(3) is split


def test_the_border_moves_over_blocks_that_are_left(tiny):
    split = split_model(tiny("llama"), 4)
    kept = nn.ModuleList([split.emulator[0], split.emulator[3]])
    moved = split.with_emulator(kept).split_at(2)
    assert block_sources(moved.emulator, split.arch) == [0]
    assert block_sources(moved.adapter, split.arch) == [3, 4]


def test_padding_on_the_right_changes_nothing_before_it(model, input_ids):
    split = split_model(model, 2)
    padded = torch.cat([input_ids, torch.zeros_like(input_ids)], dim=1)
    whole = split.hidden(split.features(padded))[:, : input_ids.shape[1]]
    alone = split.hidden(split.features(input_ids))
    torch.testing.assert_close(whole, alone, atol=1e-5, rtol=0)


def test_gradients_reach_the_adapter_and_nothing_else(model, input_ids):
    split = split_model(model, 3)
    hidden = split.hidden(split.features(input_ids))
    split.logits(hidden).logsumexp(-1).sum().backward()
    assert all(p.grad is not None for p in split.adapter.parameters())
    adapter = {id(p) for p in split.adapter.parameters()}
    others = [p for p in model.parameters() if id(p) not in adapter]
    assert others and all(p.grad is None and not p.requires_grad for p in others)


def test_dropout_acts_in_the_adapter_only(tiny, input_ids):
    model = tiny("gpt2").train()
    split = split_model(model, 2)
    model.train()
    features = split.features(input_ids)
    assert torch.equal(features, split.features(input_ids))
    assert not torch.equal(split.hidden(features), split.hidden(features))
    split.adapter.eval()
    assert torch.equal(split.hidden(features), split.hidden(features))


def test_half_precision_stays_half(tiny, input_ids):
    split = split_model(tiny("gpt2").to(torch.bfloat16), 2)
    hidden = split.hidden(split.features(input_ids))
    assert hidden.dtype == split.logits(hidden).dtype == torch.bfloat16


def test_the_shell_does_not_keep_blocks(model):
    split = split_model(model, 2)
    left = {id(p) for p in split.shell.parameters()}
    assert not left & {id(p) for p in [*split.emulator[0].parameters()]}
    assert len(model.get_submodule(f"{split.arch.base}.{split.arch.blocks}")) == 5


@pytest.mark.parametrize("split_index", [-1, 0, 5, 6])
def test_an_empty_side_is_refused(tiny, split_index):
    with pytest.raises(InputError, match=rf"\[1, 4\].*got {split_index}\."):
        split_model(tiny("llama"), split_index)


def test_a_model_with_lora_factors_or_quantised_weights_is_refused(tiny):
    model = tiny("llama")
    model.model.layers[1].mlp.lora_a = torch.nn.Linear(48, 2)
    with pytest.raises(InputError, match="merge LoRA factors"):
        split_model(model, 2)
    model = tiny("llama")
    weight = model.model.layers[1].mlp.up_proj.weight
    model.model.layers[1].mlp.up_proj.weight = torch.nn.Parameter(
        weight.to(torch.int8), requires_grad=False
    )
    with pytest.raises(InputError, match="bring unquantised weights"):
        split_model(model, 2)
