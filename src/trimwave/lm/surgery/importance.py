"""How much each unit of the emulator matters; what pruning keeps longest."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from trimwave.base.errors import InputError, nearest
from trimwave.base.units import FloatArray
from trimwave.lm.surgery.blocks import Kind
from trimwave.lm.surgery.split import SplitModel
from trimwave.model.shape import ModelShape

Batches = Iterable[tuple[Tensor, Tensor]]

CRITERIA = ("fisher", "layer_drop", "magnitude", "random")
"""What `score` knows."""


@dataclass(frozen=True, eq=False, slots=True)
class Scores:
    """Importance of every unit of the emulator, larger = kept longer."""

    groups: FloatArray
    """Attention groups, [blocks, G]."""
    neurons: FloatArray
    """MLP neurons, [blocks, F]."""


@dataclass(frozen=True, eq=False, slots=True)
class BlockScores:
    """Importance of whole blocks, larger = kept longer."""

    blocks: FloatArray
    """[blocks]."""


def check_scores(scores: Scores | BlockScores, shape: ModelShape) -> None:
    """Raise InputError if scores do not fit the shape or are not finite."""
    if isinstance(scores, BlockScores):
        parts = [("blocks", scores.blocks, scores.blocks.shape[:1])]
    else:
        blocks = scores.groups.shape[0]
        parts = [
            ("groups", scores.groups, (blocks, shape.num_kv_heads)),
            ("neurons", scores.neurons, (blocks, shape.intermediate_size)),
        ]
    for name, array, expected in parts:
        if array.shape != expected or not array.size:
            raise InputError(
                f"scores of {name} of {shape.name} must have the shape {expected}, "
                f"got {array.shape}."
            )
        if not np.isfinite(array).all():
            bad = np.argwhere(~np.isfinite(array))[0].tolist()
            raise InputError(f"score {bad} of {name} must be finite, got a NaN or inf.")


def score(
    split: SplitModel,
    criterion: str,
    batches: Batches | None = None,
    rng: np.random.Generator | None = None,
) -> Scores | BlockScores:
    """Score the emulator by the criterion of that name.

    Parameters
    ----------
    split : SplitModel
        With the unpruned emulator.
    criterion : str
        One of `CRITERIA`.
    batches : iterable of (input_ids, labels)
        For "fisher".
    rng : numpy Generator
        For "random".

    Raises
    ------
    InputError
        If the name is not known, or what the criterion needs is not given.
    """
    if criterion == "fisher":
        if batches is None:
            raise InputError("criterion `fisher` needs `batches` of public text.")
        return fisher(split, batches)
    if criterion == "random":
        if rng is None:
            raise InputError("criterion `random` needs `rng`, a NumPy generator.")
        return random_scores(split, rng)
    if criterion == "magnitude":
        return magnitude(split)
    if criterion == "layer_drop":
        return layer_drop(split)
    raise InputError(
        f"no pruning criterion `{criterion}`; {nearest(criterion, CRITERIA)}"
    )


def fisher(split: SplitModel, batches: Batches) -> Scores:
    """Diagonal Fisher information of multiplicative masks of ones, Kwon et al. 2022.

    One mask per group at the input of the attention's output projection, one per
    neuron at the input of the MLP's second matrix; the model stays frozen, adapter
    and head are in place, dropout is off.

    Parameters
    ----------
    split : SplitModel
        With the unpruned emulator.
    batches : iterable of (input_ids [N, s], labels [N, s])
        Mini-batches; labels are aligned with input_ids (the shift is done here) and
        -100 where there is no loss.

    Returns
    -------
    Scores
        Sum over mini-batches of (d mean loss / d mask)^2.

    Raises
    ------
    InputError
        If there is no batch, or one without a label.
    """
    shape, device = split.shape, next(split.emulator.parameters()).device
    widths = (shape.num_kv_heads, shape.intermediate_size)
    sums = [np.zeros((split.split_index, width)) for width in widths]
    masks = [
        torch.ones(split.split_index, width, device=device, requires_grad=True)
        for width in widths
    ]
    count = 0
    with masked(split, masks), _evaluating(split.adapter):
        for count, (input_ids, labels) in enumerate(batches, start=1):
            loss = _loss(split, input_ids, labels, batch=count - 1)
            for total, gradient in zip(
                sums, torch.autograd.grad(loss, masks), strict=True
            ):
                total += gradient.double().square().cpu().numpy()
    if not count:
        raise InputError("`fisher` got no batches; give it at least one.")
    return Scores(*sums)


def _loss(split: SplitModel, input_ids: Tensor, labels: Tensor, batch: int) -> Tensor:
    targets = labels[:, 1:]
    labelled = targets != -100
    if not labelled.any():
        raise InputError(
            f"batch {batch} has no label: every position after the first is -100."
        )
    hidden = split.hidden(split.emulator_with_grad(input_ids))
    logits = split.logits(hidden[:, :-1][labelled])
    return nn.functional.cross_entropy(logits.float(), targets[labelled])


@contextlib.contextmanager
def masked(split: SplitModel, masks: list[Tensor]) -> Iterator[None]:
    """Multiply the inputs of every block's output projections by masks [blocks, U]."""
    handles = []
    for b, block in enumerate(split.emulator):
        for path, mask in zip(
            (split.arch.attention_output, split.arch.mlp_output), masks, strict=True
        ):
            # The block's row is taken inside the hook, once per forward pass.
            def scale(
                module: nn.Module,
                inputs: tuple[Tensor, ...],
                mask: Tensor = mask,
                row: int = b,
            ) -> Tensor:
                (x,) = inputs
                units = mask[row].to(x.dtype)
                grouped = x.reshape(*x.shape[:-1], len(units), -1)
                return (grouped * units[:, None]).reshape(x.shape)

            projection = block.get_submodule(path)
            handles.append(projection.register_forward_pre_hook(scale))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _evaluating(blocks: nn.ModuleList) -> Iterator[None]:
    modes = [(module, module.training) for module in blocks.modules()]
    blocks.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def magnitude(split: SplitModel) -> Scores:
    """Squared l2 norm of all weights and biases of each unit."""
    shape = split.shape
    groups = np.zeros((split.split_index, shape.num_kv_heads))
    neurons = np.zeros((split.split_index, shape.intermediate_size))
    for b, block in enumerate(split.emulator):
        parameters = dict(block.named_parameters())
        for cut in split.arch.cuts:
            if cut.path not in parameters:
                continue
            value = parameters[cut.path].detach().double().movedim(cut.axis, 0)
            rows = value.square().flatten(1).sum(1) if value.ndim > 1 else value**2
            units = neurons if cut.kind == "neuron" else groups
            units[b] += _per_unit(cut.kind, rows.cpu().numpy(), units.shape[1])
    return Scores(groups, neurons)


def _per_unit(kind: Kind, rows: FloatArray, num_units: int) -> FloatArray:
    """Sum what lies along a cut axis over the rows of each unit."""
    parts = 3 if kind == "fused_qkv" else 1
    return rows.reshape(parts, num_units, -1).sum(axis=(0, 2))


def random_scores(split: SplitModel, rng: np.random.Generator) -> Scores:
    """Draw importance per parameter uniformly: groups and neurons compete evenly."""
    shape, blocks = split.shape, split.split_index
    return Scores(
        rng.random((blocks, shape.num_kv_heads)) * shape.group_params,
        rng.random((blocks, shape.intermediate_size)) * shape.neuron_params,
    )


def layer_drop(split: SplitModel) -> BlockScores:
    """Score whole blocks so that drops spread evenly and the ends go last."""
    order = drop_order(split.split_index)
    scores = np.empty(split.split_index)
    scores[order] = np.arange(1, split.split_index + 1)
    return BlockScores(scores)


def drop_order(num_blocks: int) -> list[int]:
    """Order in which blocks go: each where the gaps and both ends press least.

    The pressure of a gap or an end falls with the cube of the distance; the last
    block goes last but one, the first block last.
    """
    order: list[int] = []
    left = list(range(1, num_blocks - 1))
    while left:
        gaps = [0, num_blocks - 1, *order]
        pressure = [sum(1 / abs(block - gap) ** 3 for gap in gaps) for block in left]
        order.append(left.pop(int(np.argmin(pressure))))
    return order + [num_blocks - 1, 0][-num_blocks:]
