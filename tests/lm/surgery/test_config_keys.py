"""Config keys are honoured as transformers honours them for that architecture."""

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from trimwave.base.errors import InputError
from trimwave.model.config_keys import DEFAULTS, GPT2_ALIASES, MODEL_TYPES
from trimwave.model.shape import ModelShape

transformers.utils.logging.set_verbosity_error()

TINY = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 52,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
}
ODD = {
    "num_key_value_heads": (None, 1, 2, 3, 6, 4),
    "head_dim": (None, 8, 10),
    "tie_word_embeddings": (True, False, None),
    "attention_bias": (True, False, None),
    "mlp_bias": (True, False),
    "max_position_embeddings": (32, 64),
    "n_inner": (None, 40, 52),
    "n_embd": (36, 60),
    "n_positions": (16,),
    "hidden_size": (48, 50, 60),
    "vocab_size": (96,),
    "use_sliding_window": (True, False),
    "sliding_window": (None, 4),
    "scale_attn_by_inverse_layer_idx": (True,),
}
"""Values of keys that change a shape in some architecture, and of some that do not."""
ABSENT = object()
MUTATED = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 60),
    st.just(10**40),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.integers(), max_size=2),
    st.just({}),
)


def gpt2_names(config):
    """A config in GPT-2's own words."""
    return {GPT2_ALIASES.get(key, key): value for key, value in config.items()}


def counted(config):
    """Count a real module's parameters, None if transformers does not make it."""
    fields = {key: value for key, value in config.items() if key != "model_type"}
    try:
        made = transformers.AutoConfig.for_model(config["model_type"], **fields)
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(made)
    except Exception:  # it raises classes of three libraries
        return None
    heads = made.num_attention_heads
    kv_heads = getattr(made, "num_key_value_heads", None) or heads
    if config["model_type"] != "gpt2" and heads % kv_heads:
        return None  # made, and fails at the first forward
    return sum(value.numel() for value in model.parameters())


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_defaults_are_those_of_transformers(model_type):
    made = transformers.AutoConfig.for_model(model_type)
    if model_type == "llama":  # null in a config, and derived once made
        assert made.num_key_value_heads == made.num_attention_heads
        made.num_key_value_heads = None
    if "head_dim" in DEFAULTS[model_type] and model_type != "qwen3":
        assert made.head_dim == made.hidden_size // made.num_attention_heads
        made.head_dim = None
    found = {key: getattr(made, key) for key in DEFAULTS[model_type]}
    assert found == dict(DEFAULTS[model_type])


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@settings(max_examples=25)
@given(data=st.data())
def test_counts_are_exact_whatever_keys_are_given(model_type, data):
    config = {"model_type": model_type, **TINY}
    if model_type == "gpt2" and data.draw(st.booleans()):
        config = gpt2_names(config)
    for key, values in ODD.items():
        value = data.draw(st.sampled_from((ABSENT, ABSENT, *values)), label=key)
        if value is not ABSENT:
            config[key] = value
    expected = counted(config)
    if expected is None:
        with pytest.raises(InputError, match="in the config of tiny must be"):
            ModelShape.from_config(config, "tiny")
    else:
        assert ModelShape.from_config(config, "tiny").total_params == expected


@pytest.mark.parametrize("model_type", ["qwen2", "mistral"])
def test_attention_bias_has_no_effect_where_transformers_has_no_such_key(model_type):
    plain = {"model_type": model_type, **TINY, "num_key_value_heads": 3}
    biased = {**plain, "attention_bias": True, "mlp_bias": True}
    shape = ModelShape.from_config(biased, "tiny")
    assert shape == ModelShape.from_config(plain, "tiny")
    assert shape.qkv_bias == (model_type == "qwen2") and not shape.output_bias


def test_an_alias_of_gpt2_counts_before_its_own_word():
    config = {"model_type": "gpt2", **gpt2_names(TINY), "hidden_size": 60}
    assert ModelShape.from_config(config, "tiny").hidden_size == 60


@settings(max_examples=80)
@given(data=st.data())
def test_any_config_gives_a_shape_or_one_line(data):
    model_type = data.draw(st.sampled_from((*MODEL_TYPES, "bert", 3, None, [], "x\ny")))
    config = {"model_type": model_type, **TINY, **gpt2_names(TINY), **ODD}
    config = {key: v[0] if isinstance(v, tuple) else v for key, v in config.items()}
    for key in data.draw(st.lists(st.sampled_from(sorted(config)), max_size=3)):
        config[key] = data.draw(MUTATED)
    for key in data.draw(st.lists(st.sampled_from(sorted(config)), max_size=1)):
        del config[key]
    try:
        shape = ModelShape.from_config(config, "tiny")
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert 0 < shape.block_params < shape.total_params


@pytest.mark.parametrize("config", [[], None, "llama", 3])
def test_what_is_no_object_is_refused(config):
    with pytest.raises(InputError, match="no JSON object"):
        ModelShape.from_config(config, "tiny")


def test_sizes_beyond_reason_are_refused():
    huge = {**dict.fromkeys(TINY, 2**31 - 1), "num_key_value_heads": None}
    with pytest.raises(InputError, match=r"e\+\d+ parameters"):
        ModelShape.from_config({"model_type": "qwen2", **huge}, "tiny")


def test_a_pruned_model_is_not_taken_for_a_whole_one():
    with pytest.raises(InputError, match="pruned by trimwave already"):
        ModelShape.from_config({"model_type": "trimwave-llama"}, "tiny")
