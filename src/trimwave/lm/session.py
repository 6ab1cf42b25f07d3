"""From a config to records: puts server, clients, backend and loop together."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from trimwave.base.errors import InputError, RunError
from trimwave.base.provenance import hardware_and_versions
from trimwave.lm.local import LocalBackend, clients_of
from trimwave.lm.server import LmServer
from trimwave.lm.train.quantise import quantiser
from trimwave.lm.workbench import Workbench
from trimwave.methods import parse_method
from trimwave.plan.check import check_plan
from trimwave.recipe.config import Config
from trimwave.recipe.environment import Environment
from trimwave.recipe.recipe import differences
from trimwave.runs.records import Run
from trimwave.runs.rounds import run_rounds

PACKAGES = (
    "trimwave",
    "numpy",
    "torch",
    "transformers",
    "peft",
    "datasets",
    "safetensors",
    "scipy",
    "bitsandbytes",
    "reasoning-gym",
)


def check_runs(bench: Workbench, configs: Iterable[Config]) -> None:
    """Plan the first round of several runs, before anything trains.

    Raises
    ------
    InputError
        If a method cannot serve its cell, or its plan cannot be run: which method, and
        what to change.
    MissingExtraError
        If a plan quantises and bitsandbytes is not installed.
    """
    for config in configs:
        method = parse_method(config.method, config.options)
        environment = Environment.from_config(config)
        try:
            scheme = method.scheme(bench.costs, environment.limits)
            situation = environment.situation(0, bench.costs, bench.num_samples)
            plan = method.plan(situation)
            check_plan(situation, plan, method.label, scheme)
        except InputError as error:
            raise InputError(f"method `{config.method}`: {error}") from error
        if any(one and one.weight_bits < 16 for one in plan.submodels):
            quantiser()


def run_method(
    bench: Workbench,
    config: Config,
    folder: Path,
    *,
    resume: bool = False,
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
    on_client: Callable[[int], None] = lambda client: None,
) -> list[dict[str, Any]]:
    """Run one method to its end in one folder, or go on with what the folder holds.

    Parameters
    ----------
    bench : Workbench
        Of a config that differs from `config` in method, rounds and name at most.
    config : Config
        The run.
    folder : Path
        Its folder.

    Raises
    ------
    InputError
        If the run cannot be started, resumed or planned.
    """
    if resume:
        run = Run.open(folder)
        run.check_same(config)
        _check_same_facts(run, bench)
    else:
        facts = {**bench.facts, "backend": "local", **hardware_and_versions(PACKAGES)}
        run = Run.create(folder, config, facts)
    bench = replace(bench, config=config)
    method = parse_method(config.method, config.options)
    environment = Environment.from_config(config)
    scheme = method.scheme(bench.costs, environment.limits)
    server = LmServer(bench, scheme)
    clients = clients_of(bench, scheme, server.template)
    return run_rounds(
        environment,
        method,
        server,
        LocalBackend(server, clients, on_client),
        run,
        num_rounds=config.rounds,
        on_record=on_record,
    )


def _check_same_facts(run: Run, bench: Workbench) -> None:
    """Raise if model, rows or ranking are others than the run was started with."""
    old = {name: run.manifest.get(name) for name in bench.facts}
    changed = differences(old, json.loads(json.dumps(bench.facts)))
    if changed:
        raise RunError(
            f"{run.folder} was started with another model, other rows or another "
            f"ranking of heads (which can differ between machines): "
            f"{'; '.join(changed)}. Put them back, or start a new run."
        )
