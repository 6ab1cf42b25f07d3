"""Where each architecture keeps its parts, and which parameters pruning cuts.

The unit of attention pruning is a key/value head with the query heads that read it
(a group; one head where every head has its own keys); of the MLP, a neuron.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from trimwave.base.errors import InputError, nearest
from trimwave.base.units import IntArray
from trimwave.model.shape import ModelShape

Module = TypeVar("Module", bound=nn.Module)

Kind = Literal["query", "key_value", "fused_qkv", "neuron"]


@dataclass(frozen=True, slots=True)
class Cut:
    """One parameter that loses rows or columns."""

    path: str
    """Inside the block; a bias that the config leaves out is no error."""
    axis: int
    """The axis that the units lie along."""
    kind: Kind
    """How the units lie along it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """Names of the parts of one family of models."""

    base: str
    """The model without its head, inside the causal LM."""
    blocks: str
    """List of blocks, inside the base."""
    embedding: str
    """Token embedding, inside the base."""
    positions: str | None
    """Learned position embedding, inside the base."""
    embedding_dropout: str | None
    """Dropout after the embeddings, inside the base."""
    final_norm: str
    """Norm before the head, inside the base."""
    head: str
    """LM head, inside the causal LM."""
    attention: str
    """Attention, inside a block; carries `layer_idx`."""
    attention_output: str
    """Its output projection, inside a block: attention masks go at its input."""
    mlp_output: str
    """The MLP's second matrix, inside a block: neuron masks go at its input."""
    cuts: tuple[Cut, ...]
    """What pruning cuts."""
    widths: tuple[tuple[str, str, Literal["heads", "query", "neuron"]], ...]
    """(module, attribute, what it counts): sizes that a module also holds as ints."""

    @property
    def has_inputs_first(self) -> bool:
        """Whether matrices are [in, out], as Conv1D holds them, and not [out, in]."""
        path = f"{self.mlp_output}.weight"
        return any(cut.axis == 0 for cut in self.cuts if cut.path == path)


_GPT2 = Architecture(
    base="transformer",
    blocks="h",
    embedding="wte",
    positions="wpe",
    embedding_dropout="drop",
    final_norm="ln_f",
    head="lm_head",
    attention="attn",
    attention_output="attn.c_proj",
    mlp_output="mlp.c_proj",
    cuts=(  # Conv1D holds its weight as [in, out]
        Cut("attn.c_attn.weight", 1, "fused_qkv"),
        Cut("attn.c_attn.bias", 0, "fused_qkv"),
        Cut("attn.c_proj.weight", 0, "query"),
        Cut("mlp.c_fc.weight", 1, "neuron"),
        Cut("mlp.c_fc.bias", 0, "neuron"),
        Cut("mlp.c_proj.weight", 0, "neuron"),
    ),
    widths=(("attn", "num_heads", "heads"), ("attn", "split_size", "query")),
)

_LLAMA = Architecture(
    base="model",
    blocks="layers",
    embedding="embed_tokens",
    positions=None,
    embedding_dropout=None,
    final_norm="norm",
    head="lm_head",
    attention="self_attn",
    attention_output="self_attn.o_proj",
    mlp_output="mlp.down_proj",
    cuts=(  # Linear holds its weight as [out, in]
        Cut("self_attn.q_proj.weight", 0, "query"),
        Cut("self_attn.q_proj.bias", 0, "query"),
        Cut("self_attn.k_proj.weight", 0, "key_value"),
        Cut("self_attn.k_proj.bias", 0, "key_value"),
        Cut("self_attn.v_proj.weight", 0, "key_value"),
        Cut("self_attn.v_proj.bias", 0, "key_value"),
        Cut("self_attn.o_proj.weight", 1, "query"),
        Cut("mlp.gate_proj.weight", 0, "neuron"),
        Cut("mlp.gate_proj.bias", 0, "neuron"),
        Cut("mlp.up_proj.weight", 0, "neuron"),
        Cut("mlp.up_proj.bias", 0, "neuron"),
        Cut("mlp.down_proj.weight", 1, "neuron"),
    ),
    widths=(("mlp", "intermediate_size", "neuron"),),
)

ARCHITECTURES: Mapping[str, Architecture] = {
    "gpt2": _GPT2,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
}
"""By the config's `model_type`."""


def architecture_of(model: PreTrainedModel) -> Architecture:
    """Return where the parts of a Hugging Face causal LM are.

    Raises
    ------
    InputError
        If the model's `model_type` is not in the table, or it has no LM head.
    """
    model_type = str(model.config.model_type)
    if model_type not in ARCHITECTURES:
        raise InputError(
            f"cannot prune a model of type `{model_type}`; "
            f"{nearest(model_type, ARCHITECTURES)}"
        )
    arch = ARCHITECTURES[model_type]
    if getattr(model.config, "add_cross_attention", False):
        raise InputError("cannot prune a model with cross-attention; it is no decoder.")
    if not (hasattr(model, arch.base) and hasattr(model, arch.head)):
        raise InputError(
            f"`{type(model).__name__}` is no causal LM with parts `{arch.base}` and "
            f"`{arch.head}`; load it with AutoModelForCausalLM."
        )
    return arch


def shape_of(model: PreTrainedModel, name: str | None = None) -> ModelShape:
    """Read the shape off a Hugging Face model; `name` is by default its type."""
    config = model.config.to_dict()
    return ModelShape.from_config(config, name or str(config["model_type"]))


def unit_indices(
    kind: Kind,
    shape: ModelShape,
    groups: IntArray,
    neurons: IntArray,
) -> IntArray:
    """Expand kept groups and neurons to rows or columns of a parameter.

    Parameters
    ----------
    kind : {"query", "key_value", "fused_qkv", "neuron"}
        How units lie along the axis; "fused_qkv" is all queries, keys, values in turn.
    shape : ModelShape
        Of the unpruned model.
    groups, neurons : int arrays
        Kept units of one block.
    """
    if kind == "neuron":
        return neurons
    heads = 1 if kind == "key_value" else shape.num_heads // shape.num_kv_heads
    width = heads * shape.head_dim
    rows = (groups[:, None] * width + np.arange(width)).reshape(-1)
    if kind == "fused_qkv":
        parts = np.arange(3)[:, None] * shape.num_heads * shape.head_dim
        return (parts + rows).reshape(-1)
    return rows


def cut_block(
    block: nn.Module,
    arch: Architecture,
    shape: ModelShape,
    groups: IntArray,
    neurons: IntArray,
) -> nn.Module:
    """Copy a block, keeping some groups and neurons; no weight is shared.

    Parameters
    ----------
    block : Module
        Unpruned; not changed.
    arch, shape : Architecture, ModelShape
        Of its model.
    groups, neurons : int arrays, ascending
        What to keep.

    Returns
    -------
    Module
        Frozen, of the residual width and dtype of `block`.
    """
    cuts = {cut.path: cut for cut in arch.cuts}
    parameters = {}
    for path, parameter in block.named_parameters():
        value = parameter.detach()
        if path in cuts:
            cut = cuts[path]
            index = unit_indices(cut.kind, shape, groups, neurons)
            rows = torch.as_tensor(index, device=value.device)
            value = value.index_select(cut.axis, rows)
        else:
            value = value.clone()
        parameters[path] = nn.Parameter(value, requires_grad=False)
    copied = rebuilt(block, parameters)
    correct_widths(copied, arch, shape, len(groups), len(neurons))
    return copied


def rebuilt(module: Module, parameters: Mapping[str, nn.Parameter]) -> Module:
    """Copy a module's structure, with other parameters where they are given.

    What is not given stays shared, and so do buffers and the config. Far cheaper than
    `copy.deepcopy`, which walks the config and every tensor.
    """
    copied = _hollow(module)
    for path, parameter in parameters.items():
        owner, _, name = path.rpartition(".")
        copied.get_submodule(owner)._parameters[name] = parameter
    return copied


def _hollow(module: Module) -> Module:
    copied = module.__new__(type(module))
    copied.__dict__.update(
        (name, value.copy() if isinstance(value, dict | set) else value)
        for name, value in vars(module).items()
    )
    copied._modules.update(
        (name, None if child is None else _hollow(child))
        for name, child in module._modules.items()
    )
    return copied


def cut_width(kind: Kind, shape: ModelShape, num_groups: int, num_neurons: int) -> int:
    """Return how many rows or columns a parameter has with so many units."""
    if kind == "neuron":
        return num_neurons
    heads = 1 if kind == "key_value" else shape.num_heads // shape.num_kv_heads
    parts = 3 if kind == "fused_qkv" else 1
    return parts * num_groups * heads * shape.head_dim


def correct_widths(
    block: nn.Module,
    arch: Architecture,
    shape: ModelShape,
    num_groups: int,
    num_neurons: int,
) -> None:
    """Bring the sizes that modules hold as ints in line with their parameters."""
    for path in {cut.path.rpartition(".")[0] for cut in arch.cuts}:
        module: Any = block.get_submodule(path)
        if isinstance(module, Conv1D):
            module.nx, module.nf = module.weight.shape
        else:
            assert isinstance(module, nn.Linear), type(module)
            module.out_features, module.in_features = module.weight.shape
    heads = num_groups * (shape.num_heads // shape.num_kv_heads)
    sizes = {
        "heads": heads,
        "query": heads * shape.head_dim,
        "neuron": num_neurons,
    }
    for path, attribute, what in arch.widths:
        setattr(block.get_submodule(path), attribute, sizes[what])
