"""A pruned model as a Hugging Face folder that ``AutoModelForCausalLM`` reads.

Blocks of a pruned model differ in width, which no stock config can say. For each
architecture there is a config with three more lists and a model that cuts its blocks
to them before weights are loaded; importing this registers both with transformers.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from trimwave.base.errors import InputError, one_line
from trimwave.base.receipt import RECEIPT, read_receipt, write_receipt
from trimwave.lm.surgery.blocks import ARCHITECTURES, cut_block
from trimwave.lm.surgery.prune import prune_emulator
from trimwave.lm.surgery.ranking import KeptSet
from trimwave.lm.surgery.split import SplitModel, block_sources, config_for
from trimwave.model.config_file import CONFIG, read_config
from trimwave.model.config_keys import PRUNED_PREFIX
from trimwave.model.shape import ModelShape


@dataclass(kw_only=True)
class _KeptCounts:
    """What a pruned config says on top, one entry per block that is left."""

    kept_groups: list[int] | None = None
    kept_neurons: list[int] | None = None
    source_blocks: list[int] | None = None


class _CutBlocks:
    """Mixin before a causal LM class: cuts its blocks to the config's counts."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        model_type = config.model_type.removeprefix(PRUNED_PREFIX)
        arch = ARCHITECTURES[model_type]
        fields = {**config.to_dict(), "model_type": model_type}
        shape = ModelShape.from_config(fields, config.model_type)
        blocks = getattr(getattr(self, arch.base), arch.blocks)
        for i, (groups, neurons, source) in enumerate(
            zip(
                config.kept_groups,
                config.kept_neurons,
                config.source_blocks,
                strict=True,
            )
        ):
            attention = blocks[i].get_submodule(arch.attention)
            if getattr(attention, "scale_attn_by_inverse_layer_idx", False):
                attention.scaling *= (i + 1) / (source + 1)
            blocks[i] = cut_block(
                blocks[i], arch, shape, np.arange(groups), np.arange(neurons)
            ).requires_grad_(True)


def _register(model_type: str, config_class: type, model_class: type) -> type:
    """Make and register the pruned config and model of one architecture."""
    stem = "Trimwave" + model_type.capitalize()
    pruned_config = type(
        f"{stem}Config",
        (_KeptCounts, config_class),
        {"model_type": PRUNED_PREFIX + model_type, "__module__": __name__},
    )
    pruned_model = type(
        f"{stem}ForCausalLM",
        (_CutBlocks, model_class),
        {"config_class": pruned_config, "__module__": __name__},
    )
    transformers.AutoConfig.register(PRUNED_PREFIX + model_type, pruned_config)
    transformers.AutoModelForCausalLM.register(pruned_config, pruned_model)
    return pruned_model


_PRUNED_MODELS: dict[str, Any] = {
    model_type: _register(model_type, *classes)
    for model_type, classes in {
        "gpt2": (transformers.GPT2Config, transformers.GPT2LMHeadModel),
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    }.items()
}


def save_pruned(
    split: SplitModel, kept: KeptSet, folder: Path, tokenizer: Any = None
) -> None:
    """Write the whole model with a pruned emulator as a Hugging Face folder.

    Parameters
    ----------
    split : SplitModel
        With the unpruned emulator and the adapter to save.
    kept : KeptSet
        What the emulator keeps.
    folder : Path
        Made if need be.
    tokenizer : PreTrainedTokenizer, optional
        Saved beside the weights.

    Raises
    ------
    InputError
        If the emulator was pruned already, or the adapter's parameters are not
        those of the architecture (merge LoRA first).
    """
    arch = split.arch
    blocks = nn.ModuleList([*prune_emulator(split, kept), *split.adapter])
    config = _pruned_config(split, kept, blocks)
    with torch.device("meta"):
        model = _PRUNED_MODELS[split.shape.model_type](config)
    expected = {name: value.shape for name, value in model.named_parameters()}
    base, shell_base = getattr(model, arch.base), getattr(split.shell, arch.base)
    base._modules = {**shell_base._modules, arch.blocks: blocks}
    setattr(model, arch.head, getattr(split.shell, arch.head))
    found = {name: value.shape for name, value in model.named_parameters()}
    if found != expected:
        odd = sorted(set(found.items()) ^ set(expected.items()))[0][0]
        raise InputError(
            f"cannot save the model: parameter `{odd}` does not fit "
            f"{split.shape.model_type}; merge LoRA into the adapter first."
        )
    model.generation_config = copy.deepcopy(split.shell.generation_config)
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    weights = [file.name for file in Path(folder).glob("*.safetensors*")]
    write_receipt(Path(folder), {}, [CONFIG, *weights])


def _pruned_config(split: SplitModel, kept: KeptSet, blocks: nn.ModuleList) -> Any:
    """Config of the whole pruned model; adapter blocks are full."""
    sources = block_sources(blocks, split.arch)
    fields = config_for(split.shell.config, sources).to_dict()
    for key in ("model_type", "architectures", "transformers_version"):
        fields.pop(key, None)
    full = len(split.adapter)
    config_class = _PRUNED_MODELS[split.shape.model_type].config_class
    return config_class(
        **fields,
        kept_groups=[len(kept.groups[b]) for b in kept.blocks]
        + [split.shape.num_kv_heads] * full,
        kept_neurons=[len(kept.neurons[b]) for b in kept.blocks]
        + [split.shape.intermediate_size] * full,
        source_blocks=sources,
    )


def load_pruned(folder: Path) -> Any:
    """Load what `save_pruned` wrote, in the dtype it was saved in.

    A model that was saved elsewhere since then has no receipt of ours beside it, and
    is read as it is.

    Raises
    ------
    InputError
        If the folder holds no pruned model, or one whose files do not fit together.
    DamagedError
        If a file is not what `save_pruned` wrote.
    """
    folder = Path(folder)
    model_type = read_config(folder, str(folder)).get("model_type", "")
    if not str(model_type).startswith(PRUNED_PREFIX):
        raise InputError(
            f"the model in {folder} is of type `{one_line(model_type)}`, not pruned by "
            "trimwave; load it with AutoModelForCausalLM."
        )
    if (folder / RECEIPT).exists():
        read_receipt(folder)
    try:
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype="auto", use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # transformers raises classes of any library
        raise InputError(
            f"could not load the pruned model in {folder} ({type(error).__name__}: "
            f"{one_line(error)}); copy its files again."
        ) from error
    problems = ("missing_keys", "unexpected_keys", "mismatched_keys")
    if odd := [str(key) for problem in problems for key in report[problem]]:
        raise InputError(
            f"the weights in {folder} are not those of its config: "
            f"{one_line(', '.join(sorted(odd)[:3]))}; copy its files again."
        )
    return model
