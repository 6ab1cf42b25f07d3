"""Whatever happens to a model's folder: it loads as it was, or one line says why."""

import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from faults import less_json, mutate, mutations
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer import byte_tokenizer, save_tiny_model

from trimwave.base.errors import InputError
from trimwave.lm.source.models import load_model
from trimwave.recipe.situation import shape_named

FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
)
MAY_CHANGE = ("config.json", "model.safetensors")
"""Files of the user's own where another content can be another, valid model."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "tiny"
    return folder, save_tiny_model(folder).state_dict()


@settings(max_examples=40)
@given(mutation=mutations(FILES))
def test_a_mutated_folder_loads_as_it_was_or_is_one_line(whole, mutation):
    source, saved = whole
    file, *how = mutation
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(shutil.copytree(source, Path(scratch) / "tiny"))
        mutate(folder / file, *how)
        for read in (load_model, shape_named):
            try:
                found = read(str(folder))
            except InputError as error:
                assert "\n" not in str(error)
                continue
            if read is load_model and file not in MAY_CHANGE:
                loaded = found[0].state_dict()
                assert all(torch.equal(loaded[k], v) for k, v in saved.items())
            if read is load_model:
                assert all(v.isfinite().all() for v in found[0].state_dict().values())


@pytest.fixture(scope="module", params=["gpt2", "qwen2-sliding"])
def saved(request, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    model = tiny(request.param)
    model.resize_token_embeddings(260)
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@settings(max_examples=15)
@given(data=st.data())
def test_any_config_beside_weights_runs_or_is_one_line(saved, data):
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(shutil.copytree(saved, Path(scratch) / "odd"))
        for _ in range(data.draw(st.integers(0, 2))):
            seed = data.draw(st.integers(0, 9999))
            mutate(folder / "config.json", less_json, seed)
        try:
            loaded = load_model(str(folder))[0]
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert loaded(torch.arange(9)[None]).logits.isfinite().all()
