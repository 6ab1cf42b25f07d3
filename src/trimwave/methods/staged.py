"""Warm, then freeze and cache: LoRA on all blocks for a while, then on the top."""

import warnings
from dataclasses import dataclass, replace
from typing import Literal

from trimwave.base.errors import InputError
from trimwave.decision.plan import Plan, Scheme, Situation, Stage
from trimwave.methods.bands import Bandwidth, fixed_plan
from trimwave.methods.common import (
    CommonOptions,
    own_costs,
    require_not_negative,
    require_positive,
)
from trimwave.methods.memory import holders
from trimwave.model.costs import Costs
from trimwave.model.submodel import LoraTargets, Submodel
from trimwave.problem.limits import Limits

WARM_ROUNDS, TOP_SHARE = 2, 0.4
"""What is taken where the recipe says nothing. How long to warm depends on the task:
one round was enough on topics, four were better on GSM8K (docs/faster.md)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageOptions:
    """One stage; a table of ``[[options.staged.stages]]``."""

    blocks: int | None = None
    """How many blocks from the top train; left out = all."""
    rounds: int | None = None
    """Rounds after which the next stage begins."""
    least_slope_per_s: float | None = None
    """Or as soon as the test loss of the full model falls by less than this in a
    virtual second, over two rounds."""
    local_steps: int | None = None
    """Local steps of a round; left out = `train.num_local_steps`."""
    learning_rate: float | None = None
    """AdamW step size; left out = the method's, or the recipe's."""
    lora_rank: int | None = None
    """r; left out = the method's, or the recipe's; so are the next two."""
    lora_alpha: float | None = None
    """What the product of the factors is scaled by, times r."""
    lora_targets: LoraTargets | None = None
    """Where they sit."""
    update_bits: Literal[8, 16, 32] | None = None
    """Number format of updates on the air; left out = the method's, or the recipe's."""

    def __post_init__(self) -> None:
        names = (
            *("blocks", "rounds", "local_steps", "learning_rate"),
            *("lora_rank", "lora_alpha"),
        )
        require_positive("staged", self, *names)
        if self.least_slope_per_s is not None:
            require_not_negative("staged", self, "least_slope_per_s")


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged(CommonOptions):
    """LoRA in stages: all blocks first, then the top over what is frozen and merged.

    Between two stages the factors below the new border are merged into the model, and
    those above go on; what comes up to the border is the same for a row from then on:
    `train.state_cache` keeps it. Factors of another rank, alpha or place start anew,
    over all that was learnt before, merged. Who cannot hold a stage in memory sits it
    out.
    Progressive freezing with a cache: AutoFreeze (Liu et al. 2021, arXiv 2102.01386),
    ChainFed (arXiv 2604.06819).
    """

    warm_rounds: int | None = None
    """Rounds on all blocks, in two stages; left out = 2. Not beside `stages`."""
    blocks: int | None = None
    """Blocks from the top that train after them; left out = 0.4 of all."""
    stages: tuple[StageOptions, ...] = ()
    """The stages in their order, as tables ``[[options.staged.stages]]``."""
    bandwidth: Bandwidth = "optimal"
    """``optimal``: all clients end together. ``uniform``: B / K each."""

    def __post_init__(self) -> None:
        CommonOptions.__post_init__(self)
        require_positive("staged", self, "warm_rounds", "blocks")
        for name in ("warm_rounds", "blocks"):
            if self.stages and getattr(self, name) is not None:
                raise InputError(
                    f"option `{name}` of `staged` is beside `stages`, which say it "
                    "all; leave one of them out."
                )
        for at, stage in enumerate(self.stages):
            ends = stage.rounds is not None or stage.least_slope_per_s is not None
            if at + 1 < len(self.stages) and not ends:
                raise InputError(
                    f"stage {at} of `staged` has no end; give it `rounds` or "
                    "`least_slope_per_s`, or leave out what follows."
                )
            if at + 1 == len(self.stages) and ends:
                warnings.warn(
                    "`rounds` and `least_slope_per_s` of the last stage of `staged` "
                    "are without effect: it goes on to the end of the run.",
                    stacklevel=1,  # one place, so that it is said once
                )

    @property
    def label(self) -> str:
        """What tables and pictures call it."""
        return "Staged LoRA"

    def stages_of(self, costs: Costs) -> tuple[StageOptions, ...]:
        """Return the stages for a model, those of a recipe that names none too."""
        if self.stages:
            return self.stages
        top = self.blocks or max(1, round(TOP_SHARE * costs.num_blocks))
        warm = StageOptions(rounds=self.warm_rounds or WARM_ROUNDS)
        return warm, StageOptions(blocks=top)

    def scheme(self, costs: Costs, limits: Limits) -> Scheme:
        """Test the first stage on the whole model."""
        return self.run_stages(costs, limits)[0].scheme

    def run_stages(self, costs: Costs, limits: Limits) -> tuple[Stage, ...]:
        """Return what trains when."""
        return tuple(
            Stage(
                scheme=Scheme(
                    submodel=_submodel(costs, one),
                    learning_rate=one.learning_rate or self.learning_rate,
                ),
                rounds=one.rounds,
                least_slope_per_s=one.least_slope_per_s,
            )
            for one in self.stages_of(costs)
        )

    def plan(self, situation: Situation) -> Plan:
        """Give everyone who holds it what the stage trains."""
        stage = self.stages_of(situation.costs)[situation.stage]
        submodel = _submodel(situation.costs, stage)
        submodel = replace(submodel, first_step=situation.first_step)
        part = f"what stage {situation.stage} trains"
        bill = situation.costs.bill(submodel)
        able = {*holders(situation, bill, part).tolist()}
        given = [
            submodel if k in able else None for k in range(situation.cell.num_clients)
        ]
        plan = fixed_plan(situation, given, self.bandwidth)
        return replace(plan, binding=tuple("-" if one else "memory" for one in given))


def _submodel(costs: Costs, stage: StageOptions) -> Submodel:
    """Return what a stage trains: LoRA on the top, the base on the device."""
    top = costs.top_blocks(stage.blocks, "`blocks` of a stage of `staged`")
    return own_costs(stage, costs).whole(
        top,
        "lora",
        shared_blocks=top,
        sends_frozen=False,
        num_local_steps=stage.local_steps,
    )
