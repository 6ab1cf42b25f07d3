from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import transformers
from tiny_run import make_bench
from torch import Tensor

from trimwave.lm.workbench import Workbench

# Tiny matrices: a second thread costs more than it computes.
torch.set_num_threads(1)

LLAMA = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 52,  # no multiple of 8: the last chunk is short
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GPT2 = {
    "vocab_size": 96,
    "n_embd": 32,
    "n_inner": 52,
    "n_layer": 5,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LLAMA_SIZED = {**LLAMA, "hidden_size": 48}
SLIDING = ["sliding_attention", "full_attention"] * 2 + ["sliding_attention"]

VARIANTS = {
    "gpt2": ("gpt2", GPT2),
    "gpt2-scaled": (
        "gpt2",
        {
            **GPT2,
            "scale_attn_by_inverse_layer_idx": True,
            "reorder_and_upcast_attn": True,
        },
    ),
    "gpt2-inner": ("gpt2", {**GPT2, "n_inner": None, "tie_word_embeddings": False}),
    "llama": ("llama", LLAMA_SIZED),
    "llama-biased": (
        "llama",
        {**LLAMA_SIZED, "attention_bias": True, "mlp_bias": True},
    ),
    "llama-tied": (
        "llama",
        {**LLAMA_SIZED, "num_key_value_heads": 6, "tie_word_embeddings": True},
    ),
    "mistral": (  # the bias has no effect there, nor has it in Qwen2
        "mistral",
        {**LLAMA, "sliding_window": 4, "attention_bias": True, "mlp_bias": True},
    ),
    "qwen2": (
        "qwen2",
        {
            **LLAMA_SIZED,
            "use_sliding_window": True,
            "sliding_window": 4,
            "max_window_layers": 2,
        },
    ),
    "qwen2-sliding": (
        "qwen2",
        {
            **LLAMA_SIZED,
            "use_sliding_window": True,
            "sliding_window": 4,
            "layer_types": SLIDING,
            "attention_bias": True,
        },
    ),
    "qwen3": ("qwen3", {**LLAMA, "attention_bias": True}),
}


def _tiny(variant: str) -> transformers.PreTrainedModel:
    """A random model whose every parameter is far from zero and one, biases too."""
    model_type, fields = VARIANTS[variant]
    if model_type == "qwen2":  # has no such field
        fields = {name: value for name, value in fields.items() if name != "head_dim"}
    config = transformers.AutoConfig.for_model(model_type, **fields)
    model = transformers.AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, value in model.named_parameters():
            offset = 1.0 if "norm" in name or ".ln_" in name else 0.0
            noise = torch.randn(value.shape, generator=generator)
            value.copy_(offset + 0.2 * noise)
    return model.eval()


@pytest.fixture(scope="session")
def tiny() -> Callable[[str], transformers.PreTrainedModel]:
    return _tiny


@pytest.fixture(
    params=[
        pytest.param(one, marks=pytest.mark.slow if "-" in one else ())
        for one in VARIANTS
    ]
)
def model(request: pytest.FixtureRequest) -> transformers.PreTrainedModel:
    """One tiny model per architecture; the odd configs are slow tests."""
    return _tiny(request.param)


@pytest.fixture
def input_ids() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(3, 96, (2, 11), generator=generator)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder for a module's runs, with a cache of its own."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMWAVE_CACHE", str(folder / "cache"))
        yield folder


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Workbench]:
    """Make the workbench of a miniature run, with a cache of its own."""
    monkeypatch.setenv("TRIMWAVE_CACHE", str(tmp_path / "cache"))

    def _make(*changes: str, kind: str = "llama") -> Workbench:
        return make_bench(tmp_path / kind, kind, changes)

    return _make
