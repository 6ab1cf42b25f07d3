"""Local fine-tuning of the adapter over a frozen emulator, eq. (3)."""

import contextlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from trimwave.config import TrainConfig
from trimwave.errors import InputError
from trimwave.lm.encode import IGNORED, Batch
from trimwave.lm.split import SplitModel

LORA_TARGETS = {"gpt2": ["c_attn"]}
LORA_TARGETS_ELSEWHERE = ["q_proj", "v_proj"]
"""PEFT's own defaults for these architectures."""


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
    adapter: nn.ModuleList, config: TrainConfig, model_type: str, seed: int
) -> None:
    """Put LoRA factors on the adapter's attention, in place, through PEFT."""
    from peft import LoraConfig, inject_adapter_in_model

    targets = LORA_TARGETS.get(model_type, LORA_TARGETS_ELSEWHERE)
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=0.0,
        target_modules=targets,
        fan_in_fan_out=model_type == "gpt2",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(lora, adapter)


def trained_parameters(adapter: nn.ModuleList) -> dict[str, nn.Parameter]:
    """Return what trains, by its path in the adapter."""
    return {
        name: parameter
        for name, parameter in adapter.named_parameters()
        if parameter.requires_grad
    }


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
    split: SplitModel, batches: Iterable[Batch], config: TrainConfig, seed: int
) -> float:
    """Run local steps on the adapter, in place; the optimiser starts afresh.

    Returns
    -------
    float
        Mean loss per answer token over all steps.
    """
    device = next(split.adapter.parameters()).device
    trained = list(trained_parameters(split.adapter).values())
    optimizer = torch.optim.AdamW(
        trained, lr=config.learning_rate, weight_decay=config.weight_decay
    )
    split.adapter.train()
    total, count = 0.0, 0
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)  # dropout, where the model has any
        for batch in batches:
            labels = batch.labels.to(device)
            with precision(config, device):
                features = split.features(batch.input_ids.to(device))
                loss, answers = answer_loss(split, features, labels)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss / answers)
            nn.utils.clip_grad_norm_(trained, config.max_grad_norm)
            optimizer.step()
            total, count = total + float(loss.detach()), count + answers
    return total / count
