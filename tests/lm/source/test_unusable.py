"""Whatever cannot be loaded or used is one line that says why."""

import json
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizer import byte_tokenizer, save_tiny_model

from trimwave.base.errors import InputError
from trimwave.lm.source import models as loading
from trimwave.lm.source.models import load_model
from trimwave.recipe.situation import shape_named

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tmp_path):
    save_tiny_model(tmp_path / "tiny")
    return tmp_path / "tiny"


def edit(folder, file="config.json", **changes):
    content = json.loads((folder / file).read_text())
    content.update(changes)
    content = {key: value for key, value in content.items() if value is not ...}
    (folder / file).write_text(json.dumps(content))


def retensor(folder, change):
    tensors = load_file(folder / WEIGHTS)
    save_file(change(tensors) or tensors, folder / WEIGHTS, metadata={"format": "pt"})


def refusal(folder, monkeypatch=None):
    """Return the one line; nothing heavy may have happened before it."""
    if monkeypatch is not None:
        monkeypatch.setattr(loading, "_load_weights", no_load)
    with pytest.raises(InputError) as caught:
        load_model(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def no_load(*args):
    raise AssertionError("weights must not be read")


QUANTISED = [
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
    ({"load_in_8bit": True}, "bitsandbytes"),
    ({"quant_method": "gptq", "bits": 4}, "gptq"),
    ({"quant_method": "awq"}, "awq"),
    ({"quant_method": "fp8"}, "fp8"),
    ({"quant_method": "fbgemm_fp8"}, "fbgemm_fp8"),
    ({"quant_method": "compressed-tensors", "format": "pack"}, "compressed-tensors"),
    ({"quant_method": "hqq"}, "hqq"),
    ({"quant_method": "eetq"}, "eetq"),
    ({"quant_method": "aqlm"}, "aqlm"),
    ({"quant_method": "torchao"}, "torchao"),
    ({"bits": 4, "group_size": 64}, "4 bits"),
    ({}, "quantised"),
    ("odd", "quantised"),
]


@pytest.mark.parametrize("key", ["quantization_config", "compression_config"])
@pytest.mark.parametrize(("settings", "said"), QUANTISED)
def test_quantised_weights_are_refused_by_run_and_plan(folder, key, settings, said):
    edit(folder, **{key: settings})
    assert said in refusal(folder) and "unquantised" in refusal(folder)
    with pytest.raises(InputError, match="already quantised"):
        shape_named(str(folder))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "mixtral"}, "`mixtral` .* not in the table; did you mean"),
        ({"model_type": "bert"}, "known: gpt2, llama, mistral, qwen2, qwen3"),
        ({"model_type": ...}, "architecture `` "),
        ({"auto_map": {"AutoConfig": "x.Y"}}, "code of its own"),
        ({"is_encoder_decoder": True}, "encoder-decoder"),
        ({"is_causal": False}, "is an encoder"),
        ({"num_attention_heads": 0}, "`num_attention_heads` .* got 0"),
        ({"num_hidden_layers": -1}, "got -1"),
        ({"hidden_size": "16"}, "`hidden_size` .* whole number .* got '16'"),
        ({"num_attention_heads": 3}, "`hidden_size` .* multiple"),
        ({"num_attention_heads": ...}, "no key `num_attention_heads`"),
        ({"tie_word_embeddings": "no"}, "true or false"),
        ({"num_hidden_layers": 2**31 - 1}, "they have 1, its config says 2147483647"),
        ({"intermediate_size": 25}, r"has shape \[16, 24\], .* asks for \[16, 25\]"),
        ({"attention_bias": True}, "lack 4 tensors"),
        ({"model_type": "qwen3"}, "lack 2 tensors"),
        ({"tie_word_embeddings": False}, "no `lm_head.weight`.*tie_word_embeddings"),
        ({"hidden_act": "zz"}, "could not load the model"),
        ({"rope_parameters": {"rope_type": "zz"}}, "could not load the model"),
        ({"transformers_weights": "a.safetensors"}, "call the file model.safetensors"),
    ],
)
def test_a_config_that_does_not_do_is_refused(folder, changes, said, monkeypatch):
    edit(folder, **changes)
    with pytest.raises(InputError, match=said):
        load_model(str(folder))
    refusal(folder, monkeypatch)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "\ufeff{}", "[" * 99999, "9" * 9999]
)
def test_a_config_that_is_no_object_is_refused(folder, text):
    (folder / "config.json").write_text(text)
    assert "config.json" in refusal(folder)
    with pytest.raises(InputError, match=r"config\.json"):
        shape_named(str(folder))


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("pytorch_model.bin", "pickled PyTorch weights"),
        ("model.ckpt", "pickled checkpoint"),
        ("consolidated.00.pth", "pickled PyTorch weights"),
        ("tiny.Q4.gguf", "GGUF"),
        ("tf_model.h5", "TensorFlow"),
        ("flax_model.msgpack", "Flax"),
        ("model.onnx", "ONNX"),
        ("weights.safetensors", "neither model.safetensors nor"),
        ("model-00001-of-00002.safetensors", "neither model.safetensors nor"),
        ("README.md", "no weights"),
    ],
)
def test_other_formats_alone_are_named(folder, file, said, monkeypatch):
    (folder / WEIGHTS).rename(folder / file)
    assert said in refusal(folder, monkeypatch)


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_lora_factors_alone_or_beside_weights_are_refused(folder, file):
    (folder / file).write_text("{}")
    assert "beside the model's weights" in refusal(folder)
    (folder / "config.json").unlink()
    assert "LoRA factors alone" in refusal(folder)
    with pytest.raises(InputError, match="LoRA factors alone"):
        shape_named(str(folder))


@pytest.mark.parametrize("file", ["modeling_tiny.py", "configuration_x.py"])
def test_code_in_the_folder_is_refused_and_other_scripts_are_not(folder, file):
    (folder / "train.py").write_text("raise SystemExit")
    load_model(str(folder))
    (folder / file).write_text("raise SystemExit")
    assert file in refusal(folder)


def test_code_of_the_tokenizer_is_refused(folder, monkeypatch):
    edit(folder, "tokenizer_config.json", auto_map={"AutoTokenizer": ["a.B", None]})
    assert "code of its own" in refusal(folder, monkeypatch)


def test_fewer_embeddings_than_tokens_are_refused_and_more_are_fine(
    folder, monkeypatch
):
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["<one more>"])
    tokenizer.save_pretrained(folder)
    assert "259 tokens, its model only 258 embeddings" in refusal(folder, monkeypatch)
    monkeypatch.undo()
    byte_tokenizer().save_pretrained(folder)
    retensor(
        folder,
        lambda t: t.update({"model.embed_tokens.weight": torch.ones(320, 16)}),
    )
    edit(folder, vocab_size=320)
    assert load_model(str(folder))[0].config.vocab_size == 320


@pytest.mark.parametrize("missing", ["tokenizer.json"])
def test_a_missing_tokenizer_is_refused(folder, missing, monkeypatch):
    (folder / missing).unlink()
    assert "no tokenizer" in refusal(folder, monkeypatch)


def test_a_tokenizer_without_an_end_token_is_refused(folder, monkeypatch):
    edit(folder, "tokenizer_config.json", eos_token=...)
    assert "no end token" in refusal(folder, monkeypatch)


def test_a_head_apart_under_a_tied_config_is_refused(folder):
    retensor(folder, lambda t: t.update({"lm_head.weight": torch.ones(258, 16)}))
    assert "two that differ" in refusal(folder)
    edit(folder, tie_word_embeddings=False)
    assert load_model(str(folder))[0].lm_head.weight.mean() == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_no_numbers_are_refused(folder, value):
    def spoil(tensors):
        tensors["model.norm.weight"][3] = value

    retensor(folder, spoil)
    assert "`model.norm.weight`" in refusal(folder) and "NaN" in refusal(folder)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8, torch.uint8])
def test_weights_in_a_quantised_type_are_refused(folder, dtype, monkeypatch):
    path = "model.layers.0.mlp.up_proj.weight"
    retensor(folder, lambda t: t.update({path: torch.ones(24, 16).to(dtype)}))
    assert "already quantised" in refusal(folder, monkeypatch)


@pytest.mark.parametrize("extra", ["score.weight", "base_model.model.lora_A.weight"])
def test_tensors_of_another_model_are_refused(folder, extra, monkeypatch):
    retensor(folder, lambda t: t.update({extra: torch.ones(2)}))
    said = "merge" if "lora" in extra else "1 tensors that its config does not know"
    assert said in refusal(folder, monkeypatch)


def test_weights_of_the_model_without_its_head_are_read(folder):
    saved = load_model(str(folder))[0]
    retensor(folder, lambda t: {k.removeprefix("model."): v for k, v in t.items()})
    ids = torch.arange(9)[None]
    assert torch.equal(load_model(str(folder))[0](ids).logits, saved(ids).logits)


def shard(folder):
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    halves = sorted(tensors)[:3], sorted(tensors)[3:]
    index = {}
    for number, names in enumerate(halves):
        file = f"model-0000{number + 1}-of-00002.safetensors"
        part = {name: tensors[name] for name in names}
        save_file(part, folder / file, metadata={"format": "pt"})
        index.update(dict.fromkeys(names, file))
    write_index(folder, {"metadata": {}, "weight_map": index})
    return index


def write_index(folder, content):
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(content))


def test_shards_are_read_and_a_missing_one_is_named(folder, monkeypatch):
    shard(folder)
    _, _, facts = load_model(str(folder))
    assert "model-00002-of-00002.safetensors" in facts["file_sha256"]
    (folder / "model-00002-of-00002.safetensors").unlink()
    said = refusal(folder, monkeypatch)
    assert "names `model-00002-of-00002.safetensors`, which is not in" in said


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({}, "no `metadata`"),
        ({"metadata": {}}, "no `weight_map`"),
        ({"metadata": {}, "weight_map": []}, "no `weight_map`"),
        ({"metadata": {}, "weight_map": {"a": 3}}, "no `weight_map`"),
        ({"metadata": {}, "weight_map": {"a": "../x.safetensors"}}, "is not in the"),
        ([], "no JSON object"),
    ],
)
def test_an_index_that_does_not_do_is_refused(folder, index, said, monkeypatch):
    shard(folder)
    write_index(folder, index)
    assert said in refusal(folder, monkeypatch)


def test_an_index_that_names_an_absent_tensor_is_refused(folder, monkeypatch):
    index = shard(folder)
    index["absent"] = next(iter(index.values()))
    write_index(folder, {"metadata": {}, "weight_map": index})
    assert "says that `absent` lies in" in refusal(folder, monkeypatch)


@pytest.mark.parametrize("length", [0, 5, 8, 200, -1])
def test_cut_weights_are_refused(folder, length, monkeypatch):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:length])
    assert WEIGHTS in refusal(folder, monkeypatch)


@pytest.mark.parametrize("header", [b"[]", b"{", b"3", b'{"a": 1}', b'{"a": {}}'])
def test_a_header_that_is_none_is_refused(folder, header, monkeypatch):
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header)
    assert WEIGHTS in refusal(folder, monkeypatch)


def test_places_that_are_no_folder_are_refused(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "the folder is empty" in refusal(tmp_path / "empty")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "a link to nothing" in refusal(tmp_path / "link")
    assert "is a file" in refusal(folder / WEIGHTS)
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    assert "cannot read" in refusal(folder)
    for name in ("~nobody-at-all/model", "x" * 5000, "a\0b", "a b/c d"):
        refusal(name)


@pytest.mark.parametrize("call", ["iterdir", "read_bytes"])
def test_a_folder_that_may_not_be_read_is_refused(folder, call, monkeypatch):
    def denied(*args):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(f"pathlib.Path.{call}", denied)
    assert "Permission denied" in refusal(folder)


def test_any_changed_file_is_another_model_for_the_manifest(folder, tmp_path):
    facts = [load_model(str(folder))[2]]
    for file in ("config.json", "tokenizer_config.json", "tokenizer.json"):
        copied = tmp_path / file
        shutil.copytree(folder, copied)
        (copied / file).write_text((copied / file).read_text() + "\n")
        facts.append(load_model(str(copied))[2])
        before, after = facts[0]["file_sha256"], facts[-1]["file_sha256"]
        assert [name for name in before if before[name] != after[name]] == [file]


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.mark.parametrize("file", [WEIGHTS, "tokenizer.json"])
def test_what_git_or_the_hub_left_in_place_of_a_file_is_named(folder, file):
    (folder / file).write_text(POINTER)
    assert "git lfs pull" in refusal(folder)
    (folder / file).unlink()
    (folder / file).symlink_to(folder / "blobs" / "gone")
    assert f"{file} is a link to nothing" in refusal(folder)


def test_a_shard_that_git_left_is_named(folder):
    shard(folder)
    (folder / "model-00001-of-00002.safetensors").write_text(POINTER)
    assert "git lfs pull" in refusal(folder)


def test_a_classifier_is_refused(folder, monkeypatch):
    edit(folder, tie_word_embeddings=False)
    retensor(folder, lambda t: t.update({"score.weight": torch.ones(2, 16)}))
    assert "no classifier" in refusal(folder, monkeypatch)
