"""Step size and LoRA rank of a method, by short runs on public rows alone."""

import math
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import product
from pathlib import Path

from trimwave.base.errors import DivergedError, InputError
from trimwave.decision.plan import Stage
from trimwave.lm.session import first_plans, run_method
from trimwave.lm.train.evaluate import Evaluator
from trimwave.lm.workbench import Workbench
from trimwave.methods import ask_stages, name_of, parse_method
from trimwave.recipe.config import Config
from trimwave.recipe.limits import limits_of
from trimwave.runs.stages import rounds_to_reach_all
from trimwave.runs.tuned import Tried, Tuned

RATES = {
    "lora": (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2),
    "full": (1e-5, 3e-5, 1e-4, 3e-4, 1e-3),
}
"""Step sizes that are tried where nobody says which, by what trains."""

RANKS = (4, 16)
"""LoRA ranks that are tried where nobody says which."""

FEWEST_ROUNDS = 2
"""Rounds of a method's last stage, or of one without stages, where nobody says more."""

TEST_PART = 0.25
"""Part of the public rows that is tested on; the others are trained on."""

FEWEST_ROWS = 2
"""Public rows that each client trains on at the least."""


def tune(
    bench: Workbench,
    config: Config,
    rates: Sequence[float],
    ranks: Sequence[int],
    rounds: int | None = None,
    folder: Path | None = None,
    on_tried: Callable[[Tried], None] = lambda tried: None,
) -> Tuned:
    """Run a method for a few rounds at each step size and rank, on public rows.

    The clients' own rows are not trained on, nor the test rows tested on: public rows
    take both places, and those that are tested on are not aligned on. Seed, rows and
    their order are the same for all. Warns if so few rounds do not reach every stage,
    of stages that say themselves what is to be picked, and where fewer clients can hold
    what a larger rank takes.

    Parameters
    ----------
    bench : Workbench
        Of the recipe.
    config : Config
        The recipe, with the method; its `rounds` are not read.
    rates : sequence of float
        AdamW step sizes; empty = those of `RATES`.
    ranks : sequence of int
        LoRA ranks; empty = those of `RANKS`, but where the method says its own.
    rounds : int, optional
        How many each is tried for; None = `FEWEST_ROUNDS` of the last stage.
    folder : Path, optional
        Keeps a folder for each run; else nothing is kept.
    on_tried : callable
        Told of each as it is done.

    Raises
    ------
    InputError
        If public rows are too few, a rank is asked for where weights train, every
        stage says itself what is to be picked, or the method cannot be run at some
        point.
    """
    limits = limits_of(config)
    rows = public_bench(bench, config)
    costs = rows.costs  # counts the answers of all rows

    def stages_of(one: Config) -> tuple[Stage, ...]:
        return ask_stages(parse_method(one.method, one.options), costs, limits)

    stages = stages_of(config)
    least = rounds_to_reach_all(stages) - 1 + FEWEST_ROUNDS
    config = replace(config, rounds=least if rounds is None else rounds)
    submodel = stages[0].scheme.submodel
    if ranks and submodel.trained != "lora":
        raise InputError(f"--ranks: `{config.method}` trains weights, no LoRA factors.")
    if not ranks and submodel.trained == "lora" and _takes_rank(config, stages_of):
        ranks = RANKS
    grid = [*product(rates or RATES[submodel.trained], ranks or (None,))]
    candidates = [_candidate(config, rate, rank) for rate, rank in grid]
    _check_takes([*map(stages_of, candidates)], grid, config.method)
    by_rank = {rank: one for one, (_, rank) in zip(candidates, grid, strict=True)}
    _check_ranks(rows, by_rank)
    tried = []
    own_folder: AbstractContextManager[str] = (
        tempfile.TemporaryDirectory(prefix="trimwave-tune-")
        if folder is None
        else nullcontext(str(folder))
    )
    with own_folder as kept:
        for one, (rate, rank) in zip(candidates, grid, strict=True):
            done = _try(rows, one, rate, rank, kept)
            tried.append(done)
            on_tried(done)
    facts = {
        "train_rows": [len(one) for one in rows.client_rows],
        "test_rows": len(bench.public_rows) - sum(map(len, rows.client_rows)),
        "rounds": config.rounds,
        "seed": config.seed,
    }
    return Tuned(method=name_of(config.method), tried=tuple(tried), facts=facts)


def public_bench(bench: Workbench, config: Config) -> Workbench:
    """Return a workbench on which public rows stand for the clients' and the test's.

    Raises
    ------
    InputError
        If they are too few.
    """
    rows, clients = bench.public_rows, config.cell.num_clients
    num_test = math.ceil(TEST_PART * len(rows))
    needed = math.ceil(FEWEST_ROWS * clients / (1 - TEST_PART))
    if len(rows) - num_test < FEWEST_ROWS * clients:
        raise InputError(
            f"there are {len(rows)} public rows for {clients} clients; set "
            f"`data.num_public` to {needed} or more, or `cell.num_clients` to less."
        )
    train, test = rows[num_test:], rows[:num_test]
    return replace(
        bench,
        client_rows=tuple(tuple(train[k::clients]) for k in range(clients)),
        public_rows=train,
        evaluator=Evaluator(test, bench.pad_id, bench.config.train),
        client_evaluators=(),
        task_metrics=None,
    )


def _candidate(config: Config, rate: float, rank: int | None) -> Config:
    """Return the config of one point of the grid.

    Raises
    ------
    InputError
        If what is written behind the method's name says it already.
    """
    name = name_of(config.method)
    table = {**config.options.get(name, {}), "learning_rate": rate}
    if rank is not None:
        table["lora_rank"] = rank
    one = replace(config, options={**config.options, name: table})
    method = parse_method(one.method, one.options)
    for key in ("learning_rate", "lora_rank"):
        if key in table and getattr(method, key) != table[key]:
            raise InputError(
                f"`{config.method}` says its `{key}` itself; leave it out, since it is "
                "what is picked."
            )
    return one


def _takes_rank(config: Config, stages_of: Callable[[Config], Sequence[Stage]]) -> bool:
    """Whether any stage has the rank that it is given, and not one of its own."""
    try:
        found = [stages_of(_candidate(config, 1.0, rank)) for rank in RANKS]
    except InputError:  # said when the grid is made, if it is not of the rank
        return False
    return any(
        one.scheme.submodel.lora_rank != other.scheme.submodel.lora_rank
        for one, other in zip(*found, strict=True)
    )


def _check_takes(
    tried: Sequence[Sequence[Stage]],
    grid: Sequence[tuple[float, int | None]],
    method: str,
) -> None:
    """Refuse a grid that no stage listens to, and warn of stages that do not.

    Parameters
    ----------
    tried : sequence
        The stages at each point of the grid.
    grid : sequence
        Step size and rank of each.

    Raises
    ------
    InputError
        If all runs would be the same.
    """
    asked: dict[str, list[float | None]] = {
        "learning_rate": [rate for rate, _ in grid],
    }
    if grid[0][1] is not None:
        asked["lora_rank"] = [rank for _, rank in grid]
    for key, values in asked.items():
        own = []
        for at, stages in enumerate(zip(*tried, strict=True)):
            found = [_tried_of(stage, key) for stage in stages]
            own += [str(at)] if found != values else []
        if len(own) == len(tried[0]):
            raise InputError(
                f"every stage of `{method}` says its `{key}` itself; leave it out of "
                "one at least, since it is what is picked."
            )
        if own:
            warnings.warn(
                f"these stages of `{method}` say their `{key}` themselves and keep it "
                f"at each point of the grid: {', '.join(own)}.",
                stacklevel=3,
            )


def _check_ranks(rows: Workbench, ranks: Mapping[int | None, Config]) -> None:
    """Refuse ranks that do not fit, before any trains; warn where some take part less.

    Raises
    ------
    InputError
        Naming the rank.
    """
    there = {}
    for rank, config in ranks.items():
        try:
            plans = first_plans(rows, config)
        except InputError as error:
            which = "" if rank is None else f"--ranks: of rank {rank}, "
            raise InputError(f"{which}{error}") from error
        there[rank] = [int(plan.scheduled.sum()) for plan in plans]
    if len({tuple(one) for one in there.values()}) > 1:
        said = "; ".join(
            f"{', '.join(map(str, counts))} with rank {rank}"
            for rank, counts in there.items()
        )
        warnings.warn(
            f"ranks compare unlike runs: the clients that take part are {said} (one "
            "number a stage); leave the larger out, or raise `cell.memory_bytes`.",
            stacklevel=3,
        )


def _tried_of(stage: Stage, key: str) -> float | None:
    """Return what a stage trains with of what is picked."""
    scheme = stage.scheme
    return scheme.learning_rate if key == "learning_rate" else scheme.submodel.lora_rank


def _try(
    rows: Workbench, config: Config, rate: float, rank: int | None, folder: str
) -> Tried:
    losses: list[float] = []
    diverged = False
    name = f"{rate:g}" if rank is None else f"{rate:g}-r{rank}"
    try:
        run_method(
            rows,
            config,
            Path(folder) / name,
            on_record=lambda record: losses.append(record["loss_full"]),
        )
    except DivergedError:
        diverged = True
    return Tried(
        learning_rate=rate, lora_rank=rank, losses=tuple(losses), diverged=diverged
    )
