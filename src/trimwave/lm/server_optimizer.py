"""What the server makes of a round's combined update: momentum, or Adam.

FedAvgM (Hsu et al. 2019, arXiv 1909.06335) and FedAdam (Reddi et al., ICLR 2021,
arXiv 2003.00295, Algorithm 2): the combined update is taken for a gradient. Adam is
without bias correction and its second moment begins at tau^2, as printed there, so that
`torch.optim.Adam`, which corrects and begins at 0, is another rule; so is Flower's
FedAdam, for the same two reasons. Momentum is Flower's FedAvgM, to which the tests hold
it.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from trimwave.base.errors import RunError
from trimwave.lm.wire.ledger import Tensors
from trimwave.lm.wire.tensor_files import read_tensors, save_tensors
from trimwave.recipe.config import AggregateConfig

FILE = "server_optimizer.safetensors"
"""In a checkpoint: the moments."""

FIRST, SECOND = "first", "second"
"""Before a tensor's name in that file: which moment it is."""


class ServerOptimizer:
    """Steps on what trains; its moments are those of the present stage.

    Parameters
    ----------
    config : AggregateConfig
        With a `server_optimizer` other than none.
    """

    def __init__(self, config: AggregateConfig) -> None:
        self._config = config
        self._first: Tensors = {}
        self._second: Tensors = {}

    def step(
        self, into: Mapping[str, Tensor], before: Tensors, names: Collection[str]
    ) -> None:
        """Replace what a round has added by what the optimiser makes of it, in place.

        Parameters
        ----------
        into : mapping
            What trains, with the round's combined update added.
        before : dict of Tensor
            The same before the round.
        names : collection of str
            Tensors that somebody sent: the others keep value and moments.
        """
        config, rate = self._config, self._config.server_learning_rate
        for name in names:
            value, start = into[name], before[name]
            delta = value - start
            if config.server_optimizer == "momentum":
                old = self._first.get(name, torch.zeros_like(delta))
                step = self._first[name] = config.server_momentum * old + delta
            else:
                step = self._adam(name, delta)
            value.copy_(start + rate * step)

    def _adam(self, name: str, delta: Tensor) -> Tensor:
        config, tau = self._config, self._config.server_epsilon
        decay, second_decay = config.server_momentum, config.server_beta2
        first = self._first.get(name, torch.zeros_like(delta))
        second = self._second.get(name, torch.full_like(delta, tau**2))
        self._first[name] = decay * first + (1 - decay) * delta
        self._second[name] = second_decay * second + (1 - second_decay) * delta**2
        return self._first[name] / (self._second[name].sqrt() + tau)

    def save(self, folder: Path) -> None:
        """Write the moments."""
        moments = {f"{FIRST}.{name}": one for name, one in self._first.items()}
        moments |= {f"{SECOND}.{name}": one for name, one in self._second.items()}
        save_tensors(folder / FILE, moments)

    def load(self, folder: Path, into: Mapping[str, Tensor]) -> None:
        """Read what `save` wrote.

        Raises
        ------
        RunError
            If the moments are not there, or not those of this model.
        """
        path = folder / FILE
        if not path.exists():
            raise RunError(
                f"{path} is missing, so that the server's optimiser cannot go on; put "
                "it back, or start a new run."
            )
        self._first, self._second = {}, {}
        kinds = {FIRST: self._first, SECOND: self._second}
        for full_name, value in read_tensors(path).items():
            which, _, name = full_name.partition(".")
            like = into.get(name)
            if which not in kinds or like is None or like.shape != value.shape:
                raise RunError(f"{path} does not fit the model: tensor `{full_name}`.")
            kinds[which][name] = value.to(like)
        of_adam = self._config.server_optimizer == "adam"
        if odd := self._second.keys() ^ (self._first.keys() if of_adam else set()):
            raise RunError(
                f"{path} does not fit `aggregate.server_optimizer` = "
                f"{self._config.server_optimizer}: a moment of `{min(odd)}` is missing "
                "or too many; put the file back, or start a new run."
            )
