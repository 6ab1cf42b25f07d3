"""One draw of a cell, planned by every method: the rows of a sweep."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from trimwave.base.errors import InputError
from trimwave.base.units import BITS_PER_BYTE, FloatArray
from trimwave.decision.plan import Plan, Stage
from trimwave.methods import Method, ask_plan, ask_stages, label_of, parse_method
from trimwave.model.costs import Costs
from trimwave.recipe.config import Config
from trimwave.recipe.environment import Environment
from trimwave.recipe.seen import ALL_AS_DRAWN
from trimwave.recipe.situation import costs_from, num_samples_of, shape_named
from trimwave.runs.devices import Devices
from trimwave.runs.stages import STAGE, stage_after, stage_of

Row = dict[str, Any]

PLANNED = "ok"

COLUMNS = {
    "method": "string",  # what tables call it
    "method_text": "string",  # what `parse_method` reads
    "seed": "int64",
    "round": "int64",
    "stage": "int64",  # which of the method's it is of, from 0
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

    Any emulator size is allowed. What earlier rounds have left on the devices is
    counted as in a run: slices, states of rows, finished stages. A round without a plan
    leaves nothing and ends no stage; the next one begins with what the last plan
    carried. Over a trace in seconds
    a round begins when the last one ended, or where there was no plan, with the next
    sample.
    """
    try:
        costs = costs_from(config, shape_named(config.model.name))
        environment = Environment.from_config(config)
        environment.limits  # noqa: B018 - raises where they are wrong
        samples = num_samples_of(config)
    except InputError as error:
        status = _one_line(error)
        return [
            row | {"status": status}
            for text in methods
            for row in _empty_rows(config, text, rounds)
        ]
    return [
        row
        for text in methods
        for row in _Run(environment, costs, samples, text).planned(rounds)
    ]


def _empty_rows(config: Config, text: str, rounds: int) -> list[Row]:
    """Return what the rows of a method's rounds have in any case."""
    label = label_of(text, config.options)
    return [
        {"method": label, "method_text": text, "seed": config.seed, "round": number}
        for number in range(1, rounds + 1)
    ]


class _Run:
    """A method's rounds in a draw, one after another, as a run's without training."""

    def __init__(
        self, environment: Environment, costs: Costs, samples: FloatArray, text: str
    ) -> None:
        self._environment, self._costs, self._samples = environment, costs, samples
        self._text = text
        self._records: list[Row] = [{"round": 0}]
        self._carried: Mapping[str, Any] = {}
        self._clock_s = 0.0

    def planned(self, rounds: int) -> list[Row]:
        """Return a row per round."""
        environment = self._environment
        config, speeds = environment.config, environment.speed_flops_per_s
        speed_cv = float(np.std(speeds) / np.mean(speeds))
        rows = [
            row | {"speed_cv": speed_cv}
            for row in _empty_rows(config, self._text, rounds)
        ]
        try:
            method = parse_method(self._text, config.options)
            stages = _by_rounds(ask_stages(method, self._costs, environment.limits))
        except InputError as error:
            return [row | {"status": _one_line(error)} for row in rows]
        devices = Devices.of(config, self._costs, stages, self._records[0])
        for row in rows:
            stage = stage_after(self._records, stages)
            if stage > stage_of(self._records[-1]):
                devices.forget()
            row["stage"] = stage
            try:
                self._plan(method, stages, stage, devices, row)
            except InputError as error:
                row["status"] = _one_line(error)
                if environment.replay is not None:
                    self._clock_s = environment.replay.next_sample_s(self._clock_s)
        return rows

    def _plan(
        self,
        method: Method,
        stages: Sequence[Stage],
        stage: int,
        devices: Devices,
        row: Row,
    ) -> None:
        """Plan the next round into its row, and note what it leaves.

        Raises
        ------
        InputError
            If there is no plan.
        """
        environment, records, samples = self._environment, self._records, self._samples
        submodels = [one.scheme.submodel for one in stages]
        learnt_bits = [
            self._costs.learnt_bits(*both) for both in pairwise(submodels[: stage + 1])
        ]
        start_s = row["start_s"] = self._clock_s = environment.start_s(self._clock_s)
        seen = devices.added_to(ALL_AS_DRAWN, records, stage, learnt_bits, samples)
        situation = environment.situation(
            row["round"] - 1, self._costs, samples, self._carried, start_s, seen
        )
        first_step = devices.first_step(records)
        situation = replace(situation, stage=stage, first_step=first_step)
        plan = ask_plan(method, situation, label=row["method"])
        there: list[bool] = plan.scheduled.tolist()
        devices.keep(plan, records, stage, samples, there)
        row["round_s"] = float(np.max(environment.client_s(plan, start_s)))
        row |= _measures(plan)
        self._clock_s += row["round_s"]
        self._carried = plan.carry
        trained = [0.0 if one else None for one in there]
        records.append(
            {"round": row["round"], STAGE: stage, "client_train_loss": trained}
        )


def _by_rounds(stages: Sequence[Stage]) -> list[Stage]:
    """Return stages that end by rounds alone: nothing is known of losses here."""
    if any(one.least_slope_per_s is not None for one in stages):
        warnings.warn(
            "`least_slope_per_s` has no effect on what is planned without training: a "
            "stage goes on for its `rounds`, or to the end.",
            stacklevel=4,
        )
    return [replace(one, least_slope_per_s=None) for one in stages]


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
