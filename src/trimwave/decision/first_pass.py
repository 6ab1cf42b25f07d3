"""The one-time download and the rows' pass through frozen blocks, side by side.

Blocks come in their order, embeddings first. Where frozen blocks run one by one, all
rows of the first round pass a block while the next one comes.
"""

from typing import NamedTuple

from trimwave.decision.plan import Plan, Situation


class FirstPass(NamedTuple):
    """What it takes until the first round's steps can begin, of the slowest client."""

    in_turn_s: float
    """Everything is downloaded, then the rows pass: the sum as in the letter [s]."""
    side_by_side_s: float
    """The rows pass a block as soon as it and they are there [s]."""


def first_pass(situation: Situation, plan: Plan) -> FirstPass | None:
    """Return the times of a plan whose sub-models stream their frozen blocks.

    Parameters
    ----------
    situation : Situation
        That the plan is for: no client has states of its rows.
    plan : Plan
        Of all clients of the situation's cell.

    Returns
    -------
    FirstPass or None
        None where no sub-model does.
    """
    shape, speeds = situation.costs.shape, situation.cell.speed_flops_per_s
    streaming = [
        (submodel, speed)
        for submodel, speed in zip(plan.submodels, speeds.tolist(), strict=True)
        if submodel is not None and submodel.streams_prefix
    ]
    if not streaming:
        return None
    bills = situation.costs.bills([submodel for submodel, _ in streaming])
    # The same of each client: one download, one border.
    download_s, blocks = plan.install_s, streaming[0][0].trained_blocks[0]
    pass_s = max(
        bill.num_local_steps * bill.frozen_flops / speed
        for bill, (_, speed) in zip(bills, streaming, strict=True)
    )
    first = (shape.embedding_params + shape.block_params) / shape.total_params
    last = (shape.embedding_params + blocks * shape.block_params) / shape.total_params
    return FirstPass(
        in_turn_s=download_s + pass_s,
        side_by_side_s=max(
            download_s,  # the blocks that train come last
            first * download_s + pass_s,
            last * download_s + pass_s / blocks,
        ),
    )
