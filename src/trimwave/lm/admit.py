"""Which updates that came over a network count: checked before they are aggregated.

A client answers for itself, once, with the tensors that it was asked for and values
that can be added up. Whoever does not is left out, and the round's record says why.
"""

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from trimwave.base.errors import printable
from trimwave.lm.aggregate import delta_norm, nonfinite
from trimwave.lm.train.client import Update

Form = tuple[torch.Size, torch.dtype]
"""What a tensor must be: its shape and number format."""

FEWEST = 3
"""Updates that a median norm says something of."""


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """What counts of a round's updates."""

    updates: list[Update]
    """In the order in which they came."""
    refused: dict[int, str]
    """Why not, by client; one that answered twice is here, and its first may count."""


def admit(
    updates: Sequence[Update],
    expected: Mapping[int, Mapping[str, Form]],
    *,
    norm_limit: float | None,
    num_samples: Mapping[int, int],
) -> Admitted:
    """Return the updates that count, and why the others do not.

    Parameters
    ----------
    updates : sequence of Update
        What came back, in any order, of whatever a client may send.
    expected : dict
        The tensors asked for, by client asked.
    norm_limit : float or None
        Largest norm of an update over the median of those without another fault. Not
        asked of fewer than three updates, nor where the median is 0.
    num_samples : dict
        |D_k| of each client asked, as registered: its weight, so it may say no other.
    """
    sound: dict[int, Update] = {}
    refused: dict[int, list[str]] = {}
    seen: set[int] = set()
    for update in updates:
        client = update.client
        fault = _fault(update, expected, num_samples)
        if client in seen and client in expected:
            fault = "answered twice; the first answer is the one that is judged"
        seen.add(client)
        if fault is None:
            sound[client] = update
        else:
            refused.setdefault(client, []).append(fault)
    for client, fault in _too_long(sound, norm_limit).items():
        del sound[client]
        refused.setdefault(client, []).insert(0, fault)
    return Admitted(
        updates=list(sound.values()),
        refused={
            client: "; ".join(dict.fromkeys(said)) for client, said in refused.items()
        },
    )


def _fault(
    update: Update,
    expected: Mapping[int, Mapping[str, Form]],
    num_samples: Mapping[int, int],
) -> str | None:
    """Return what is wrong with one update by itself."""
    if update.client not in expected:
        return "was not asked in this round"
    fault = _of_forms(update, expected[update.client])
    if fault:
        return fault
    if (name := nonfinite(update.delta)) is not None:
        return f"tensor `{name}` has values that are not finite"
    loss = update.train_loss
    is_number = isinstance(loss, float | int) and not isinstance(loss, bool)
    if not is_number or not 0 <= loss <= sys.float_info.max:
        return f"train_loss must be finite and not negative, got {_short(loss)}"
    said, registered = update.num_samples, num_samples[update.client]
    if said != registered:
        return f"says {_short(said)} training rows, registered are {registered}"
    return None


def _of_forms(update: Update, expected: Mapping[str, Form]) -> str | None:
    delta = update.delta
    for name in expected:
        if name not in delta:
            return f"tensor `{name}` is missing ({len(expected)} were asked for)"
    for name, value in delta.items():
        if name not in expected:
            return f"tensor {_short(name)} was not asked for"
        shape, dtype = expected[name]
        if value.shape != shape:
            return f"tensor `{name}` is {[*value.shape]}, expected {[*shape]}"
        if value.dtype != dtype:
            return f"tensor `{name}` is {value.dtype}, expected {dtype}"
    return None


def _too_long(sound: Mapping[int, Update], norm_limit: float | None) -> dict[int, str]:
    """Return whose norm is above the limit times the median's."""
    if norm_limit is None or len(sound) < FEWEST:
        return {}
    norms = {client: delta_norm(update.delta) for client, update in sound.items()}
    median = statistics.median(norms.values())
    return {
        client: f"norm {norm:.4g} is above {norm_limit:g} times the round's median "
        f"{median:.4g}"
        for client, norm in norms.items()
        if median > 0 and norm > norm_limit * median
    }


def _short(value: object) -> str:
    """Return what a client sent as a few printable characters."""
    return printable(repr(value)[:60])
