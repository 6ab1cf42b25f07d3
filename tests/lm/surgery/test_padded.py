import numpy as np
import pytest
import torch

from trimwave.base.errors import InputError
from trimwave.lm import (
    layer_drop,
    prune_emulator,
    random_scores,
    rank_units,
    split_model,
)
from trimwave.lm.surgery.padded import padded_emulator


def logits_of(split, input_ids):
    with torch.no_grad():
        return split.logits(split.hidden(split.features(input_ids)))


@pytest.mark.parametrize("fraction", [0.0, 0.4, 1.0])
def test_zeros_are_as_good_as_cuts(model, input_ids, fraction):
    split = split_model(model, 3)
    scores = random_scores(split, np.random.default_rng(5))
    ranking = rank_units(scores, split.shape, min_neurons=16)
    kept = ranking.kept(int(ranking.sizes[int(fraction * (len(ranking.sizes) - 1))]))
    padded = split.with_emulator(padded_emulator(split, kept))
    cut = split.with_emulator(prune_emulator(split, kept))
    found, expected = logits_of(padded, input_ids), logits_of(cut, input_ids)
    torch.testing.assert_close(found, expected, atol=5e-5, rtol=0)
    stock = split.split_index * split.shape.block_params
    assert sum(value.numel() for value in padded.emulator.parameters()) == stock
    left = sum(int((value != 0).sum()) for value in padded.emulator.parameters())
    assert left == sum(value.numel() for value in cut.emulator.parameters())


def test_the_model_itself_is_not_touched(tiny, input_ids):
    split = split_model(tiny("gpt2"), 3)
    before = logits_of(split, input_ids)
    scores = random_scores(split, np.random.default_rng(5))
    ranking = rank_units(scores, split.shape, min_neurons=16)
    padded_emulator(split, ranking.kept(int(ranking.sizes[0])))
    assert torch.equal(logits_of(split, input_ids), before)


def test_dropped_blocks_need_a_config_that_can_say_so(tiny):
    for variant, refused in (("gpt2", False), ("gpt2-scaled", True)):
        split = split_model(tiny(variant), 4)
        ranking = rank_units(layer_drop(split), split.shape)
        kept = ranking.kept(2 * split.shape.block_params)
        if refused:
            with pytest.raises(InputError, match="scale_attn_by_inverse_layer_idx"):
                padded_emulator(split, kept)
        else:
            assert len(padded_emulator(split, kept)) == 2
