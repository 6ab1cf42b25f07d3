"""Matching block groups to devices, one each, where deeper groups cost more.

Groups are counted from the output: column 0 of a [K, L] matrix is the group nearest to
it. A matching is [L], the owner of each group.
"""

from bisect import bisect_left
from collections.abc import Callable

import numpy as np

from trimwave.base.units import FloatArray, IntArray


def unmatched_group(depths: IntArray, num_groups: int) -> int | None:
    """Return the deepest group that leaves too few devices; None = a matching exists.

    Device k admits groups 0 to `depths[k]` - 1. The admitted sets are nested, so Hall's
    condition is one count per group: it and the deeper ones need as many devices that
    reach it as there are such groups.
    """
    reach = np.sum(depths[:, None] > np.arange(num_groups), axis=0)
    short = np.flatnonzero(reach < np.arange(num_groups, 0, -1))
    return int(short[-1]) if short.size else None


def threshold_matching(times_s: FloatArray) -> IntArray:
    """Match so that the last device ends as early as possible, the band fixed.

    Cut the pairs that are later than a deadline, recount what prefix of the groups each
    device admits, check Hall's counts; search the deadline among the entries. Then give
    away the groups from the deepest up. A reconstruction from the published problem
    statement (Wu, Chen, Huang 2025).

    Parameters
    ----------
    times_s : [K, L]
        When device k would end with group l [s]; inf = it cannot take it.

    Returns
    -------
    owners : [L]
        The device of each group.

    Notes
    -----
    Valid when no row decreases and a matching of finite times exists. O(K L log(K L)).
    """
    num_devices, num_groups = times_s.shape
    assert np.all(times_s[:, 1:] >= times_s[:, :-1]), "a deeper group is cheaper"

    def depths_at(deadline_s: float) -> IntArray:
        return np.sum(times_s <= deadline_s, axis=1)

    deadlines_s = np.unique(times_s[np.isfinite(times_s)]).tolist()
    best = bisect_left(
        deadlines_s,
        True,
        key=lambda deadline_s: (
            unmatched_group(depths_at(deadline_s), num_groups) is None
        ),
    )
    depths = depths_at(deadlines_s[best])
    owners = np.empty(num_groups, dtype=np.int64)
    free = np.ones(num_devices, dtype=bool)
    for group in reversed(range(num_groups)):
        able = np.flatnonzero(free & (depths > group))
        # Of equal depths the fastest: client numbers must not decide.
        order = np.lexsort((times_s[able, group], depths[able]))
        owners[group] = able[order[0]]
        free[owners[group]] = False
    return owners


def joint_matching(
    owners: IntArray,
    band_hz: float,
    need_hz: Callable[[float], FloatArray],
    latency_s: Callable[[IntArray], float],
) -> IntArray:
    """Match so that the last device ends as early as possible, the band free.

    A deadline T can be met if and only if the assignment with the least total need of
    bandwidth at T fits the band (Hungarian method). T is lowered not by bisection but
    to the latency of the assignment just found, which needs few steps and stops at the
    optimum itself. A reconstruction from the published problem statement (Wu, Chen,
    Huang 2025).

    Parameters
    ----------
    owners : [L]
        A matching to start from.
    band_hz : float
        B [Hz].
    need_hz : callable
        Deadline [s] to [K, L], band that each pair needs to meet it [Hz]; inf = never.
    latency_s : callable
        Matching to its latency with the best split of the band [s].

    Returns
    -------
    owners : [L]
        The device of each group.

    Notes
    -----
    Bisection on T with the same test shows that with one group per device the joint
    problem is polynomial; what the paper calls NP-hard must be more general.
    """
    from scipy.optimize import linear_sum_assignment

    groups = np.arange(owners.size)
    best_s = latency_s(owners)
    while True:
        # A pair that needs the whole band or more is in no better assignment.
        need = np.minimum(need_hz(best_s), band_hz)
        challengers = linear_sum_assignment(need.T)[1].astype(np.int64)
        if not np.sum(need[challengers, groups]) < band_hz:
            return owners
        challenger_s = latency_s(challengers)
        if not challenger_s < best_s:  # the same one again, but for rounding
            return owners
        owners, best_s = challengers, challenger_s
