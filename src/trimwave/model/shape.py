"""The shape of a language model: what the planner needs to know of it, without torch.

Every count is exact, in parameters; ``tests/lm/test_shapes_match.py`` holds them
against real modules of each architecture.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trimwave.base.errors import InputError
from trimwave.model.config_keys import LARGEST_MODEL, shape_fields
from trimwave.model.submodel import LoraTargets


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """A decoder-only causal LM with pre-norm blocks of attention and MLP."""

    name: str
    """What to call it in tables."""
    model_type: str
    """`model_type` of the Hugging Face config."""
    num_blocks: int
    """Decoder blocks, L."""
    hidden_size: int
    """Residual width, H."""
    intermediate_size: int
    """Neurons of one MLP."""
    num_heads: int
    """Query heads of one block."""
    num_kv_heads: int
    """Key/value heads of one block; fewer than `num_heads` = grouped-query."""
    head_dim: int
    """Width of one head."""
    vocab_size: int
    """Rows of the token embedding, V."""
    context_length: int
    """Longest sequence."""
    gated_mlp: bool
    """Three MLP matrices (SwiGLU) instead of two."""
    qkv_bias: bool
    """Biases on the query, key and value projections."""
    output_bias: bool
    """Bias on the attention's output projection."""
    mlp_bias: bool
    """Biases on the MLP's matrices."""
    norm_params: int
    """Parameters of all norms in one block."""
    position_params: int = 0
    """Learned position embedding (GPT-2)."""
    final_norm_params: int
    """Parameters of the norm before the head."""
    tied_head: bool = True
    """The LM head is the token embedding transposed."""

    def __post_init__(self) -> None:
        if self.num_heads % self.num_kv_heads:
            raise InputError(
                f"`num_heads` must be a multiple of `num_kv_heads`, got "
                f"{self.num_heads} and {self.num_kv_heads} for {self.name}."
            )

    @property
    def group_params(self) -> int:
        """Parameters that go when one key/value head and its query heads go."""
        queries = self.num_heads // self.num_kv_heads
        rows = self.head_dim * (queries + 2)
        columns = self.head_dim * queries
        return self.hidden_size * (rows + columns) + rows * self.qkv_bias

    @property
    def neuron_params(self) -> int:
        """Parameters that go when one MLP neuron goes."""
        into = 2 if self.gated_mlp else 1
        return self.hidden_size * (into + 1) + into * self.mlp_bias

    @property
    def fixed_block_params(self) -> int:
        """Parameters of a block that pruning cannot remove: norms, output biases."""
        outputs = int(self.output_bias) + int(self.mlp_bias)
        return self.norm_params + self.hidden_size * outputs

    @property
    def block_params(self) -> int:
        """Parameters of one block."""
        return (
            self.num_kv_heads * self.group_params
            + self.intermediate_size * self.neuron_params
            + self.fixed_block_params
        )

    def lora_params(self, rank: int, targets: LoraTargets = "attention") -> int:
        """Parameters of one block's LoRA factors of a rank on some of its matrices."""
        return sum(self.lora_tensors(rank, targets))

    def lora_tensors(self, rank: int, targets: LoraTargets) -> tuple[int, ...]:
        """Sizes of one block's LoRA factors, tensor by tensor."""
        sizes = self.matrix_sizes
        if targets == "attention":
            fused = self.model_type == "gpt2"
            sizes = sizes[:1] if fused else (sizes[0], sizes[2])
        return tuple(rank * size for pair in sizes for size in pair)

    @property
    def tensors(self) -> tuple[int, ...]:
        """Sizes of one block's parameters, tensor by tensor."""
        fused, hidden = self.model_type == "gpt2", self.hidden_size
        into = [out for _, out in self.matrix_sizes[:-2]]
        qkv, mlp = (into[:1], into[1:]) if fused else (into[:3], into[3:])
        norms, rest = divmod(self.norm_params, hidden)
        return (
            *(size * out for size, out in self.matrix_sizes),
            *(qkv if self.qkv_bias else ()),
            *((hidden,) if self.output_bias else ()),
            *((*mlp, hidden) if self.mlp_bias else ()),
            *(hidden for _ in range(norms)),
            *((rest // 2, rest // 2) if rest else ()),  # of queries and of keys
        )

    def head_lora_params(self, rank: int) -> int:
        """Parameters of LoRA factors on the LM head."""
        return rank * (self.hidden_size + self.vocab_size)

    @property
    def matrix_sizes(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of every matrix of a block; GPT-2 fuses q, k and v."""
        hidden, neurons = self.hidden_size, self.intermediate_size
        width, key_value = (
            heads * self.head_dim for heads in (self.num_heads, self.num_kv_heads)
        )
        fused = self.model_type == "gpt2"
        into = [width + 2 * key_value] if fused else [width, key_value, key_value]
        into += [neurons] * (2 if self.gated_mlp else 1)
        outputs = ((width, hidden), (neurons, hidden))
        return (*((hidden, size) for size in into), *outputs)

    @property
    def embedding_params(self) -> int:
        """Parameters of embeddings, final norm and (if untied) the LM head."""
        tables = 1 if self.tied_head else 2
        return (
            tables * self.vocab_size * self.hidden_size
            + self.position_params
            + self.final_norm_params
        )

    @property
    def total_params(self) -> int:
        """Parameters of the whole model."""
        return self.num_blocks * self.block_params + self.embedding_params

    def block_forward_flops(self, num_sequences: int, seq_len: int) -> int:
        """Forward FLOPs of one block, 2 per multiply-add: c_f."""
        width = self.num_heads * self.head_dim
        key_value = self.num_kv_heads * self.head_dim
        mlp = (3 if self.gated_mlp else 2) * self.intermediate_size
        matrices = self.hidden_size * (2 * width + 2 * key_value + mlp)
        attention = 2 * width * seq_len  # scores and their product with the values
        return 2 * num_sequences * seq_len * (matrices + attention)

    def head_forward_flops(self, num_tokens: int) -> int:
        """Forward FLOPs of the LM head on `num_tokens` positions: c_h."""
        return 2 * self.hidden_size * self.vocab_size * num_tokens

    def activation_bytes(
        self, num_blocks: int, num_sequences: int, seq_len: int
    ) -> int:
        """Activations kept for the gradient of blocks (Korthikanti et al. 2022)."""
        per_token = 34 * self.hidden_size + 5 * self.num_heads * seq_len
        return num_blocks * num_sequences * seq_len * per_token

    def state_bytes(self, num_tokens: int, kept_as: str) -> int:
        """Frozen blocks' output as it is kept: fp32, bf16 or int8."""
        scale = 4 if kept_as == "int8" else 0  # one of fp32 for each token
        width = {"fp32": 4, "bf16": 2, "int8": 1}[kept_as]
        return num_tokens * (width * self.hidden_size + scale)

    def logit_bytes(self, num_tokens: int) -> int:
        """Logits, softmax and their gradient in fp32."""
        return 12 * num_tokens * self.vocab_size

    @classmethod
    def from_config(cls, config: Mapping[str, Any], name: str) -> "ModelShape":
        """Read the shape off a Hugging Face ``config.json``.

        Raises
        ------
        InputError
            If the architecture is not in the table, a key is missing, or a value is
            wrong.
        """
        shape = cls(name=name, **shape_fields(config, name))
        if shape.total_params > LARGEST_MODEL:
            raise InputError(
                f"the config of {name} makes a model of {shape.total_params:.1e} "
                f"parameters; one of its sizes is wrong."
            )
        return shape


def _named_gpt2(name: str, blocks: int, hidden: int, heads: int) -> ModelShape:
    sizes = {"n_layer": blocks, "n_embd": hidden, "n_head": heads}
    return ModelShape.from_config({"model_type": "gpt2", **sizes}, name)


def _named_smollm2(
    name: str, blocks: int, hidden: int, mlp: int, heads: int, kv: int
) -> ModelShape:
    config = {
        "model_type": "llama",
        "num_hidden_layers": blocks,
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    }
    return ModelShape.from_config(config, name)


SHAPES: dict[str, ModelShape] = {
    shape.name: shape
    for shape in (
        _named_gpt2("gpt2", 12, 768, 12),
        _named_gpt2("gpt2-medium", 24, 1024, 16),
        _named_gpt2("gpt2-large", 36, 1280, 20),
        _named_gpt2("gpt2-xl", 48, 1600, 25),
        _named_smollm2("smollm2-135m", 30, 576, 1536, 9, 3),
        _named_smollm2("smollm2-360m", 32, 960, 2560, 15, 5),
    )
}
"""Shapes known by name, so that a plan needs neither the hub nor torch."""
