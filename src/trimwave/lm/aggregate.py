"""How the updates of a round become one: weighted mean, robust rules, clipping, noise.

The mean of eq. (4) and three rules that bear bad updates, each tensor over the clients
that sent it: coordinate-wise median and trimmed mean (Yin et al., ICML 2018,
arXiv 1803.01498), Krum (Blanchard et al., NeurIPS 2017). Clipping and noise are central
differential privacy with fixed clipping (McMahan et al., ICLR 2018, arXiv 1710.06963).

They are our own lines, not Flower's functions of the same names: those want NumPy
copies of whole models in one list and the same tensors from every client, which DEFT's
clients do not send, and the ``local`` backend works without Flower. The tests hold them
equal to Flower's. Opacus is for the noise of each local step, not of the mean.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from trimwave.base.errors import DivergedError, InputError, RunError
from trimwave.base.streams import stream
from trimwave.lm.train.client import Update
from trimwave.model.submodel import Part, Submodel
from trimwave.recipe.config import AggregateConfig


def aggregate(
    updates: Sequence[Update],
    into: Mapping[str, Tensor],
    config: AggregateConfig,
    rng: np.random.Generator | None = None,
) -> dict[str, Any]:
    """Add what the updates come to, in place.

    Parameters
    ----------
    updates : sequence of Update
        The round's, one per client; their rows weigh the mean without noise.
    into : dict of Tensor
        What trains, by name.
    config : AggregateConfig
        The rule.
    rng : numpy.random.Generator, optional
        Draws the noise, where there is any.

    Returns
    -------
    dict
        What was done that the rule alone does not say: ``clipped``, the clients whose
        update was; ``chosen``, those that Krum took; ``noise_std``, of the tensor with
        the fewest senders. Empty for the mean.

    Raises
    ------
    RunError
        If a value is not finite, but for the plain mean, whose losses then say so; or
        if Krum has too few updates.
    """
    done: dict[str, Any] = {}
    if config.rule != "mean" or config.clip_norm:
        _check_finite(updates)
    # by client, so that an order of arrival changes nothing
    shares = [_share(one, config) for one in sorted(updates, key=lambda u: u.client)]
    if config.clip_norm:
        done["clipped"] = [one.update.client for one in shares if one.scale < 1]
    sent = {name: [one for one in shares if name in one.update.delta] for name in into}
    if config.rule == "krum":
        sent = _chosen(sent, config)
        done["chosen"] = sorted({one.update.client for (one,) in sent.values()})
    for name, value in into.items():
        for weight, delta in _terms(name, sent.get(name, []), value, config):
            value.add_(delta, alpha=weight)
        if config.noise_multiplier and sent[name]:
            assert rng is not None
            std = config.noise_multiplier * config.clip_norm / len(sent[name])
            noise = rng.standard_normal(tuple(value.shape), dtype=np.float32)
            value.add_(torch.from_numpy(noise).to(value), alpha=std)
            done["noise_std"] = max(std, done.get("noise_std", 0.0))
    return done


class _Share(NamedTuple):
    """One client's part in a round."""

    update: Update
    scale: float
    """What its update is multiplied by, so that it is no longer than allowed."""

    def tensor(self, name: str, like: Tensor | None = None) -> Tensor:
        """Return one tensor's change, clipped; in single precision, or like another."""
        delta = self.update.delta[name]
        delta = delta.float() if like is None else delta.to(like.device, like.dtype)
        return delta if self.scale == 1 else delta * self.scale


def _share(update: Update, config: AggregateConfig) -> _Share:
    norm = delta_norm(update.delta) if config.clip_norm else 0.0
    return _Share(update, config.clip_norm / norm if norm > config.clip_norm else 1.0)


def dp_stream(seed: int, round_index: int) -> np.random.Generator:
    """Return what draws a round's noise: named, so that a resumed run draws the same.

    `seed` is that of `lm.noise`, not the run's: who knows it can take the noise off.
    """
    return stream(seed, "dp", round_index)


def delta_norm(delta: Mapping[str, Tensor]) -> float:
    """Return the L2 norm of a whole update, summed in double precision."""
    return float(np.sqrt(sum(_square(one) for one in delta.values())))


def _square(tensor: Tensor) -> float:
    norm: Tensor = torch.linalg.vector_norm(tensor, dtype=torch.float64)
    return float(norm) ** 2


def nonfinite(delta: Mapping[str, Tensor]) -> str | None:
    """Return the first tensor of an update with a NaN or an infinity, or None."""
    for name, value in delta.items():
        if not bool(torch.isfinite(value).all()):
            return name
    return None


def _check_finite(updates: Sequence[Update]) -> None:
    """Raise for what a median would pass over, and a norm would make of everything."""
    for update in updates:
        if (name := nonfinite(update.delta)) is not None:
            raise DivergedError(
                f"client {update.client} sent values that are not finite (tensor "
                f"`{name}`): its training diverged. The round is not saved; start a "
                "new run with a lower `train.learning_rate`."
            )


def _terms(
    name: str,
    shares: Sequence[_Share],
    like: Tensor,
    config: AggregateConfig,
) -> Iterator[tuple[float, Tensor]]:
    """Yield what is added to one tensor, each with its weight."""
    if not shares:
        return
    deltas = (one.tensor(name, like) for one in shares)
    if config.rule in ("median", "trimmed_mean"):
        yield 1.0, _middle(torch.stack([*deltas]), config)
        return
    weights = np.ones(len(shares))
    if config.is_weighted:
        weights = np.array([float(one.update.num_samples) for one in shares])
    for weight, delta in zip(weights / np.sum(weights), deltas, strict=True):
        yield float(weight), delta


def _middle(stacked: Tensor, config: AggregateConfig) -> Tensor:
    """Return the mean of the middle values over the first axis, without its ends."""
    count = stacked.shape[0]
    cut = _cut(count, config)
    return stacked.sort(dim=0).values[cut : count - cut].mean(dim=0)


def _cut(count: int, config: AggregateConfig) -> int:
    """Return how many of so many values are cut off at either end."""
    return (count - 1) // 2 if config.rule == "median" else int(config.trim * count)


def _chosen(
    sent: Mapping[str, list[_Share]], config: AggregateConfig
) -> dict[str, list[_Share]]:
    """Return Krum's one client for each tensor.

    It is chosen over all tensors that have the same senders, which is the whole update
    where everybody trains the same.
    """
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, shares in sent.items():
        if shares:
            groups.setdefault(tuple(s.update.client for s in shares), []).append(name)
    chosen: dict[str, list[_Share]] = {}
    for clients, names in groups.items():
        if len(clients) < fewest_updates(config):
            raise RunError(
                f"{_needs(config)}, and {len(clients)} came of `{names[0]}`; the round "
                "is not saved. Resume when more clients are there, or start a new run "
                "with fewer malicious clients or another rule."
            )
        nearest = sent[names[0]][_krum(sent, names, config)]
        chosen |= {name: [nearest] for name in names}
    return chosen


def _krum(
    sent: Mapping[str, list[_Share]], names: Sequence[str], config: AggregateConfig
) -> int:
    """Return whose update is nearest to its n - f - 2 neighbours, in squares."""
    count = len(sent[names[0]])
    squares = np.zeros((count, count))
    for name in names:
        deltas = [one.tensor(name) for one in sent[name]]
        for i in range(count):
            for j in range(i):
                squares[i, j] += _square(deltas[i] - deltas[j])
    near = count - config.num_malicious - 2
    by_distance = np.sort(squares + squares.T, axis=1)  # itself is the first
    return int(np.argmin(by_distance[:, 1 : near + 1].sum(axis=1)))


def check_senders(
    config: AggregateConfig, submodels: Iterable[Submodel | None]
) -> None:
    """Check that enough clients send each tensor for the rule to work.

    Raises
    ------
    InputError
        If Krum cannot choose; warns where a rule bears no bad update at all.
    """
    senders: Counter[Part] = Counter()
    for one in submodels:
        if one is not None:
            senders.update(one.trained_blocks)
            senders.update(["head"] if one.trains_head else [])
    part, fewest = min(senders.items(), key=lambda item: item[1])
    where = f"{'the head' if part == 'head' else f'block {part}'}"
    if fewest < fewest_updates(config):
        raise InputError(
            f"{_needs(config)}, and {fewest} of the clients "
            f"{'trains' if fewest == 1 else 'train'} {where}; take fewer malicious "
            "clients, more clients or another rule."
        )
    if config.rule in ("median", "trimmed_mean") and not _cut(fewest, config):
        warnings.warn(
            f"`aggregate.rule` = {config.rule} is a plain mean, since it cuts off none "
            f"of the {fewest} updates of {where}: it takes more clients"
            f"{' or a larger `aggregate.trim`' if config.rule != 'median' else ''}.",
            stacklevel=3,
        )


def _needs(config: AggregateConfig) -> str:
    return (
        f"`aggregate.rule` = krum with `aggregate.num_malicious` = "
        f"{config.num_malicious} needs {fewest_updates(config)} updates of each tensor"
    )


def fewest_updates(config: AggregateConfig) -> int:
    """Return how many updates of a tensor the rule takes at least."""
    return 2 * config.num_malicious + 3 if config.rule == "krum" else 1
