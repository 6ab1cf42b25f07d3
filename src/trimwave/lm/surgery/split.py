"""A causal LM cut in two: a frozen emulator below, a trainable adapter above.

Both halves run through the model's own forward (masks, rotary tables and sliding
windows are transformers' business), on a shallow copy whose block list is replaced.
"""

import copy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trimwave.base.errors import InputError
from trimwave.lm.surgery.blocks import Architecture, architecture_of, shape_of
from trimwave.model.shape import ModelShape


class _NoPositions(nn.Module):
    """Stands in for a position embedding that the lower half has already added."""

    def forward(self, position_ids: Tensor) -> Tensor:
        # Integer zeros: they do not promote a half-precision sum.
        return torch.zeros_like(position_ids).unsqueeze(-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitModel:
    """Emulator (lower blocks), adapter (upper blocks), and what both share.

    Sequences are padded on the right and attention is causal, so that no position
    with a label ever sees padding: there is no attention mask.
    """

    shell: Any
    """The causal LM without its blocks: embeddings, final norm, head, config."""
    arch: Architecture
    """Where its parts are."""
    shape: ModelShape
    """Of the unpruned model."""
    split_index: int
    """Blocks of the unpruned emulator."""
    emulator: nn.ModuleList
    """Lower blocks, frozen; pruned or not."""
    adapter: nn.ModuleList
    """Upper blocks."""
    skeletons: dict[int, tuple[nn.Module, dict[str, nn.Parameter]]] = field(
        default_factory=dict, repr=False
    )
    """Blocks without weights by number, with their parameters; one dict for all copies
    of this model."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.adapter.parameters()).device

    def features(self, input_ids: Tensor) -> Tensor:
        """Embedding and emulator, without gradients.

        Parameters
        ----------
        input_ids : [N, s]
            Tokens, padded on the right.

        Returns
        -------
        features : [N, s, H]
            What the adapter reads.
        """
        with torch.no_grad():
            return self.emulator_with_grad(input_ids)

    def emulator_with_grad(self, input_ids: Tensor) -> Tensor:
        """Like `features`, with gradients for whatever hooks put into the emulator."""
        self.emulator.eval()
        return self._run(self.emulator, lower=True, input_ids=input_ids)

    def embedded(self, input_ids: Tensor) -> Tensor:
        """Embedding alone, without gradients: what block 0 reads, [N, s, H]."""
        with torch.no_grad():
            return self._run(nn.ModuleList(), lower=True, input_ids=input_ids)

    def through(self, block: nn.Module, features: Tensor) -> Tensor:
        """One frozen block, without gradients: [N, s, H] to [N, s, H]."""
        with torch.no_grad():
            return self._run(
                nn.ModuleList([block]).eval(),
                lower=False,
                normed=False,
                inputs_embeds=features,
            )

    def hidden(self, features: Tensor) -> Tensor:
        """Adapter and final norm, with gradients: [N, s, H] to [N, s, H]."""
        return self._run(self.adapter, lower=False, inputs_embeds=features)

    def logits(self, hidden: Tensor) -> Tensor:
        """LM head: [..., H] to [..., V]."""
        return self.head(hidden)

    def with_emulator(self, blocks: nn.ModuleList) -> "SplitModel":
        """Share everything but the emulator; `blocks` are frozen."""
        return replace(self, emulator=blocks.requires_grad_(False))

    def with_adapter(self, blocks: nn.ModuleList) -> "SplitModel":
        """Share everything but the adapter; what trains in `blocks` is not touched."""
        return replace(self, adapter=blocks)

    def with_head(self, head: nn.Module) -> "SplitModel":
        """Share everything but the LM head."""
        shell = _shallow_copy(self.shell)
        shell._modules[self.arch.head] = head
        return replace(self, shell=shell)

    @property
    def head(self) -> nn.Module:
        """The LM head."""
        head: nn.Module = getattr(self.shell, self.arch.head)
        return head

    def split_at(self, split_index: int) -> "SplitModel":
        """Move the border: blocks below it on the frozen side, shared, not copied.

        `split_index` may be 0, which leaves nothing below.
        """
        if split_index == self.split_index:
            return self
        blocks = [*self.emulator, *self.adapter]
        sources = block_sources(nn.ModuleList(blocks), self.arch)
        below = [b for b, at in zip(blocks, sources, strict=True) if at < split_index]
        return replace(
            self,
            split_index=split_index,
            emulator=nn.ModuleList(below).eval(),
            adapter=nn.ModuleList(blocks[len(below) :]),
        )

    def joined(self) -> Any:
        """Return both halves as one causal LM of transformers, sharing all parameters.

        For what needs more than a forward, such as decoding with a cache of keys; it
        takes padding with a mask on either side.
        """
        model = _shallow_copy(self.shell)
        blocks = nn.ModuleList([*self.emulator, *self.adapter]).eval()
        # The cache of keys goes by a block's number.
        assert block_sources(blocks, self.arch) == list(range(len(blocks)))
        base = model._modules[self.arch.base] = _shallow_copy(
            getattr(self.shell, self.arch.base)
        )
        base._modules[self.arch.blocks] = blocks
        return model.eval()

    def _run(
        self,
        blocks: nn.ModuleList,
        *,
        lower: bool,
        normed: bool = True,
        **inputs: Tensor,
    ) -> Tensor:
        # Made afresh each time (microseconds): it then follows what the caller does
        # to the shell, such as another device or attention implementation.
        base = _shallow_copy(getattr(self.shell, self.arch.base))
        base.config = config_for(base.config, block_sources(blocks, self.arch))
        parts: dict[str, nn.Module] = base._modules
        parts[self.arch.blocks] = blocks
        if self.arch.embedding_dropout:
            parts[self.arch.embedding_dropout] = nn.Identity()
        if lower or not normed:
            parts[self.arch.final_norm] = nn.Identity()
        if not lower and self.arch.positions:
            parts[self.arch.positions] = _NoPositions()
        output = base(
            **inputs,
            use_cache=False,
            output_attentions=False,
            output_hidden_states=False,
            return_dict=True,
        )
        return output.last_hidden_state


def split_model(
    model: PreTrainedModel, split_index: int, name: str | None = None
) -> SplitModel:
    """Split a Hugging Face causal LM; its parameters are shared, not copied.

    Afterwards the adapter's parameters require gradients and no others do.

    Parameters
    ----------
    model : PreTrainedModel
        A causal LM of a known architecture.
    split_index : int
        Blocks below it are the emulator.
    name : str, optional
        What errors call the model; by default its type.

    Raises
    ------
    InputError
        If the architecture is not known, a side would be empty, or the model holds
        other tensors than its config says.
    """
    arch, shape = architecture_of(model), shape_of(model, name)
    _check_tensors(model, shape)
    blocks = model.get_submodule(f"{arch.base}.{arch.blocks}")
    assert isinstance(blocks, nn.ModuleList)
    if not 1 <= split_index < len(blocks):
        raise InputError(
            f"`split_index` must be in [1, {len(blocks) - 1}] for a model of "
            f"{len(blocks)} blocks, got {split_index}."
        )
    shell = _shallow_copy(model)
    base = shell._modules[arch.base] = _shallow_copy(getattr(model, arch.base))
    # Without the blocks, so that a client does not keep the whole emulator alive.
    base._modules[arch.blocks] = nn.ModuleList()
    model.requires_grad_(False)
    return SplitModel(
        shell=shell,
        arch=arch,
        shape=shape,
        split_index=split_index,
        emulator=nn.ModuleList(blocks[:split_index]).eval(),
        adapter=nn.ModuleList(blocks[split_index:]).requires_grad_(True),
    )


def _check_tensors(model: PreTrainedModel, shape: ModelShape) -> None:
    parameters = list(model.parameters())
    count = sum(value.numel() for value in parameters)
    if count != shape.total_params or not all(
        v.is_floating_point() for v in parameters
    ):
        raise InputError(
            f"cannot split this `{type(model).__name__}`: its config says "
            f"{shape.total_params} parameters in floating point, it has {count}, or "
            f"some are quantised; merge LoRA factors, bring unquantised weights."
        )


def block_sources(blocks: nn.ModuleList, arch: Architecture) -> list[int]:
    """Return each block's index in the unpruned model."""
    attentions: list[Any] = [block.get_submodule(arch.attention) for block in blocks]
    return [attention.layer_idx for attention in attentions]


def config_for(config: Any, sources: list[int]) -> Any:
    """Copy a config, cut to the blocks at hand: number and attention types."""
    config = copy.copy(config)
    layer_types = getattr(config, "layer_types", None)
    config.num_hidden_layers = len(sources)
    if layer_types is not None:
        config.layer_types = [layer_types[source] for source in sources]
    return config


def _shallow_copy(module: Any) -> Any:
    copied = copy.copy(module)
    copied._modules = dict(module._modules)
    return copied
