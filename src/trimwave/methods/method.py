"""What a method is: a rule that plans a round."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from trimwave.base.units import IntArray
from trimwave.decision.plan import Plan, Scheme, Situation, Stage
from trimwave.model.costs import Costs
from trimwave.problem.limits import Limits
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Solution


class Method(Protocol):
    """A rule that plans a round."""

    @property
    def label(self) -> str:
        """What tables and pictures call it."""

    def scheme(self, costs: Costs, limits: Limits) -> Scheme:
        """Say what stays fixed over a run.

        Raises
        ------
        InputError
            If an option does not fit the model.
        """

    def plan(self, situation: Situation) -> Plan:
        """Decide a round.

        Raises
        ------
        InfeasibleError
            If the situation has no solution.
        InputError
            If the method cannot serve it: what to change.
        """


@runtime_checkable
class HasStages(Method, Protocol):
    """A method that does not train the same in all rounds."""

    def run_stages(self, costs: Costs, limits: Limits) -> Sequence[Stage]:
        """Return the stages of a run, in their order; `scheme` is the first one's.

        Raises
        ------
        InputError
            As `scheme`.
        """


@runtime_checkable
class SolvesP1(Method, Protocol):
    """A method whose plan is an answer to P1, eq. (10)."""

    def problem(self, situation: Situation) -> Problem:
        """Return P1 of a round, as the method solves it."""


@runtime_checkable
class ServesSome(SolvesP1, Protocol):
    """One that makes a plan of an answer to P1 of some of the clients too."""

    def plan_for(
        self,
        situation: Situation,
        problem: Problem,
        solution: Solution,
        clients: IntArray | None = None,
    ) -> Plan:
        """Return the plan of a solution of `clients`, or of all."""
