"""What all methods of a comparison share: model, rows, ranking, wire, test rows."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trimwave.base.errors import InputError
from trimwave.base.units import FloatArray
from trimwave.lm.cached_ranking import cached_ranking
from trimwave.lm.data.deal import Dealt, deal_rows
from trimwave.lm.data.encode import Encoded, answer_share
from trimwave.lm.source.models import load_model
from trimwave.lm.surgery.prune import prune_emulator
from trimwave.lm.surgery.ranking import Ranking
from trimwave.lm.surgery.split import SplitModel, split_model
from trimwave.lm.train.evaluate import Evaluator
from trimwave.lm.train.metrics import TaskMetrics
from trimwave.lm.train.quantise import compensated
from trimwave.lm.train.tune import pick_device
from trimwave.lm.wire.ledger import Tensors
from trimwave.lm.wire.package import AIR_DTYPES
from trimwave.model.costs import Costs
from trimwave.recipe.config import Config
from trimwave.recipe.limits import limits_of
from trimwave.recipe.situation import costs_from

Say = Callable[[str], None]

StoredBlocks = dict[int, Tensors]
"""Block number to parameters by their path in the block."""


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """Read-only once made: a server copies what it changes."""

    config: Config
    split: SplitModel
    """The original model; its adapter carries LoRA factors if they train."""
    ranking: Ranking
    """The nested order of heads and neurons."""
    reference_kept: float
    """Kept fraction that `reference_emulator` was asked for."""
    reference_emulator: nn.ModuleList
    """The original emulator pruned at beta_bar; the same for every method that is
    tested on it."""
    client_rows: tuple[tuple[Encoded, ...], ...]
    """Private rows of each client."""
    public_rows: tuple[Encoded, ...]
    """The server's own."""
    evaluator: Evaluator
    client_evaluators: tuple[Evaluator | None, ...]
    """Of each client's own test rows; None for one without, empty if no client has any.
    """
    task_metrics: TaskMetrics | None
    """None where none are asked for, or the rows have none."""
    tokenizer: Any
    """The model's."""
    pad_id: int
    """Padding token."""
    facts: dict[str, Any]
    """For the manifest: what the model and the data are."""
    _stored: dict[tuple[int, int], StoredBlocks] = field(default_factory=dict)

    @property
    def num_samples(self) -> FloatArray:
        """[K] |D_k|."""
        return np.array([len(rows) for rows in self.client_rows], dtype=np.float64)

    @property
    def costs(self) -> Costs:
        """What a sub-model costs, with the sizes that real heads and neurons allow."""
        share = None
        if self.config.model.head == "answers":
            share = answer_share(row for rows in self.client_rows for row in rows)
        costs = costs_from(self.config, self.split.shape, share)
        return replace(costs, emulator_sizes=self.ranking.sizes)

    def stored_blocks(self, weight_bits: int, rank: int) -> StoredBlocks:
        """Return the original blocks as a device stores them that has them already.

        Values of the air's number format, in the type to compute in; below 16 bits
        matrices are quantised and made up for by terms of a rank. Made once per format.
        """
        if (weight_bits, rank) not in self._stored:
            dtype = AIR_DTYPES[self.config.model.bits_per_param]

            def stored(value: Tensor) -> Tensor:
                if value.ndim == 2:
                    value = compensated(value, weight_bits, rank)
                return value.detach().to(dtype).to(value.dtype)

            self._stored[weight_bits, rank] = {
                source: {
                    path: stored(value) for path, value in block.named_parameters()
                }
                for source, block in enumerate(self.split.split_at(0).adapter)
            }
        return self._stored[weight_bits, rank]


def build_workbench(
    config: Config, say: Say = lambda line: None, *, warned: bool = False
) -> Workbench:
    """Load model and rows, deal the rows out, rank heads and neurons.

    `warned` says that the rows were dealt before and their user warned of them.

    Raises
    ------
    InputError
        If anything the config names cannot be had or does not fit.
    """
    say(f"model {config.model.name}")
    model, tokenizer, model_facts = load_model(
        config.model.name, revision=config.model.revision
    )
    at = model.config.num_hidden_layers - config.model.adapter_blocks
    split = split_model(model, at, config.model.name)
    split.adapter.requires_grad_(False)  # each server trains copies
    _move(split, pick_device(config.train.device))
    say(f"rows {config.data.source}")
    _check_context(config, split.shape.context_length)
    rows = deal_again(config, tokenizer) if warned else deal_rows(config, tokenizer)
    pad_id = int(tokenizer.pad_token_id)
    ranking = cached_ranking(config, split, rows.public, pad_id, say)
    kept = 1 - limits_of(config).beta_bar
    metrics = TaskMetrics(rows.asked, tokenizer, config) if rows.asked else None
    return Workbench(
        config=config,
        split=split,
        ranking=ranking,
        reference_kept=kept,
        reference_emulator=prune_emulator(split, ranking.kept(ranking.size_of(kept))),
        client_rows=rows.clients,
        public_rows=rows.public,
        evaluator=Evaluator(rows.test, pad_id, config.train),
        client_evaluators=tuple(
            Evaluator(own, pad_id, config.train) if own else None
            for own in rows.client_test or ()
        ),
        task_metrics=metrics,
        tokenizer=tokenizer,
        pad_id=pad_id,
        facts={
            "model": model_facts,
            "data": rows.facts,
            "ranking": ranking.digest(),
        },
    )


def deal_again(config: Config, tokenizer: Any) -> Dealt:
    """Deal the rows of a run that was begun, without its warnings of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return deal_rows(config, tokenizer)


def _move(split: SplitModel, device: torch.device) -> None:
    for part in (split.shell, split.emulator, split.adapter):
        part.to(device)


def _check_context(config: Config, context_length: int) -> None:
    if config.data.max_tokens > context_length:
        raise InputError(
            f"`data.max_tokens` = {config.data.max_tokens} exceeds the context of "
            f"{config.model.name}, {context_length} tokens; lower it."
        )
