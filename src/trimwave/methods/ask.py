"""Ask a method for its scheme and its plans: checked, and faults named as its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np

from trimwave.base.errors import InputError
from trimwave.decision.check import check_plan
from trimwave.decision.plan import Plan, Scheme, Situation, Stage
from trimwave.decision.present import numbered, spread
from trimwave.methods.common import own_costs
from trimwave.methods.method import HasStages, Method
from trimwave.methods.own import fault, is_own
from trimwave.model.costs import Costs
from trimwave.problem.limits import Limits


def ask_scheme(method: Method, costs: Costs, limits: Limits) -> Scheme:
    """Return what stays fixed over a run.

    Raises
    ------
    InputError
        If an option does not fit the model, or a rule of the user's own failed: where.
    """
    try:
        scheme = method.scheme(own_costs(method, costs), limits)
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise _of(method, error, "failed in `scheme`") from error
    if not isinstance(scheme, Scheme):
        raise InputError(
            f"the scheme of method {method.label} is {type(scheme).__name__} instead "
            "of a `Scheme`."
        )
    return scheme


def ask_stages(method: Method, costs: Costs, limits: Limits) -> tuple[Stage, ...]:
    """Return the stages of a run: one, but of a method that has several.

    Raises
    ------
    InputError
        As `ask_scheme`, or if a stage trains the LM head and the next does not go on
        with it: the head cannot be merged, since it may be the embedding too.
    """
    if not isinstance(method, HasStages):
        return (Stage(scheme=ask_scheme(method, costs, limits)),)
    stages = tuple(method.run_stages(own_costs(method, costs), limits))
    submodels = [one.scheme.submodel for one in stages]
    for at, (one, following) in enumerate(pairwise(submodels)):
        if one.trains_head and "head" not in one.going_on(following):
            raise InputError(
                f"stage {at} of {method.label} trains the LM head, and stage {at + 1} "
                "does not go on with it, in the same rank and alpha; have both train "
                "it, or none."
            )
    return stages


def seen_by(method: Method, situation: Situation) -> Situation:
    """Return a situation with the costs of what the method's options ask for."""
    costs = own_costs(method, situation.costs)
    if costs is situation.costs:
        return situation
    return replace(situation, costs=costs)


def ask_plan(
    method: Method,
    situation: Situation,
    scheme: Scheme | None = None,
    *,
    label: str | None = None,
) -> Plan:
    """Return a plan that can be run, of all clients of the run.

    The method plans for those who are there; this is the one place where its plan is
    checked and spread over all.

    Parameters
    ----------
    method : Method
        This package's or a user's.
    situation : Situation
        What it plans for.
    scheme : Scheme, optional
        What the server was built from.
    label : str, optional
        What messages call the method, if not its own label.

    Raises
    ------
    InfeasibleError
        If the situation has no solution.
    InputError
        If the method cannot serve it, its plan cannot be run, or a rule of the user's
        own failed: where.
    """
    situation = seen_by(method, situation)
    given = _sealed(situation) if is_own(type(method)) else situation
    try:
        with _named_clients(situation):
            plan = method.plan(given)
            return ready(situation, plan, label or method.label, scheme)
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise _of(method, error, "failed in `plan`") from error


def ready(
    situation: Situation, plan: Plan, label: str, scheme: Scheme | None = None
) -> Plan:
    """Check a plan of the clients who are there, and spread it over all.

    Raises
    ------
    InputError
        If it cannot be run.
    """
    check_plan(situation, plan, label, scheme)
    return spread(plan, situation.present) if situation.present else plan


@contextmanager
def _named_clients(situation: Situation) -> Iterator[None]:
    """Say who is meant where an error numbers the clients that are there."""
    try:
        yield
    except InputError as error:
        if situation.present is None:
            raise
        said = f"{error} {numbered(situation.present.clients)}"
        raise InputError(said) from error


def _sealed(situation: Situation) -> Situation:
    """Return what a rule of others can change nothing of for who comes after it."""
    for field in fields(situation.cell):
        value = getattr(situation.cell, field.name)
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return replace(situation, carried=deepcopy(dict(situation.carried)))


def _of(method: Method, error: BaseException, doing: str) -> BaseException:
    """Return the error of a user's rule as one line; one of ours as it is."""
    kind = type(method)
    return fault(error, kind, doing) if is_own(kind) else error
