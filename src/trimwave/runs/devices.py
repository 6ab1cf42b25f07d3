"""What lies on the clients' devices, as the loop knows it for its plans."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trimwave.base.units import FloatArray
from trimwave.decision.plan import Plan, Stage
from trimwave.model.costs import Costs
from trimwave.model.submodel import Submodel
from trimwave.recipe.config import AlignConfig, Config
from trimwave.recipe.seen import Seen
from trimwave.runs.alignment import is_aligned_after
from trimwave.runs.holdings import HELD, Holdings, quota_params
from trimwave.runs.stages import first_step, owed_bits, stage_of
from trimwave.runs.states import KnownStates

Record = Mapping[str, Any]


@dataclass
class Devices:
    """Slices, states and merged stages on the devices of a run."""

    stages: Sequence[Stage]
    """Of the run."""
    num_local_steps: int
    """M."""
    align: AlignConfig
    """The recipe's alignment."""
    holdings: Holdings
    states: KnownStates
    has_recalled: bool = False
    """Whether the states of rounds before this process are counted."""

    @classmethod
    def of(
        cls, config: Config, costs: Costs, stages: Sequence[Stage], last: Record
    ) -> "Devices":
        """Return the devices of a run that goes on after its last record."""
        cell = config.cell
        holdings = Holdings(
            num_clients=cell.num_clients,
            quota_params=quota_params(costs, cell.cache_bytes),
            emulator_params=costs.emulator_params,
        )
        holdings.recall(last.get(HELD, holdings.params))
        return cls(
            stages=stages,
            num_local_steps=config.train.num_local_steps,
            align=config.align,
            holdings=holdings,
            states=KnownStates.of(config, costs),
        )

    def forget(self) -> None:
        """Count for nothing what depends on the frozen part: it is another now."""
        self.holdings.forget()
        self.states.forget()

    def first_step(self, records: Sequence[Record]) -> int | None:
        """Return `Situation.first_step` of the round after these records."""
        return first_step(records, self.stages, self.num_local_steps)

    def added_to(
        self,
        seen: Seen,
        records: Sequence[Record],
        stage: int,
        learnt_bits: Sequence[int],
        num_samples: FloatArray,
    ) -> Seen:
        """Return what is known of the clients, with what lies on their devices.

        Parameters
        ----------
        seen : Seen
            What the backend knows.
        records : sequence
            Of the rounds before.
        stage : int
            Of the round.
        learnt_bits : sequence of int
            As of `stages.owed_bits`.
        num_samples : [K]
            |D_k|.
        """
        if not self.has_recalled:
            self._recall(records, stage, num_samples)
        number, submodel = len(records), self._submodel(records, stage)
        clients = self.holdings.num_clients
        found = {
            "fresh_share": self.states.fresh_share(submodel, number, num_samples),
            "owed_bits": owed_bits(records, stage, learnt_bits, clients),
        }
        given = {name: value for name, value in found.items() if value is not None}
        seen = self.holdings.added_to(seen)
        return replace(seen, fields={**seen.fields, **given}) if given else seen

    def keep(
        self,
        plan: Plan,
        records: Sequence[Record],
        stage: int,
        num_samples: FloatArray,
        answered: Sequence[bool],
    ) -> None:
        """Count what the clients of a round have after it.

        That is nothing of an emulator that is aligned then.

        Parameters
        ----------
        plan : Plan
            Of the round.
        records, stage, num_samples
            As of `added_to`.
        answered : [K]
            Who is known to have got what it was sent.
        """
        self.holdings.keep(plan, answered)
        submodel = self._submodel(records, stage)
        self.states.keep(submodel, len(records), num_samples, answered)
        if self._is_aligned_after(len(records), stage):
            self.forget()

    def record(self) -> dict[str, Any]:
        """Return what a round's record has of it."""
        return self.holdings.record()

    def _submodel(self, records: Sequence[Record], stage: int) -> Submodel:
        """Return what clients train in the round after these records."""
        submodel = self.stages[stage].scheme.submodel
        return replace(submodel, first_step=self.first_step(records))

    def _recall(
        self, records: Sequence[Record], stage: int, num_samples: FloatArray
    ) -> None:
        """Count the states of the present stage's rounds so far."""
        self.has_recalled = True
        for number, record in enumerate(records):
            if number and stage_of(record) == stage:
                answered = [loss is not None for loss in record["client_train_loss"]]
                submodel = self._submodel(records[:number], stage)
                self.states.keep(submodel, number, num_samples, answered)
                if self._is_aligned_after(number, stage):
                    self.states.forget()

    def _is_aligned_after(self, round_index: int, stage: int) -> bool:
        """Whether the emulator is another one after a round; later stages have none."""
        scheme = self.stages[stage].scheme
        return not stage and is_aligned_after(self.align, scheme, round_index)
