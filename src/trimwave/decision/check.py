"""Whether a plan can be run: one check of any method's, before anything trains.

Each function yields what is wrong as the end of a sentence that begins with whose plan
it is. Shapes: K clients.
"""

import json
from collections.abc import Iterator
from itertools import chain
from typing import get_args

import numpy as np

from trimwave.base.errors import InputError
from trimwave.base.tolerances import ROUNDING
from trimwave.decision.plan import Plan, Scheme, Situation
from trimwave.model.costs import BUT_KEPT, Costs
from trimwave.model.pricing import QUANTISED_BITS
from trimwave.model.submodel import LoraTargets, Runs, Submodel, Trained

PER_CLIENT = (
    *("bandwidth_hz", "compute_s", "down_s", "up_s", "down_bits", "up_bits"),
    *("flops", "memory_bytes", "install_bits"),
)
"""Fields of a plan with one number per client."""


def check_plan(
    situation: Situation, plan: Plan, label: str, scheme: Scheme | None = None
) -> None:
    """Refuse a plan that no backend could run.

    Parameters
    ----------
    situation : Situation
        What it was decided for; `Costs.emulator_sizes` are the emulators that exist.
    plan : Plan
        Of any method.
    label : str
        What the method is called.
    scheme : Scheme, optional
        What the server was built from; it holds nothing else.

    Raises
    ------
    InputError
        Naming the method, the client, and what is wrong.
    """
    if not isinstance(plan, Plan):
        raise InputError(
            f"method {label} returned {type(plan).__name__} instead of a `Plan`; "
            "`plan_of` of `trimwave.decision.predict` makes one."
        )
    for wrong in chain(_shapes(situation, plan), _numbers(situation, plan)):
        raise InputError(f"the plan of {label} cannot be run: {wrong}.")
    if scheme is not None:
        for wrong in _blocks(situation.costs, scheme.submodel):
            raise InputError(f"the scheme of {label} cannot be run: it {wrong}.")
    whole, passed = situation.costs.emulator_params, set()
    for k, submodel in enumerate(plan.submodels):
        if submodel is None:
            continue
        checks = [_emulator(situation.costs, submodel)]
        # Of many that differ in size alone the rest is checked once.
        kind = submodel.emulator_params == whole, BUT_KEPT(submodel)
        if kind not in passed:
            checks.insert(0, _parts(situation.costs, submodel, scheme))
        for wrong in chain(*checks):
            raise InputError(f"the plan of {label} cannot be run: client {k} {wrong}.")
        passed.add(kind)


def given_arrays(plan: Plan) -> tuple[str, ...]:
    """Name the fields of this plan with one number per client."""
    own_band = () if plan.up_bandwidth_hz is None else ("up_bandwidth_hz",)
    return (*PER_CLIENT, *own_band)


def _shapes(situation: Situation, plan: Plan) -> Iterator[str]:
    """Say where the plan is not of this cell."""
    clients = situation.cell.num_clients
    for name in ("submodels", "binding"):
        if (given := len(getattr(plan, name))) != clients:
            yield f"`{name}` has {given} entries for {clients} clients"
    for name in given_arrays(plan):
        if (shape := np.shape(getattr(plan, name))) != (clients,):
            yield f"`{name}` has shape {shape} for {clients} clients"
    for k, one in enumerate(plan.submodels):
        if one is not None and not isinstance(one, Submodel):
            yield f"client {k} has {type(one).__name__} for a `Submodel`"
    if not plan.scheduled.any():
        yield "nobody takes part"
    try:
        json.dumps(dict(plan.carry), allow_nan=False)
    except (TypeError, ValueError) as error:
        yield f"`carry` must be plain JSON for the record, but {error}"


def _numbers(situation: Situation, plan: Plan) -> Iterator[str]:
    """Say which numbers cannot be; shares, C1."""
    for name in (*given_arrays(plan), "install_s"):
        values = np.atleast_1d(np.asarray(getattr(plan, name), dtype=np.float64))
        for k in np.flatnonzero(~(np.isfinite(values) & (values >= 0))).tolist():
            yield f"`{name}` of client {k} must be finite, at least 0, got {values[k]}"
    cell = situation.cell
    bands = [("bandwidth_hz", plan.bandwidth_hz, cell.total_bandwidth_hz)]
    if plan.up_bandwidth_hz is not None and cell.up_bandwidth_hz is not None:
        bands += [("up_bandwidth_hz", plan.up_bandwidth_hz, cell.up_bandwidth_hz)]
    for name, shares_hz, band_hz in bands:
        lacking = plan.scheduled & ~(shares_hz > 0)
        lacking &= True if cell.needs_band is None else cell.needs_band
        for k in np.flatnonzero(lacking).tolist():
            yield (
                f"client {k} takes part with no band; give it a share, or None to rest"
            )
        if (sum_hz := float(np.sum(shares_hz))) > band_hz * (1 + ROUNDING):
            yield (
                f"`{name}` adds up to {sum_hz:.10g} Hz, more than the band's "
                f"{band_hz:.10g} Hz (C1)"
            )


def _parts(costs: Costs, one: Submodel, scheme: Scheme | None) -> Iterator[str]:
    """Say why a client's sub-model does not exist, but for its emulator's size."""
    yield from _options(one)
    yield from _blocks(costs, one)
    if scheme is not None:
        yield from _beyond(one, scheme.submodel)


def _options(one: Submodel) -> Iterator[str]:
    legal = {
        "trained": get_args(Trained),
        "runs": get_args(Runs),
        "lora_targets": get_args(LoraTargets),
        "update_bits": (None, 8),
        "weight_bits": tuple(QUANTISED_BITS),
    }
    for name, values in legal.items():
        if getattr(one, name) not in values:
            known = ", ".join(map(str, values))
            yield f"has `{name}` = {getattr(one, name)!r}; it must be one of {known}"
    if one.num_local_steps is not None and one.num_local_steps < 1:
        yield f"has `num_local_steps` = {one.num_local_steps}; it must be at least 1"
    if one.trained == "lora" and one.lora_rank < 1:
        yield f"has `lora_rank` = {one.lora_rank}; it must be at least 1"
    for name in ("compensation_rank", "proximal_weight"):
        if not 0 <= getattr(one, name) < np.inf:
            yield f"has `{name}` = {getattr(one, name)}; it must be finite, at least 0"


def _blocks(costs: Costs, one: Submodel) -> Iterator[str]:
    """Say which blocks a sub-model names that it cannot have."""
    last, split = costs.num_blocks - 1, costs.split_index
    named = {"trained_blocks": range(last + 1), "shared_blocks": range(last + 1)}
    if one.kept_blocks is not None:
        named["kept_blocks"] = range(split)
    for name, legal in named.items():
        blocks = getattr(one, name)
        strangers = [block for block in blocks if block not in legal]
        if strangers:
            yield (
                f"has `{name}` {strangers}, out of range: blocks are 0 to "
                f"{legal[-1]} there, in {costs.shape.name} split at {split}"
            )
        if list(blocks) != sorted(set(blocks)):
            yield f"has `{name}` {tuple(blocks)}, which must ascend, each block once"
    if not one.trained_blocks:
        yield "trains no block; name some in `trained_blocks`, or let it rest with None"
    unshared = sorted({*one.trained_blocks} - {*one.shared_blocks})
    if unshared:
        yield f"trains blocks {unshared}, which are not among its `shared_blocks`"
    if one.kept_blocks is None and one.emulator_params == costs.emulator_params:
        return
    whole = {*(one.kept_blocks or ()), *costs.adapter_blocks}
    for name in ("trained_blocks", "shared_blocks"):
        cut = sorted({*getattr(one, name)} - whole)
        if cut:
            yield (
                f"has `{name}` {cut}, which it does not hold whole: emulator blocks "
                "train only where `kept_blocks` names them or nothing is pruned"
            )


def _emulator(costs: Costs, one: Submodel) -> Iterator[str]:
    """Say why there is no emulator of that many parameters."""
    have, whole = one.emulator_params, costs.emulator_params
    if one.kept_blocks is not None:
        need = len(one.kept_blocks) * costs.shape.block_params
        if have != need:
            yield (
                f"has `emulator_params` = {have}, but its {len(one.kept_blocks)} "
                f"`kept_blocks` are {need} parameters"
            )
    elif not 0 <= have <= whole:
        yield f"has `emulator_params` = {have}, of an emulator of {whole}"
    elif costs.emulator_sizes is not None and have not in costs.emulator_sizes:
        sizes = costs.emulator_sizes
        at = int(np.searchsorted(sizes, have))
        near = " and ".join(str(size) for size in sizes[max(at - 1, 0) : at + 1])
        yield (
            f"has `emulator_params` = {have}, but no real heads and neurons add up to "
            f"that; the nearest of `Costs.emulator_sizes` are {near}"
        )
    if not abs(one.kept_fraction * whole - have) <= 1:
        yield (
            f"has `kept_fraction` = {one.kept_fraction}, but `emulator_params` = "
            f"{have} is {have / whole:.6g} of the emulator"
        )


def _beyond(one: Submodel, held: Submodel) -> Iterator[str]:
    """Say what of a sub-model the server does not hold."""
    lora = () if one.trained != "lora" else ("lora_rank", "lora_alpha", "lora_targets")
    for name in ("trained", "update_bits", *lora):
        if (own := getattr(one, name)) != (its := getattr(held, name)):
            yield f"has `{name}` = {own!r}, but the method's scheme {its!r}"
    for name in ("trained_blocks", "shared_blocks"):
        more = sorted({*getattr(one, name)} - {*getattr(held, name)})
        if more:
            yield f"has `{name}` {more}, which the method's scheme does not have"
    if one.trains_head and not held.trains_head:
        yield "trains factors on the head, which the method's scheme does not have"
