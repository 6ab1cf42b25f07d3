"""A run's model in a folder that other programs read: merged, pruned, or factors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from trimwave.base.errors import InputError, RunError, one_line
from trimwave.base.receipt import DIGESTS
from trimwave.base.stored import share_files
from trimwave.lm.learnt import ADAPTER_FILE, Factors, factors_of, learnt_files
from trimwave.lm.plugged import alpha_of, plug_in, plug_in_all, trained_tensors
from trimwave.lm.server import EMULATOR_FILE
from trimwave.lm.session import check_same_facts
from trimwave.lm.source.models import load_model
from trimwave.lm.source.others import quiet_transformers
from trimwave.lm.surgery.blocks import architecture_of
from trimwave.lm.surgery.padded import padded_emulator
from trimwave.lm.surgery.split import (
    SplitModel,
    block_sources,
    config_for,
    split_model,
)
from trimwave.lm.wire.ledger import HEAD, is_factor
from trimwave.lm.workbench import build_workbench
from trimwave.methods import ask_scheme, parse_method
from trimwave.recipe.limits import limits_of
from trimwave.runs.chosen import Chosen, Exported
from trimwave.runs.inputs import BASE_MODEL, require_inputs

Say = Callable[[str], None]

DType = Literal["float32", "bfloat16", "float16"]


TIED = (
    "Factors are on the head, which is tied to the embedding: PEFT warns of that when "
    "it loads them, and its `merge_and_unload` would change the embedding too; for a "
    "merged model leave --adapter out."
)


def write_merged(chosen: Chosen, folder: Path, dtype: DType) -> Exported:
    """Write the original model with what was trained plugged in.

    Parameters
    ----------
    chosen : Chosen
        The round.
    folder : Path
        An empty one.
    dtype : {"float32", "bfloat16", "float16"}
        Of the weights; training has float32.

    Raises
    ------
    InputError
        If the base model cannot be had, or is not the run's any more.
    """
    model, _ = base_model(chosen)
    untied = plug_in_all(model, chosen.checkpoint, chosen.config.train)
    _save(model, chosen, folder, dtype)
    return Exported(kind="merged", notes=_notes(untied), losses={})


def write_adapter(chosen: Chosen, folder: Path) -> Exported:
    """Write the LoRA factors as PEFT does, for `PeftModel.from_pretrained`.

    Raises
    ------
    InputError
        If the run trained weights, or as `write_merged`.
    """
    from peft import LoraConfig
    from safetensors.torch import save

    tensors, alpha = _of_all_stages(chosen)
    factors = factors_of(tensors)
    if not factors or sum(len(pair) for pair in factors.values()) < len(tensors):
        raise InputError(
            f"{chosen.run.folder} trained weights, not LoRA factors, so there is no "
            "adapter that PEFT could load; leave --adapter out for the merged model."
        )
    model, _ = base_model(chosen)
    arch, named = architecture_of(model), {}
    for (part, module), pair in factors.items():
        place = (
            arch.head if part == HEAD else f"{arch.base}.{arch.blocks}.{part}.{module}"
        )
        for name, value in pair.items():
            named[f"base_model.model.{place}.{name}.weight"] = value.contiguous()
    facts = chosen.run.manifest["model"]
    config = LoraConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=_base_name(facts, model),
        revision=facts.get("commit"),
        r=next(iter(factors.values()))["lora_A"].shape[0],
        lora_alpha=alpha,
        lora_dropout=0.0,
        fan_in_fan_out=model.config.model_type == "gpt2",
        inference_mode=True,
        **_targets(factors, arch.base, arch.blocks, arch.head),
    )
    config.save_pretrained(str(folder))
    data = save(named, metadata={"format": "pt"})
    (folder / "adapter_model.safetensors").write_bytes(data)
    _copy_others(model, chosen, folder)
    tied = model.config.tie_word_embeddings and any(part == HEAD for part, _ in factors)
    return Exported(kind="adapter", notes=(TIED,) if tied else (), losses={})


def _of_all_stages(chosen: Chosen) -> tuple[dict[str, Tensor], float]:
    """Return what all stages have trained, and what scales it.

    Raises
    ------
    InputError
        If two stages have trained the same places, or with two ranks or alphas.
    """
    tensors: dict[str, Tensor] = {}
    scales: set[tuple[int, float]] = set()
    for path in learnt_files(chosen.checkpoint):
        own = trained_tensors(path)
        alpha = alpha_of(path, chosen.config.train)
        ranks = {one.shape[0] for name, one in own.items() if "lora_A" in name}
        scales |= {(rank, alpha) for rank in ranks}
        anew = len(scales) > 1 or not own.keys().isdisjoint(tensors)
        if anew and all(map(is_factor, own)):  # who asks has a word on weights
            raise InputError(
                f"{chosen.run.folder} trained LoRA factors anew in a later stage, so "
                "that no one adapter of PEFT is all of it; leave --adapter out for the "
                "merged model."
            )
        tensors |= own
    return tensors, alpha


def _targets(factors: Factors, base: str, blocks: str, head: str) -> dict[str, Any]:
    """Say in PEFT's words where factors sit."""
    numbers = sorted({int(part) for part, _ in factors if part != HEAD})
    modules = sorted(
        {path.rpartition(".")[2] for part, path in factors if part != HEAD}
    )
    if not any(part == HEAD for part, _ in factors):
        return {
            "target_modules": modules,
            "layers_to_transform": numbers,
            "layers_pattern": blocks,
        }
    inside = f"{base}\\.{blocks}\\.({'|'.join(map(str, numbers))})"
    return {"target_modules": f"({inside}\\..*\\.({'|'.join(modules)})|{head})"}


def write_pruned(
    chosen: Chosen,
    folder: Path,
    prune_rate: float,
    dtype: DType,
    say: Say = lambda line: None,
) -> Exported:
    """Write the trained blocks on the emulator pruned at a rate, in stock shapes.

    What is pruned away is zeros, so that the architecture's own config describes the
    folder. An emulator that the server aligned is taken as it was after the round.

    Raises
    ------
    InputError
        If the method has no emulator that is pruned at a rate; as `write_merged`.
    """
    config = chosen.config
    bench = build_workbench(config, say, warned=True)
    check_same_facts(chosen.run, bench.facts)
    method = parse_method(config.method, config.options)
    reference = ask_scheme(method, bench.costs, limits_of(config)).submodel
    border = bench.split.split_index
    if reference.kept_blocks is not None or reference.trained_blocks[0] != border:
        raise InputError(
            f"`{config.method}` has no emulator that is pruned at a rate; leave "
            "--pruned out for the whole model."
        )
    model = bench.split.joined()
    untied = plug_in_all(model, chosen.checkpoint, config.train)
    aligned = chosen.checkpoint / EMULATOR_FILE
    if aligned.exists():
        # Its factors, if it has any, are scaled like the adapter's.
        alpha = alpha_of(chosen.checkpoint / ADAPTER_FILE, config.train)
        plug_in(model, trained_tensors(aligned), alpha)
    split = split_model(model, border)
    size = bench.ranking.size_of(1 - prune_rate)
    kept = bench.ranking.kept(size)
    padded = split.with_emulator(padded_emulator(split, kept))
    loss = bench.evaluator.loss(padded)
    _save(_numbered(padded), chosen, folder, dtype)
    return Exported(
        kind="pruned",
        notes=(*_pruned_notes(bench.split, kept.blocks, size), *_notes(untied)),
        losses={"pruned": loss},
    )


def _pruned_notes(split: SplitModel, blocks: tuple[int, ...], size: int) -> list[str]:
    whole = split.split_index * split.shape.block_params
    rate = f"{1 - size / whole:.4f}"
    if gone := split.split_index - len(blocks):
        return [f"{gone} blocks are left out, {rate} of the lower blocks' parameters."]
    return [
        f"{rate} of the lower blocks' parameters are zeros, in the architecture's own "
        "shapes: any program loads it, and it is as large and as slow as the whole "
        "model."
    ]


def _notes(untied: bool) -> tuple[str, ...]:
    if not untied:
        return ()
    return (
        "The head has weights of its own: the base model's is tied to the embedding, "
        "and factors were trained on the head alone.",
    )


def _numbered(split: SplitModel) -> Any:
    """Return a split model in one piece, its blocks numbered as they follow."""
    blocks = [*split.emulator, *split.adapter]
    sources = block_sources(nn.ModuleList(blocks), split.arch)
    for number, block in enumerate(blocks):
        attention: Any = block.get_submodule(split.arch.attention)
        attention.layer_idx = number
    model = split.joined()
    model.config = config_for(model.config, sources)
    return model


def licence_on_hub(chosen: Chosen) -> str:
    """Return the licence of a base model that came from the hub; empty if not said."""
    from huggingface_hub import HfApi

    source = str(chosen.run.manifest["model"].get("source", ""))
    if not source.startswith("hub: "):
        return ""
    try:
        repository = source.removeprefix("hub: ")
        card = HfApi().model_info(repository, timeout=20).card_data
    except Exception:  # the hub raises classes of whichever HTTP library it is built on
        return ""
    return str(getattr(card, "license", None) or "")


def base_model(chosen: Chosen) -> tuple[Any, Any]:
    """Load the model that a run was begun with, and its tokenizer.

    Raises
    ------
    InputError
        If it cannot be had, or is another one by now.
    """
    require_inputs(chosen.run.folder, chosen.config, BASE_MODEL)
    model, tokenizer, facts = load_model(chosen.config.model.name)
    check_same_facts(chosen.run, {"model": facts})
    return model, tokenizer


def _base_name(facts: dict[str, Any], model: Any) -> str:
    """Return what PEFT finds the base model by: a repository, or a folder here."""
    source = str(facts.get("source", ""))
    if source.startswith("hub: "):
        return source.removeprefix("hub: ")
    return str(Path(model.name_or_path).absolute())


def _save(model: Any, chosen: Chosen, folder: Path, dtype: DType) -> None:
    try:
        with quiet_transformers():
            model.to(getattr(torch, dtype)).save_pretrained(str(folder))
        share_files(folder)
    except OSError:
        raise
    except Exception as error:  # safetensors has a class of its own for a full disk
        raise RunError(
            f"could not write the model ({type(error).__name__}: {one_line(error)}); "
            "nothing was kept of it; see that there is room, and export again."
        ) from error
    _copy_others(model, chosen, folder)


def _copy_others(model: Any, chosen: Chosen, folder: Path) -> None:
    """Copy the base model's other files, its tokenizer's, byte for byte."""
    source = Path(model.name_or_path)
    for name in chosen.run.manifest["model"][DIGESTS]:
        weights = ".safetensors" in name
        if not (weights or name == "config.json" or (folder / name).exists()):
            (folder / name).write_bytes((source / name).read_bytes())
