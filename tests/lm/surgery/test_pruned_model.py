import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from faults import mutate, mutations
from hypothesis import given, settings
from torch import nn

from trimwave.base.errors import InputError
from trimwave.lm import (
    layer_drop,
    load_pruned,
    prune_emulator,
    random_scores,
    rank_units,
    save_pruned,
    split_model,
)


def kept_part(split, fraction):
    scores = random_scores(split, np.random.default_rng(5))
    ranking = rank_units(scores, split.shape, min_neurons=16)
    return ranking.kept(int(ranking.sizes[int(fraction * (len(ranking.sizes) - 1))]))


def logits_of(split, kept, input_ids):
    pruned = split.with_emulator(prune_emulator(split, kept))
    with torch.no_grad():
        return pruned.logits(pruned.hidden(pruned.features(input_ids)))


@pytest.mark.parametrize("fraction", [0.0, 0.4, 1.0])
def test_the_folder_is_the_split_model(model, input_ids, tmp_path, fraction):
    split = split_model(model, 3)
    kept = kept_part(split, fraction)
    save_pruned(split, kept, tmp_path)
    loaded, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(report[key] for key in ("missing_keys", "mismatched_keys"))
    assert not report["unexpected_keys"]
    with torch.no_grad():
        found = loaded(input_ids).logits
    expected = logits_of(split, kept, input_ids)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    ours = sum(p.numel() for p in prune_emulator(split, kept).parameters())
    rest = split.shape.total_params - 3 * split.shape.block_params
    assert sum(p.numel() for p in loaded.parameters()) == ours + rest


def test_generation_with_the_cache_is_greedy_decoding(model, input_ids, tmp_path):
    split = split_model(model, 3)
    kept = kept_part(split, 0.5)
    save_pruned(split, kept, tmp_path)
    loaded = load_pruned(tmp_path)
    prompt = input_ids[:1]
    found = loaded.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=6,
        min_new_tokens=6,
        eos_token_id=None,
        do_sample=False,
    )
    expected = prompt
    for _ in range(6):
        best = logits_of(split, kept, expected)[:, -1].argmax(-1, keepdim=True)
        expected = torch.cat([expected, best], dim=1)
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("variant", ["gpt2-scaled", "qwen2-sliding", "mistral"])
def test_dropped_blocks_are_gone_from_the_folder(tiny, input_ids, tmp_path, variant):
    split = split_model(tiny(variant), 4)
    kept = rank_units(layer_drop(split), split.shape).kept(2 * split.shape.block_params)
    save_pruned(split, kept, tmp_path)
    loaded = load_pruned(tmp_path)
    assert loaded.config.num_hidden_layers == 3
    assert loaded.config.source_blocks == [0, 3, 4]
    expected = logits_of(split, kept, input_ids)
    with torch.no_grad():
        whole = loaded(input_ids).logits
        start = loaded(input_ids[:, :6], use_cache=True)
        rest = loaded(input_ids[:, 6:], past_key_values=start.past_key_values).logits
    torch.testing.assert_close(whole, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(rest, expected[:, 6:], atol=1e-5, rtol=0)


def test_the_trained_adapter_and_the_dtype_are_saved(tiny, input_ids, tmp_path):
    tiny("llama-tied").save_pretrained(tmp_path / "original")
    load = transformers.AutoModelForCausalLM.from_pretrained
    # Not .to(bfloat16), which would round the rotary frequencies too.
    split = split_model(load(tmp_path / "original", dtype=torch.bfloat16), 3)
    with torch.no_grad():
        for value in split.adapter.parameters():
            value.add_(0.125)
    kept = kept_part(split, 0.3)
    save_pruned(split, kept, tmp_path)
    loaded = load_pruned(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {torch.bfloat16}
    expected = logits_of(split, kept, input_ids)
    with torch.no_grad():
        assert torch.equal(loaded(input_ids).logits, expected)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"


def test_saving_leaves_the_split_as_it_was(tiny, input_ids, tmp_path):
    split = split_model(tiny("gpt2"), 3)
    before = split.hidden(split.features(input_ids))
    save_pruned(split, kept_part(split, 0.2), tmp_path)
    assert torch.equal(split.hidden(split.features(input_ids)), before)
    assert [block.attn.layer_idx for block in split.adapter] == [3, 4]
    assert split.shell.config.model_type == "gpt2"


def test_the_loaded_model_saves_and_loads_again(tiny, input_ids, tmp_path):
    split = split_model(tiny("qwen3"), 3)
    save_pruned(split, kept_part(split, 0.4), tmp_path / "one")
    one = load_pruned(tmp_path / "one")
    one.save_pretrained(tmp_path / "two")
    two = load_pruned(tmp_path / "two")
    with torch.no_grad():
        assert torch.equal(one(input_ids).logits, two(input_ids).logits)


def test_the_loaded_model_trains(tiny, input_ids, tmp_path):
    split = split_model(tiny("qwen2"), 3)
    save_pruned(split, kept_part(split, 0.4), tmp_path)
    loaded = load_pruned(tmp_path)
    loaded(input_ids, labels=input_ids).loss.backward()
    assert all(p.grad is not None for p in loaded.parameters())


def test_lora_must_be_merged_first(tiny, tmp_path):
    split = split_model(tiny("llama"), 3)
    adapter = nn.ModuleList(split.adapter)
    adapter[0].mlp.extra = nn.Linear(2, 2)
    with pytest.raises(InputError, match="merge LoRA"):
        save_pruned(split.with_adapter(adapter), kept_part(split, 0.5), tmp_path)


def test_a_folder_without_a_pruned_model_is_named(tiny, tmp_path):
    with pytest.raises(InputError, match=r"no config\.json"):
        load_pruned(tmp_path)
    tiny("llama").save_pretrained(tmp_path)
    with pytest.raises(InputError, match="type `llama`, not pruned"):
        load_pruned(tmp_path)


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pruned")
    split = split_model(tiny("llama"), 3)
    save_pruned(split, kept_part(split, 0.4), folder)
    return folder, load_pruned(folder).state_dict()


@pytest.mark.parametrize("receipt", [True, False])
@settings(max_examples=25)
@given(mutation=mutations(("config.json", "model.safetensors", "trimwave.json")))
def test_a_mutated_folder_loads_as_it_was_or_is_one_line(saved, receipt, mutation):
    source, whole = saved
    file, *how = mutation
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(shutil.copytree(source, Path(scratch) / "pruned"))
        mutate(folder / file, *how)
        if not receipt:
            (folder / "trimwave.json").unlink(missing_ok=True)
        try:
            loaded = load_pruned(folder).state_dict()
        except InputError as error:
            assert "\n" not in str(error)
        else:
            # Without a receipt other numbers are the user's own.
            same = all(torch.equal(loaded[key], whole[key]) for key in whole)
            assert same or not receipt


def test_without_the_extra_the_pip_command_is_given():
    code = "import sys; sys.modules['torch'] = None; from trimwave.lm import score"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingExtraError" in done.stderr
    assert "`torch` is not installed; run: pip install 'trimwave[lm]'" in done.stderr


def test_the_file_of_a_pruned_config_is_plain_json(tiny, tmp_path: Path):
    split = split_model(tiny("mistral"), 3)
    kept = kept_part(split, 0.4)
    save_pruned(split, kept, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "trimwave-mistral"
    assert config["kept_groups"] == [len(kept.groups[b]) for b in range(3)] + [3, 3]
    assert config["kept_neurons"][3:] == [52, 52]
    assert config["source_blocks"] == [0, 1, 2, 3, 4]
