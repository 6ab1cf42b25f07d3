"""From importance scores to the nested order in which heads and neurons are kept."""

import numpy as np

from trimwave.base.errors import InputError
from trimwave.base.units import FloatArray, IntArray
from trimwave.lm.surgery.importance import BlockScores, Scores, check_scores
from trimwave.lm.surgery.ranking import BLOCK, CHUNK, GROUP, Ranking
from trimwave.model.shape import ModelShape


def rank_units(
    scores: Scores | BlockScores,
    shape: ModelShape,
    *,
    round_to: int = 8,
    min_groups: int = 1,
    min_neurons: int = 64,
) -> Ranking:
    """Order units by importance per parameter, after the floors.

    Parameters
    ----------
    scores : Scores or BlockScores
        Of the emulator's blocks.
    shape : ModelShape
        Of the unpruned model.
    round_to : int
        Neurons that go together; kept counts are multiples of it.
    min_groups, min_neurons : int
        What every block keeps, at most all it has; neurons round up to a chunk.
        With `BlockScores` the floor is one block instead.

    Returns
    -------
    Ranking
        Ties are broken by block, kind and index.

    Raises
    ------
    InputError
        If scores do not fit the shape or are not finite, or a limit is below 1.
    """
    limits = dict(round_to=round_to, min_groups=min_groups, min_neurons=min_neurons)
    for name, value in limits.items():
        if value < 1:
            raise InputError(f"`{name}` must be at least 1, got {value}.")
    check_scores(scores, shape)
    if isinstance(scores, BlockScores):
        return _rank_blocks(scores, shape)
    return _rank_groups_and_chunks(scores, shape, **limits)


def _rank_groups_and_chunks(
    scores: Scores,
    shape: ModelShape,
    round_to: int,
    min_groups: int,
    min_neurons: int,
) -> Ranking:
    groups = scores.groups / shape.group_params
    neuron_order = _descending(scores.neurons)
    chunks = _chunk_means(scores.neurons, neuron_order, round_to) / shape.neuron_params
    # Below, arrays are [blocks, G + chunks] until the sort flattens them.
    density = np.concatenate([groups, chunks], axis=1)
    kind = np.repeat([GROUP, CHUNK], [groups.shape[1], chunks.shape[1]])
    index = np.concatenate([np.arange(groups.shape[1]), np.arange(chunks.shape[1])])
    rank = np.broadcast_to(index, density.shape).copy()
    np.put_along_axis(rank, _descending(groups), index[None, : groups.shape[1]], axis=1)
    floor = rank < np.where(kind == GROUP, min_groups, -(-min_neurons // round_to))
    block = np.repeat(np.arange(len(density)), density.shape[1])
    kind, index = (np.tile(values, len(density)) for values in (kind, index))
    order = np.lexsort((index, kind, block, -density.ravel(), ~floor.ravel()))
    return Ranking(
        **_counts(shape, len(density)),
        round_to=round_to,
        num_floor_units=int(floor.sum()),
        kind=kind[order],
        block=block[order],
        index=index[order],
        neuron_order=neuron_order,
    )


def _rank_blocks(scores: BlockScores, shape: ModelShape) -> Ranking:
    num_blocks = len(scores.blocks)
    return Ranking(
        **_counts(shape, num_blocks),
        round_to=1,
        num_floor_units=1,
        kind=np.full(num_blocks, BLOCK),
        block=_descending(scores.blocks),
        index=np.zeros(num_blocks, dtype=np.int64),
        neuron_order=np.zeros((num_blocks, 0), dtype=np.int64),
    )


def _counts(shape: ModelShape, num_blocks: int) -> dict[str, int]:
    return {
        "num_blocks": num_blocks,
        "num_groups": shape.num_kv_heads,
        "num_neurons": shape.intermediate_size,
        "group_params": shape.group_params,
        "neuron_params": shape.neuron_params,
        "fixed_params": shape.fixed_block_params,
    }


def _descending(values: FloatArray) -> IntArray:
    return np.argsort(-values, axis=-1, kind="stable")


def _chunk_means(neurons: FloatArray, order: IntArray, round_to: int) -> FloatArray:
    """Mean importance of the neurons of each chunk, [blocks, chunks]."""
    ranked = np.take_along_axis(neurons, order, axis=1)
    starts = np.arange(0, ranked.shape[1], round_to)
    counts = np.diff(np.append(starts, ranked.shape[1]))
    means = np.add.reduceat(ranked, starts, axis=1) / counts
    # Means of a sorted row never rise, but for rounding.
    return np.minimum.accumulate(means, axis=1)
