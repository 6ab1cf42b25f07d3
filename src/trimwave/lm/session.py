"""From a config to records: puts server, clients, backend and loop together."""

import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from trimwave.base.errors import InputError, RunError
from trimwave.base.provenance import hardware_and_versions
from trimwave.decision.plan import Plan, Scheme
from trimwave.lm.aggregate import check_senders
from trimwave.lm.local import LocalBackend, OnClient, clients_of
from trimwave.lm.noise import noise_seed
from trimwave.lm.server import LmServer
from trimwave.lm.train.client import Client
from trimwave.lm.train.quantise import quantiser
from trimwave.lm.train.tune import pick_device
from trimwave.lm.workbench import Workbench
from trimwave.methods import ask_plan, ask_stages, facts_of_rule, parse_method
from trimwave.recipe.config import Config
from trimwave.recipe.environment import Environment
from trimwave.recipe.recipe import differences
from trimwave.runs.folder import locked
from trimwave.runs.records import Run
from trimwave.runs.roles import Backend
from trimwave.runs.rounds import run_rounds
from trimwave.runs.stages import warn_of_unreached

BackendOf = Callable[[LmServer, Workbench], AbstractContextManager[Backend]]
"""Opens what runs the plans of a server."""

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
        If a method cannot serve its cell, its plan cannot be run, or its updates are
        too few for the recipe's way to aggregate them: which method, and what to
        change.
    MissingExtraError
        If a plan quantises and bitsandbytes is not installed.
    """
    for config in configs:
        first_plans(bench, config)


def first_plans(bench: Workbench, config: Config) -> list[Plan]:
    """Plan the first round as if it were of each of a run's stages.

    Raises
    ------
    InputError, MissingExtraError
        As `check_runs`.
    """
    method = parse_method(config.method, config.options)
    environment = Environment.from_config(config)
    try:
        stages = ask_stages(method, bench.costs, environment.limits)
        situation = environment.situation(
            0, bench.costs, bench.num_samples, clock_s=environment.start_s(0.0)
        )
        plans = [
            ask_plan(method, replace(situation, stage=at), stage.scheme)
            for at, stage in enumerate(stages)
        ]
        for plan in plans:
            check_senders(config.aggregate, plan.submodels)
    except InputError as error:
        raise InputError(f"method `{config.method}`: {error}") from error
    if any(one and one.weight_bits < 16 for plan in plans for one in plan.submodels):
        quantiser()
    return plans


def check_beside(bench: Workbench, folders: Iterable[Path]) -> None:
    """Refuse runs to be compared that were begun with another model or other rows.

    Raises
    ------
    RunError
        Naming the run and what differs.
    """
    config = bench.config
    facts = {**bench.facts, **Environment.from_config(config).facts}
    for folder in folders:
        run = Run.open(folder)
        if run.config.seed != config.seed:  # draws other rows, from the same files
            names = ("revision", "public_revision")
            read = {name: bench.facts["data"][name] for name in names}
            same = {"model": facts["model"], "data": read}
        else:
            same = facts
        check_same_facts(run, {**same, **facts_of_rule(run.config.method)})


def run_method(
    bench: Workbench,
    config: Config,
    folder: Path,
    *,
    resume: bool = False,
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
    on_client: OnClient = lambda client, place, num_clients: None,
    backend: str = "local",
    backend_of: BackendOf | None = None,
    lock: Path | None = None,
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
    backend : str
        What the manifest says of where the clients are.
    backend_of : callable, optional
        Opens the backend for the run; in this process if left out.
    lock : Path, optional
        The folder to lock in place of `folder`, whose lock the caller's parent has.

    Raises
    ------
    InputError
        If the run cannot be started, resumed or planned.
    """
    if backend_of is None:

        def backend_of(
            server: LmServer, bench: Workbench
        ) -> AbstractContextManager[Backend]:
            def renewed(scheme: Scheme) -> list[Client]:
                return clients_of(bench, scheme, server.template)

            clients = renewed(server.scheme)
            return nullcontext(LocalBackend(server, clients, on_client, renewed))

    with locked(lock or folder):
        return _run(bench, config, folder, resume, on_record, backend, backend_of)


def _run(
    bench: Workbench,
    config: Config,
    folder: Path,
    resume: bool,
    on_record: Callable[[dict[str, Any]], None],
    backend: str,
    backend_of: BackendOf,
) -> list[dict[str, Any]]:
    environment = Environment.from_config(config)
    environment.check_rounds(config.rounds)
    facts = {**bench.facts, **environment.facts, **facts_of_rule(config.method)}
    machine = {**hardware_and_versions(PACKAGES), "torch": torch_facts(config)}
    if resume:
        run = Run.open(folder)
        run.check_same(config)
        check_same_facts(run, facts)
        run.grow(config.rounds)
        _warn_of_another_machine(run, machine)
    else:
        run = Run.create(folder, config, {**facts, "backend": backend, **machine})
    bench = replace(bench, config=config)
    method = parse_method(config.method, config.options)
    stages = ask_stages(method, bench.costs, environment.limits)
    warn_of_unreached(stages, config.rounds, config.method)
    scheme, *later = [stage.scheme for stage in stages]
    _warn_of_idle_states(config, [scheme, *later], 1 - environment.limits.beta_min)
    server = LmServer(bench, scheme, noise_seed(run, config.aggregate), later)
    with backend_of(server, bench) as opened:
        return run_rounds(
            environment,
            method,
            server,
            opened,
            run,
            num_rounds=config.rounds,
            patience=config.train.patience,
            keep_all=config.train.keep_checkpoints == "all",
            on_record=on_record,
        )


def _warn_of_idle_states(
    config: Config, schemes: Sequence[Scheme], most_kept: float
) -> None:
    """Warn where no client can keep states, or stream what they are made with.

    `most_kept` is the largest part of the emulator that pruning leaves, by C4.
    """
    submodels = [one.submodel for one in schemes]
    largest = [
        replace(one, kept_fraction=max(one.kept_fraction, most_kept))
        for one in submodels
    ]
    whole = "has whole blocks that stay as they are below those that train"
    if config.train.keeps_states and not any(one.caches_states for one in largest):
        warnings.warn(
            f"`train.state_cache` has no effect on `{config.method}`: no client "
            f"{whole}.",
            stacklevel=4,
        )
    elif config.train.stream_prefix and not any(
        one.streams_prefix for one in submodels
    ):
        warnings.warn(
            f"`train.stream_prefix` has no effect on `{config.method}`: what its "
            "clients have below the blocks that train is sent in every round.",
            stacklevel=4,
        )


def torch_facts(config: Config) -> dict[str, Any]:
    """Say what the last bits of a result depend on beside the versions."""
    return {
        "device": str(pick_device(config.train.device)),
        "threads": torch.get_num_threads(),
    }


def check_same_facts(run: Run, facts: Mapping[str, Any]) -> None:
    """Raise if anything read is other than when the run was started."""
    manifest = run.manifest
    old = {name: _like(manifest.get(name), facts[name]) for name in facts}
    changed = differences(old, json.loads(json.dumps(facts)))
    if changed:
        raise RunError(
            f"{run.folder} was started with another model, other rows, another trace, "
            "another rule or another ranking of heads (which can differ between "
            "machines): "
            f"{'; '.join(changed)}. Put them back, or start a new run."
        )


def _like(old: object, new: object) -> object:
    """Return of a recorded table what a new one has too."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return old
    return {name: old.get(name) for name in new}


def _warn_of_another_machine(run: Run, machine: Mapping[str, Any]) -> None:
    """Say where rounds to come may differ in the last bits from an unbroken run's."""
    manifest = run.manifest
    names = ("versions", "hardware", "torch")
    changed = differences(
        {name: manifest.get(name) for name in names},
        {name: machine[name] for name in names},
    )
    if changed:
        warnings.warn(
            f"{run.folder} was begun otherwise, so its last bits may differ from an "
            f"unbroken run's: {'; '.join(changed)}.",
            stacklevel=3,
        )
