"""A pruned model in its architecture's own shapes: what is cut away is zeros instead.

A head whose values and output columns are zeros, and a neuron whose weights are, add
nothing to the residual stream: the logits are those of the cut model, and a stock
config describes the folder. It is no smaller and no faster than the unpruned one.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trimwave.base.errors import InputError
from trimwave.lm.surgery.blocks import cut_width, rebuilt, unit_indices
from trimwave.lm.surgery.ranking import KeptSet
from trimwave.lm.surgery.split import SplitModel


def padded_emulator(split: SplitModel, kept: KeptSet) -> nn.ModuleList:
    """Copy the emulator with zeros for the units outside `kept`; shapes stay.

    Parameters
    ----------
    split : SplitModel
        With the unpruned emulator.
    kept : KeptSet
        What stays; a block that is gone is left out.

    Raises
    ------
    InputError
        If blocks are gone and the architecture scales attention by the block's number.
    """
    gone = len(kept.blocks) < len(split.emulator)
    if gone and getattr(split.shell.config, "scale_attn_by_inverse_layer_idx", False):
        raise InputError(
            "the model scales attention by the block's number "
            "(`scale_attn_by_inverse_layer_idx`), so its config cannot describe it "
            "with blocks left out; leave --pruned out."
        )
    return nn.ModuleList(_padded(split, kept, block) for block in kept.blocks).eval()


def _padded(split: SplitModel, kept: KeptSet, block: int) -> nn.Module:
    shape, cuts = split.shape, {cut.path: cut for cut in split.arch.cuts}
    groups, neurons = kept.groups[block], kept.neurons[block]
    parameters = {}
    for path, parameter in split.emulator[block].named_parameters():
        value = parameter.detach().clone()
        if path in cuts:
            cut = cuts[path]
            whole = cut_width(
                cut.kind, shape, shape.num_kv_heads, shape.intermediate_size
            )
            stays = unit_indices(cut.kind, shape, groups, neurons)
            _zero(value, cut.axis, np.setdiff1d(np.arange(whole), stays))
        parameters[path] = nn.Parameter(value, requires_grad=False)
    copied: Any = rebuilt(split.emulator[block], parameters)
    return copied


def _zero(value: Tensor, axis: int, rows: np.ndarray) -> None:
    index = torch.as_tensor(rows, dtype=torch.long, device=value.device)
    value.index_fill_(axis, index, 0.0)
