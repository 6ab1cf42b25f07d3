"""What a method is: a rule that plans a round."""

from typing import Protocol, runtime_checkable

from trimwave.model.costs import Costs
from trimwave.plan.plan import Plan, Scheme, Situation
from trimwave.problem.limits import Limits
from trimwave.problem.problem import Problem


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
class SolvesP1(Protocol):
    """A method whose plan is an answer to P1, eq. (10)."""

    def problem(self, situation: Situation) -> Problem:
        """Return P1 of a round, as the method solves it."""
