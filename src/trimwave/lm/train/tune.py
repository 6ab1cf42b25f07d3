"""Local fine-tuning of the adapter over a frozen emulator, eq. (3)."""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from trimwave.base.errors import InputError
from trimwave.lm.data.encode import IGNORED, Batch
from trimwave.lm.source.others import quiet_bitsandbytes
from trimwave.lm.surgery.split import SplitModel
from trimwave.lm.wire.ledger import trained_parameters
from trimwave.model.submodel import Submodel
from trimwave.recipe.config import TrainConfig

ATTENTION = {"gpt2": ["c_attn"]}
ATTENTION_ELSEWHERE = ["q_proj", "v_proj"]
"""PEFT's own defaults for these architectures."""

ALL_LINEAR = "all-linear"
"""PEFT's word for every matrix."""


def pick_device(name: str) -> torch.device:
    """Turn `train.device` into a device.

    Raises
    ------
    InputError
        If the device does not exist here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.empty(0, device=name).device
        if device.type == "meta":
            raise RuntimeError("it holds no numbers")
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"`train.device` = {name!r} cannot be used here: {error}; set `auto`."
        ) from None
    return device


def precision(config: TrainConfig, device: torch.device) -> Any:
    """Return the autocast context of the configured precision."""
    half = config.precision == "bf16"
    if config.precision == "auto":
        half = device.type == "cuda"
    if not half:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def add_lora(
    blocks: nn.ModuleList, submodel: Submodel, model_type: str, seed: int
) -> None:
    """Put the LoRA factors of a sub-model on blocks, in place, through PEFT."""
    targets: list[str] | str = ALL_LINEAR
    if submodel.lora_targets == "attention":
        targets = ATTENTION.get(model_type, ATTENTION_ELSEWHERE)
    _inject(blocks, targets, submodel, seed, fan_in_fan_out=model_type == "gpt2")


def head_with_lora(head: nn.Module, submodel: Submodel, seed: int) -> nn.Module:
    """Return an LM head with LoRA factors; its weight is shared, not copied."""
    holder = nn.ModuleDict({"head": head})
    _inject(holder, ["head"], submodel, seed, fan_in_fan_out=False)
    return holder["head"]


def _inject(
    blocks: nn.Module,
    targets: list[str] | str,
    submodel: Submodel,
    seed: int,
    fan_in_fan_out: bool,
) -> None:
    with quiet_bitsandbytes():
        from peft import LoraConfig, inject_adapter_in_model

    lora = LoraConfig(
        r=submodel.lora_rank,
        lora_alpha=submodel.lora_alpha,
        lora_dropout=0.0,
        target_modules=targets,
        fan_in_fan_out=fan_in_fan_out,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(lora, blocks)


def answer_loss(
    split: SplitModel, features: Tensor, labels: Tensor
) -> tuple[Tensor, int]:
    """Sum of cross-entropies at answer positions, and how many there are.

    The LM head runs at those positions only.
    """
    targets = labels[:, 1:]
    answers = targets != IGNORED
    logits = split.logits(split.hidden(features)[:, :-1][answers])
    loss = nn.functional.cross_entropy(
        logits.float(), targets[answers], reduction="sum"
    )
    return loss, int(answers.sum())


def fine_tune(
    split: SplitModel,
    batches: Iterable[Batch],
    config: TrainConfig,
    seed: int,
    *,
    learning_rate: float | None = None,
    penalty: Callable[[], Tensor] | None = None,
    features_of: Callable[[Batch], Tensor] | None = None,
) -> float:
    """Run local steps on what trains, in place; the optimiser starts afresh.

    Parameters
    ----------
    split : SplitModel
        What trains in it requires gradients.
    batches : iterable of Batch
        One per step.
    config : TrainConfig
        Optimiser settings and precision.
    seed : int
        Of dropout, where the model has any.
    learning_rate : float, optional
        AdamW step size; the config's for full weights if not given.
    penalty : callable, optional
        A term that is added to the loss of every step.
    features_of : callable, optional
        What the adapter reads of a batch; computed afresh if not given.

    Returns
    -------
    float
        Mean loss per answer token over all steps, the penalty left out.
    """
    device = split.device
    trained = list(trained_parameters(split).values())
    optimizer = torch.optim.AdamW(
        trained,
        lr=learning_rate or config.learning_rate,
        weight_decay=config.weight_decay,
    )
    split.adapter.train()
    total, count = 0.0, 0
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for batch in batches:
            labels = batch.labels.to(device)
            with precision(config, device):
                features = (
                    split.features(batch.input_ids.to(device))
                    if features_of is None
                    else features_of(batch)
                )
                loss, answers = answer_loss(split, features, labels)
            objective = loss / answers
            if penalty is not None:
                objective = objective + penalty()
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(objective)
            nn.utils.clip_grad_norm_(trained, config.max_grad_norm)
            optimizer.step()
            total, count = total + float(loss.detach()), count + answers
    return total / count
