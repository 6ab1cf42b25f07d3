"""Quantised frozen weights, and the low-rank terms that make up for it, FedQLoRA."""

from typing import Any

import torch
from torch import Tensor

from trimwave.errors import InputError, MissingExtraError

BLOCK_VALUES = {4: 64, 8: 256}
"""Weights that share a scale; `costs.QUANTISED_BITS` charges for the scales."""


def quantiser() -> Any:
    """Return the library that quantises.

    Raises
    ------
    MissingExtraError
        If bitsandbytes is not installed.
    """
    try:
        from bitsandbytes import functional
    except ModuleNotFoundError as missing:
        raise MissingExtraError("quant", str(missing.name)) from missing
    return functional


def quantised(weight: Tensor, bits: int) -> Tensor:
    """Round a matrix to NF4 or 8-bit blocks and back, through bitsandbytes.

    Raises
    ------
    MissingExtraError
        If bitsandbytes is not installed.
    InputError
        If it has no kernel for this device.
    """
    functional = quantiser()
    # Blocks of values must not depend on how the tensor lies in memory.
    value, size = weight.detach().float().contiguous(), BLOCK_VALUES[bits]
    try:
        if bits == 4:
            packed, state = functional.quantize_4bit(
                value, blocksize=size, quant_type="nf4"
            )
            restored: Tensor = functional.dequantize_4bit(packed, state)
        else:
            packed, state = functional.quantize_blockwise(value, blocksize=size)
            restored = functional.dequantize_blockwise(packed, state)
    except (RuntimeError, NotImplementedError, ValueError) as error:
        raise InputError(
            f"bitsandbytes cannot quantise to {bits} bits on {weight.device.type}: "
            f"{error}; set `fedqlora:bits=16`, or another `train.device`."
        ) from error
    return restored.reshape(weight.shape).to(weight.dtype)


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
