"""Algorithms for P1, by the name that `--solver` takes."""

from trimwave.base.errors import InputError, nearest
from trimwave.problem.solution import Solver
from trimwave.solvers.bcd import BlockDescent
from trimwave.solvers.exact import Exact
from trimwave.solvers.integers import realise
from trimwave.solvers.uniform import Uniform

SOLVERS: dict[str, Solver] = {
    solver.name: solver for solver in (Exact(), BlockDescent(), Uniform())
}


def get_solver(name: str) -> Solver:
    """Return a solver by name.

    Raises
    ------
    InputError
        If there is none; names the nearest.
    """
    if name not in SOLVERS:
        raise InputError(f"no solver `{name}`; {nearest(name, SOLVERS)}")
    return SOLVERS[name]


__all__ = ["SOLVERS", "BlockDescent", "Exact", "Uniform", "get_solver", "realise"]
