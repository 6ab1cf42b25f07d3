"""What a device can do, measured on it: training speed and free memory."""

import time
from dataclasses import replace

import psutil
import torch
from torch import nn

from trimwave.lm.kit import Kit, shell_tensors
from trimwave.lm.source.models import load_model
from trimwave.lm.surgery.split import SplitModel, split_model
from trimwave.lm.train.tune import answer_loss, precision
from trimwave.lm.wire.ledger import entry_of, parameters_of
from trimwave.methods import ask_scheme, parse_method
from trimwave.recipe.config import Config
from trimwave.recipe.limits import limits_of
from trimwave.recipe.situation import costs_from

STEPS = 3
"""Timed steps, after one that allocates; the fastest counts."""


def measure_device(kit: Kit, base: SplitModel) -> dict[str, float]:
    """Time a real training step of what this device trains.

    The step runs through the trained blocks and the head, without an emulator, at the
    recipe's batch size and length; its FLOPs are counted as a plan counts them.

    Returns
    -------
    dict
        ``speed_flops_per_s`` and ``memory_bytes``, what is free now.
    """
    train = kit.config.train
    split = base.with_emulator(nn.ModuleList())
    parameters = parameters_of(split)
    for name, value in parameters.items():
        # Small numbers, no zeros: what a device does with real weights.
        nn.init.constant_(value, 1e-3)
        part, kind, _ = entry_of(name)
        value.requires_grad_(kit.reference.trains(part, kind))
    device = split.device
    shape = train.batch_size, train.seq_len
    ids = torch.arange(shape[0] * shape[1], device=device).reshape(shape)
    ids = ids % split.shape.vocab_size
    taken_s = []
    for _ in range(1 + STEPS):
        started = time.perf_counter()
        with precision(train, device):
            loss, answers = answer_loss(split, split.features(ids), ids)
        torch.autograd.backward(loss / answers)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken_s.append(time.perf_counter() - started)
        for value in parameters.values():
            value.grad = None
    for value in parameters.values():
        value.requires_grad_(False)
    return {
        "speed_flops_per_s": _step_flops(kit, split) / min(taken_s[1:]),
        "memory_bytes": float(free_bytes(device)),
    }


def profile_here(config: Config) -> dict[str, float]:
    """Measure this machine as a client of a recipe's run.

    Raises
    ------
    InputError
        If the model or the method cannot be had.
    """
    model, tokenizer, _ = load_model(config.model.name, revision=config.model.revision)
    split = split_model(
        model, model.config.num_hidden_layers - config.model.adapter_blocks
    )
    method = parse_method(config.method, config.options)
    costs = costs_from(_charged_in_full(config), split.shape)
    scheme = ask_scheme(method, costs, limits_of(config))
    kit = Kit(
        config=config,
        reference=scheme.submodel,
        aligned=False,
        learning_rate=config.train.learning_rate,
        pad_id=int(tokenizer.pad_token_id),
        model_config=split.shell.config.to_dict(),
    )
    return measure_device(kit, kit.base(shell_tensors(split)))


def free_bytes(device: torch.device) -> int:
    """Return the memory that a training process can still have [byte]."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _step_flops(kit: Kit, split: SplitModel) -> float:
    """Count one step as `Costs.bill` does, with nothing kept of the emulator."""
    bare = replace(kit.reference, kept_fraction=0.0, emulator_params=0)
    costs = costs_from(_charged_in_full(kit.config), split.shape)
    return costs.bills([bare])[0].step_flops


def _charged_in_full(config: Config) -> Config:
    """Charge the head at all positions, where the timed step runs it."""
    return replace(config, model=replace(config.model, head="all"))
