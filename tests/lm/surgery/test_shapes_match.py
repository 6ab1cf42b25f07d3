import pytest

from trimwave.base.errors import InputError
from trimwave.lm import shape_of, split_model
from trimwave.lm.surgery.blocks import architecture_of


def numel(module):
    return sum(value.numel() for value in module.parameters())


def test_counts_are_those_of_the_modules(model):
    shape, split = shape_of(model), split_model(model, 2)
    assert {numel(block) for block in [*split.emulator, *split.adapter]} == {
        shape.block_params
    }
    assert numel(split.shell) == shape.embedding_params
    assert numel(model) == shape.total_params


def test_unit_counts_are_those_of_the_cut_parameters(model):
    shape, split = shape_of(model), split_model(model, 2)
    parameters = dict(split.emulator[0].named_parameters())
    cut = [c for c in split.arch.cuts if c.path in parameters]
    neurons = sum(parameters[c.path].numel() for c in cut if c.kind == "neuron")
    groups = sum(parameters[c.path].numel() for c in cut if c.kind != "neuron")
    assert neurons == shape.intermediate_size * shape.neuron_params
    assert groups == shape.num_kv_heads * shape.group_params


def test_an_unknown_architecture_is_named_with_the_known_ones(tiny):
    model = tiny("llama")
    model.config.model_type = "mixtral"
    with pytest.raises(InputError, match="`mixtral`.*"):
        architecture_of(model)
    model.config.model_type = "zebra"
    with pytest.raises(InputError, match="known: gpt2, llama, mistral, qwen2, qwen3"):
        architecture_of(model)


def test_a_model_without_a_head_is_refused(tiny):
    with pytest.raises(InputError, match="LlamaModel"):
        architecture_of(tiny("llama").model)
