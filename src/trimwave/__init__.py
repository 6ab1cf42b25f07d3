"""trimwave: fine-tune a language model over slow, unequal wireless links.

The names here are the planning core and need NumPy alone; each is loaded when it is
asked for. ``trimwave.lm`` is the language-model part and needs the extra ``lm``.

Example
-------
>>> import numpy as np
>>> import trimwave as tw
>>> cell = tw.Cell(
...     speed_flops_per_s=np.array([0.5e12, 2e12]),
...     memory_bytes=np.array([4e9, 8e9]),
...     snr_down=np.array([1e5, 1e7]),
...     snr_up=np.array([1e3, 1e5]),
...     num_samples=np.array([100.0, 100.0]),
...     total_bandwidth_hz=20e6,
... )
>>> work = tw.workload_of(
...     tw.SHAPES["gpt2-medium"],
...     split_index=22, batch_size=1, seq_len=256, num_local_steps=30,
... )
>>> problem = tw.Problem(cell=cell, workload=work, limits=tw.Limits(beta_bar=0.5))
>>> solution = tw.solve(problem, tw.Exact())
>>> solution.prune_rate.round(3), solution.gap < 1e-9
(array([0.8, 0.2]), True)
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from trimwave.base.moved import show_moves

if TYPE_CHECKING:
    __version__: str
    from trimwave.api.verbs import compare, plan, run
    from trimwave.base.curve import PiecewiseLinear
    from trimwave.base.errors import (
        InfeasibleError,
        InputError,
        MissingExtraError,
        RunError,
    )
    from trimwave.cell.cell import Cell
    from trimwave.decision.plan import Plan, Scheme, Situation
    from trimwave.methods import (
        Deft,
        FedBiot,
        FedQlora,
        Jcpba,
        LatencyBudget,
        Lora,
        Method,
        Partial,
        Personalised,
        PruningRule,
        SplitLora,
        Ubfp,
        parse_method,
    )
    from trimwave.model.costs import Costs
    from trimwave.model.shape import SHAPES, ModelShape
    from trimwave.model.submodel import Submodel
    from trimwave.model.workload import Workload
    from trimwave.model.workload_of import workload_of
    from trimwave.problem.limits import Limits
    from trimwave.problem.problem import Problem
    from trimwave.problem.solution import (
        Solution,
        SolutionBatch,
        Solver,
        Status,
        solve,
    )
    from trimwave.problem.violation import Violation
    from trimwave.solvers import (
        SOLVERS,
        BlockDescent,
        Exact,
        Uniform,
        get_solver,
        realise,
    )

_HOMES = {
    "SHAPES": "model.shape",
    "SOLVERS": "solvers",
    "BlockDescent": "solvers",
    "Cell": "cell.cell",
    "Costs": "model.costs",
    "Deft": "methods",
    "Exact": "solvers",
    "FedBiot": "methods",
    "FedQlora": "methods",
    "InfeasibleError": "base.errors",
    "InputError": "base.errors",
    "Jcpba": "methods",
    "LatencyBudget": "methods",
    "Limits": "problem.limits",
    "Lora": "methods",
    "Method": "methods",
    "MissingExtraError": "base.errors",
    "ModelShape": "model.shape",
    "Partial": "methods",
    "Personalised": "methods",
    "PiecewiseLinear": "base.curve",
    "Plan": "decision.plan",
    "Problem": "problem.problem",
    "PruningRule": "methods",
    "RunError": "base.errors",
    "Scheme": "decision.plan",
    "Situation": "decision.plan",
    "Solution": "problem.solution",
    "SolutionBatch": "problem.solution",
    "Solver": "problem.solution",
    "SplitLora": "methods",
    "Status": "problem.solution",
    "Submodel": "model.submodel",
    "Ubfp": "methods",
    "Uniform": "solvers",
    "Violation": "problem.violation",
    "Workload": "model.workload",
    "compare": "api.verbs",
    "get_solver": "solvers",
    "parse_method": "methods",
    "plan": "api.verbs",
    "realise": "solvers",
    "run": "api.verbs",
    "solve": "problem.solution",
    "workload_of": "model.workload_of",
}
"""Module by public name."""

show_moves()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("trimwave")
    if name == "METHODS":  # for one release
        raise AttributeError(
            "`trimwave.METHODS` has gone: a rule of your own is named module:Class, as "
            "docs/extend.md shows; `trimwave.methods.METHODS` lists ours, read-only."
        )
    if name not in _HOMES:
        raise AttributeError(f"module `trimwave` has no attribute `{name}`")
    return getattr(import_module(f"trimwave.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "SHAPES",
    "SOLVERS",
    "BlockDescent",
    "Cell",
    "Costs",
    "Deft",
    "Exact",
    "FedBiot",
    "FedQlora",
    "InfeasibleError",
    "InputError",
    "Jcpba",
    "LatencyBudget",
    "Limits",
    "Lora",
    "Method",
    "MissingExtraError",
    "ModelShape",
    "Partial",
    "Personalised",
    "PiecewiseLinear",
    "Plan",
    "Problem",
    "PruningRule",
    "RunError",
    "Scheme",
    "Situation",
    "Solution",
    "SolutionBatch",
    "Solver",
    "SplitLora",
    "Status",
    "Submodel",
    "Ubfp",
    "Uniform",
    "Violation",
    "Workload",
    "__version__",
    "compare",
    "get_solver",
    "parse_method",
    "plan",
    "realise",
    "run",
    "solve",
    "workload_of",
]
