"""One draw of a cell, planned by every method: the rows of a sweep."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trimwave.base.errors import InputError
from trimwave.base.units import BITS_PER_BYTE
from trimwave.decision.plan import Plan
from trimwave.methods import ask_plan, label_of, parse_method
from trimwave.recipe.config import Config
from trimwave.recipe.environment import Environment
from trimwave.recipe.situation import costs_from, num_samples_of, shape_named

Row = dict[str, Any]

PLANNED = "ok"

COLUMNS = {
    "method": "string",  # what tables call it
    "method_text": "string",  # what `parse_method` reads
    "seed": "int64",
    "round": "int64",
    "status": "string",  # PLANNED, or why there is no plan and no number below
    "latency_s": "float64",  # as planned
    "start_s": "float64",  # when the round begins on the draw's clock
    "round_s": "float64",  # what it takes: as planned, or over a trace in seconds
    "mean_prune_rate": "float64",  # over scheduled clients
    "num_scheduled": "int64",
    "down_bytes": "int64",  # of all clients together
    "up_bytes": "int64",
    "device_flops": "float64",  # mean over scheduled clients
    "memory_bytes_max": "int64",  # of the client that needs most
    "install_bytes": "int64",  # of all clients together, before round one
    "install_s": "float64",
    "solver": "string",
    "bound_s": "float64",
    "gap": "float64",
    "kkt_residual": "float64",
    "spectrum_utilisation": "float64",
    "speed_cv": "float64",  # std / mean of the clients' speeds, planned or not
}
"""What a row holds besides the keys that vary, in Arrow's type names."""


def plan_draw(config: Config, methods: Sequence[str], rounds: int) -> list[Row]:
    """Plan the rounds of the draw that is the config's seed, with every method.

    Any emulator size is allowed. After a round without a plan the next one begins with
    what the last plan carried. Over a trace in seconds a round begins when the last one
    ended, or where there was no plan, with the next sample.
    """
    rows: list[Row] = [
        {
            "method": label_of(text, config.options),
            "method_text": text,
            "seed": config.seed,
            "round": number,
        }
        for text in methods
        for number in range(1, rounds + 1)
    ]
    try:
        costs = costs_from(config, shape_named(config.model.name))
        environment = Environment.from_config(config)
        environment.limits  # noqa: B018 - raises where they are wrong
        samples = num_samples_of(config)
    except InputError as error:
        return [row | {"status": _one_line(error)} for row in rows]
    speeds = environment.speed_flops_per_s
    carried: Mapping[str, Any] = {}
    clock_s = 0.0
    for row in rows:
        row["speed_cv"] = float(np.std(speeds) / np.mean(speeds))
        if row["round"] == 1:
            method, carried = parse_method(row["method_text"], config.options), {}
            clock_s = 0.0
        try:
            clock_s = row["start_s"] = environment.start_s(clock_s)
            situation = environment.situation(
                row["round"] - 1, costs, samples, carried, clock_s
            )
            plan = ask_plan(method, situation, label=row["method"])
        except InputError as error:
            row["status"] = _one_line(error)
            if environment.replay is not None:
                clock_s = environment.replay.next_sample_s(clock_s)
            continue
        row["round_s"] = float(np.max(environment.client_s(plan, clock_s)))
        row |= _measures(plan)
        clock_s += row["round_s"]
        carried = plan.carry
    return rows


def _measures(plan: Plan) -> Row:
    solution, takes_part = plan.solution, plan.scheduled
    return {
        "status": PLANNED,
        "latency_s": plan.latency_s,
        "mean_prune_rate": float(np.mean(plan.prune_rate[takes_part])),
        "num_scheduled": int(np.sum(takes_part)),
        "down_bytes": int(np.sum(plan.down_bits)) // BITS_PER_BYTE,
        "up_bytes": int(np.sum(plan.up_bits)) // BITS_PER_BYTE,
        "device_flops": float(np.mean(plan.flops[takes_part])),
        "memory_bytes_max": int(np.max(plan.memory_bytes)),
        "install_bytes": int(np.sum(plan.install_bits)) // BITS_PER_BYTE,
        "install_s": plan.install_s,
        "solver": solution.solver if solution else None,
        "bound_s": solution.bound_s if solution else None,
        "gap": solution.gap if solution else None,
        "kkt_residual": solution.kkt_residual if solution else None,
        "spectrum_utilisation": plan.spectrum_utilisation,
    }


def _one_line(error: InputError) -> str:
    return " ".join(str(error).split())
