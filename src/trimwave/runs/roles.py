"""What the round loop asks of a server and of a backend, and what they exchange."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from trimwave.base.units import FloatArray
from trimwave.decision.plan import Plan, Scheme
from trimwave.model.costs import Costs
from trimwave.model.submodel import Submodel
from trimwave.recipe.seen import Seen

OWN = "client_test_loss"
"""In a record: the full model's loss on each client's own test rows."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What a client trains with in a round, as named tensors."""

    sent: Mapping[str, Any]
    """What travels down, with the values that arrive, eq. (2)."""
    installed: Mapping[str, Any]
    """What does not travel: it lies on the device since before the first round, or at
    the server where the blocks run there. With what finished stages have learnt."""
    unmerged: Mapping[str, Any]
    """The same without it, as it came to the device; by names that are the same
    whatever trains."""
    finished: Sequence[Any] = ()
    """What a device merges into it, stage by stage, in the form that the server has."""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """What came back from the clients of one round."""

    updates: Sequence[Any]
    """One update per client that took part, in whatever form the server aggregates."""
    train_loss: Sequence[float | None]
    """K mean losses over the local steps; None for who did not take part."""
    round_s: float | None = None
    """How long the round took, where the backend measured it [s]; None = what the
    environment says of the plan: the latency model, over a trace if there is one."""
    missing: Mapping[int, str] = field(default_factory=dict)
    """Who was asked and does not count, and why."""
    fresh_rows: Mapping[int, int] = field(default_factory=dict)
    """By client, distinct rows whose states had to be computed; empty where no states
    are kept. Which had to depends on what this process has seen."""
    speeds: Mapping[str, Any] = field(default_factory=dict)
    """What was measured by the clock, so never the same: beside the round's seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Task metrics after a round; both empty where none are due."""

    record: Mapping[str, Any] = field(default_factory=dict)
    """What goes into the record: ``metrics``."""
    speeds: Mapping[str, float] = field(default_factory=dict)
    """Measured by the clock, so never the same: beside the round's seconds."""


class Backend(Protocol):
    """Runs a plan."""

    def look(self) -> Seen:
        """Return what is known of the clients before a round is planned."""

    def exchange(self, plan: Plan, round_index: int) -> Exchange:
        """Send sub-models, train, collect updates."""

    def begin_stage(self, scheme: Scheme) -> None:
        """Go on with the scheme of another stage, which the server is in already."""

    def save(self, folder: Path) -> None:
        """Write what a resumed run needs of the clients, into a checkpoint."""

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""


class Server(Protocol):
    """Owns the model."""

    @property
    def costs(self) -> Costs:
        """What any sub-model costs."""

    @property
    def num_samples(self) -> FloatArray:
        """[K] |D_k|."""

    @property
    def stage(self) -> int:
        """Which stage of its method it is in, from 0."""

    @property
    def learnt_bits(self) -> Sequence[int]:
        """What the end of each finished stage takes on the air [bit]."""

    def advance(self) -> None:
        """Merge what the next stage does not go on with, and begin that stage."""

    @property
    def emulator_version(self) -> int:
        """Another number whenever the emulator has other values."""

    def deliver(self, submodel: Submodel) -> Delivery:
        """Return what a client with a sub-model gets; to be read, not changed."""

    def aggregate(self, updates: Sequence[Any], round_index: int) -> Mapping[str, Any]:
        """Apply weighted FedAvg, eq. (4), or the recipe's other rule.

        Returns what the record says of it: nothing for plain FedAvg.
        """

    def align(self, round_index: int) -> None:
        """Fine-tune the emulator on public data if it is due after this round."""

    def evaluate(self) -> dict[str, Any]:
        """Test losses: ``loss_emulator`` and ``loss_full``.

        And ``client_test_loss``, K losses or None, where clients have their own rows.
        """

    def measure(self, round_index: int, is_last: bool) -> "Measured":
        """Task metrics if they are due after this round; 0 is before the first."""

    def save(self, folder: Path) -> None:
        """Write what a resumed run needs."""

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
