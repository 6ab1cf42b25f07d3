"""Quantised frozen weights, and the low-rank terms that make up for it, FedQLoRA."""

from typing import Any

import torch
from torch import Tensor, nn

from trimwave.base.errors import InputError, MissingExtraError
from trimwave.lm.source.others import quiet_bitsandbytes

BLOCK_VALUES = {4: 64, 8: 256}
"""Weights that share a scale; `costs.QUANTISED_BITS` charges for the scales."""

SLACK = 1e-3
"""Rounding that is forgiven beside the format's own error, in parts of the scale."""

TINY = torch.finfo(torch.float32).tiny


def quantiser() -> Any:
    """Return the library that quantises.

    Raises
    ------
    MissingExtraError
        If bitsandbytes is not installed.
    """
    try:
        with quiet_bitsandbytes():
            from bitsandbytes import functional
    except ModuleNotFoundError as missing:
        raise MissingExtraError("quant", str(missing.name)) from missing
    return functional


def quantised(weight: Tensor, bits: int) -> Tensor:
    """Round a matrix to NF4 or 8-bit blocks and back, through bitsandbytes.

    A block is `BLOCK_VALUES` consecutive values of the flattened matrix, whatever its
    width: the kernels get one block per row, since bitsandbytes' for AVX-512 reads
    wrong scales where a row does not end with a block (seen in 0.50.2).

    Raises
    ------
    MissingExtraError
        If bitsandbytes is not installed.
    InputError
        If it has no kernel for this device, or one that is wrong on this machine.
    """
    functional = quantiser()
    size = BLOCK_VALUES[bits]
    value = weight.detach().float().flatten()
    # Zeros up to a whole block do not change the largest value, and so no scale.
    blocks = nn.functional.pad(value, (0, -value.numel() % size)).view(-1, size)
    try:
        if bits == 4:
            packed, state = functional.quantize_4bit(
                blocks, blocksize=size, quant_type="nf4"
            )
            restored: Tensor = functional.dequantize_4bit(packed, state)
        else:
            packed, state = functional.quantize_blockwise(blocks, blocksize=size)
            restored = functional.dequantize_blockwise(packed, state)
    except (RuntimeError, NotImplementedError, ValueError) as error:
        raise InputError(
            f"bitsandbytes cannot quantise to {bits} bits on {weight.device.type}: "
            f"{error}; set `fedqlora:bits=16`, or another `train.device`."
        ) from error
    _check_restored(blocks, restored, state.code, bits)
    return restored.flatten()[: value.numel()].view(weight.shape).to(weight.dtype)


def _check_restored(
    blocks: Tensor, restored: Tensor, levels: Tensor, bits: int
) -> None:
    """Raise where a value is farther from what it was than its format allows.

    Parameters
    ----------
    blocks, restored : [num_blocks, values per block]
        Before and after.
    levels : [2^bits]
        The numbers that the format knows, ascending, for a block whose largest value
        is 1. A value lies at most half the gap between its two neighbours away.
    """
    levels = levels.to(blocks)
    scale = blocks.abs().amax(1, keepdim=True)
    above = torch.searchsorted(levels, blocks / scale.clamp_min(TINY))
    above = above.clamp(1, len(levels) - 1)
    half_gap = (levels[above] - levels[above - 1]) / 2
    excess = (restored - blocks).abs() - (half_gap + SLACK) * scale
    if bool((excess <= 0).all()):
        return
    wrong = int((~(excess <= 0)).sum())
    raise InputError(
        f"bitsandbytes' {bits}-bit kernel is wrong on this {blocks.device.type}: "
        f"{wrong} of {blocks.numel()} values came back farther from what they were "
        "than the format allows; update bitsandbytes, or set `fedqlora:bits=16`, or "
        "another `train.device`."
    )


def low_rank(error: Tensor, rank: int) -> Tensor:
    """Return the nearest matrix of a rank: the truncated SVD, Eckart and Young 1936.

    Through the eigenvectors of the smaller Gram matrix, in double precision.
    """
    tall = error.shape[0] > error.shape[1]
    matrix = (error.T if tall else error).double()
    vectors = torch.linalg.eigh(matrix @ matrix.T).eigenvectors[:, -rank:]
    nearest = vectors @ (vectors.T @ matrix)
    return (nearest.T if tall else nearest).to(error.dtype)


def compensated(weight: Tensor, bits: int, rank: int) -> Tensor:
    """Return Q(W) + G, with G the rank-`rank` SVD of W - Q(W); W itself at 16 bits."""
    if bits == 16:
        return weight
    rounded = quantised(weight, bits)
    if not rank:
        return rounded
    return rounded + low_rank(weight.detach() - rounded, rank)
