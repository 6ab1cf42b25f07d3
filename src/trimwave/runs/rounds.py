"""The round loop: plan, exchange, aggregate, evaluate, record. Knows no framework.

`Server` owns the model; `Backend` runs a plan. The ``local`` backend trains in this
process, and the environment says what that takes on the virtual clock; another may send
messages and measure. The same loop, records and checkpoints serve both.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trimwave.base.errors import DivergedError
from trimwave.base.units import BITS_PER_BYTE, FloatArray
from trimwave.decision.plan import Plan
from trimwave.methods import Method, ask_plan, ask_stages
from trimwave.recipe.environment import Environment
from trimwave.runs.best import best_round, has_stopped, stop_after
from trimwave.runs.devices import Devices
from trimwave.runs.records import Run
from trimwave.runs.roles import OWN, Backend, Exchange, Server
from trimwave.runs.stages import STAGE, stage_after


def run_rounds(
    environment: Environment,
    method: Method,
    server: Server,
    backend: Backend,
    run: Run,
    *,
    num_rounds: int,
    patience: int = 0,
    keep_all: bool = False,
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """Run or continue a run up to `num_rounds` rounds.

    Record 0 is the state before training, at virtual second 0. After `patience` rounds
    without a lower test loss the run ends (0 = never). The checkpoints of the two
    newest rounds and of the best one stay, or those of all rounds.

    Returns
    -------
    list of dict
        All records of the run, the restored ones included.

    Raises
    ------
    InputError
        If the method has no plan for a round, or one that cannot be run.
    """
    stages = ask_stages(method, server.costs, environment.limits)

    def load(folder: Path) -> None:
        server.load(folder)
        if server.stage:
            backend.begin_stage(stages[server.stage].scheme)
        backend.load(folder)

    def save(folder: Path) -> None:
        server.save(folder)
        backend.save(folder)

    records = run.restore(load)
    for record in records:
        on_record(record)
    if not records:
        started = time.monotonic()
        server.align(0)
        record = {"round": 0, "virtual_s": 0.0, **server.evaluate()}
        measured = server.measure(0, is_last=False)
        record |= measured.record
        elapsed_s = time.monotonic() - started
        run.commit(record, save, elapsed_s, speeds=measured.speeds)
        records.append(record)
        on_record(record)
    devices = Devices.of(environment.config, server.costs, stages, records[-1])
    for number in range(len(records), num_rounds + 1):
        if has_stopped(records):
            break
        started = time.monotonic()
        if stage_after(records, stages) > server.stage:
            server.advance()
            backend.begin_stage(stages[server.stage].scheme)
            devices.forget()
        stage, scheme = server.stage, stages[server.stage].scheme
        carried = records[-1].get("plan", {}).get("carry", {})
        start_s = environment.start_s(records[-1]["virtual_s"])
        seen = backend.look()
        samples = server.num_samples if seen.num_samples is None else seen.num_samples
        seen = devices.added_to(seen, records, stage, server.learnt_bits, samples)
        situation = environment.situation(
            number - 1, server.costs, samples, carried, start_s, seen
        )
        first_step = devices.first_step(records)
        situation = replace(situation, stage=stage, first_step=first_step)
        plan = ask_plan(method, situation, scheme)
        clock = _Clock.of(environment, plan, start_s)
        exchange = backend.exchange(plan, number)
        aggregated = server.aggregate(exchange.updates, number)
        answered = [loss is not None for loss in exchange.train_loss]
        devices.keep(plan, records, stage, samples, answered)
        server.align(number)
        record = _record(number, clock, plan, exchange, server.evaluate())
        record |= {**aggregated, **devices.record()}
        record |= {STAGE: stage} if len(stages) > 1 else {}
        _check_finite(record)
        stop = stop_after([*records, record], patience)
        measured = server.measure(number, is_last=bool(stop) or number == num_rounds)
        record |= {**measured.record, **stop}
        elapsed_s = time.monotonic() - started
        records.append(record)
        keep = None if keep_all else (best_round(records),)
        speeds = {**measured.speeds, **exchange.speeds}
        if exchange.fresh_rows:  # others after a restart, which begins without states
            clients = range(plan.num_clients)
            speeds["fresh_rows"] = [*map(exchange.fresh_rows.get, clients)]
        run.commit(record, save, elapsed_s, keep=keep, speeds=speeds)
        on_record(record)
    return records


@dataclass(frozen=True, kw_only=True)
class _Clock:
    """A round on the virtual clock."""

    start_s: float
    """When it begins: when the last one ended, or somebody is there again [s]."""
    client_s: FloatArray
    """[K] T_k: as planned, or played over a trace in seconds [s]."""
    is_played: bool
    """Whether it is played over a trace, and so may differ from the plan."""

    @classmethod
    def of(cls, environment: Environment, plan: Plan, start_s: float) -> "_Clock":
        return cls(
            start_s=start_s,
            client_s=environment.client_s(plan, start_s),
            is_played=environment.replay is not None,
        )

    def record(self) -> dict[str, Any]:
        """Return what a record has beside the plan's predictions."""
        if not self.is_played:
            return {}
        return {"start_s": self.start_s, "client_s": self.client_s.tolist()}


def _check_finite(record: Mapping[str, Any]) -> None:
    """Raise before a diverged model is saved over a sound one."""
    names = ("train_loss", *(name for name in record if name.startswith("loss_")))
    own = [loss for loss in record.get(OWN, ()) if loss is not None]
    for name, losses in {**{one: record[one] for one in names}, OWN: own}.items():
        if not np.all(np.isfinite(losses)):
            raise DivergedError(
                f"training diverged in round {record['round']}: `{name}` is "
                f"{losses}. The round is not saved; start a new run with a lower "
                "`train.learning_rate`."
            )


def _record(
    number: int,
    clock: _Clock,
    plan: Plan,
    exchange: Exchange,
    losses: dict[str, Any],
) -> dict[str, Any]:
    missing = {str(k): why for k, why in exchange.missing.items()}
    round_s = exchange.round_s
    if round_s is None:
        round_s = float(np.max(clock.client_s))
    return {
        "round": number,
        "virtual_s": clock.start_s + round_s,
        "round_s": round_s,
        **clock.record(),
        **losses,
        "train_loss": float(np.mean([x for x in exchange.train_loss if x is not None])),
        **({"missing": missing} if missing else {}),
        "down_bytes": int(np.sum(plan.down_bits)) // BITS_PER_BYTE,
        "up_bytes": int(np.sum(plan.up_bits)) // BITS_PER_BYTE,
        "total_flops": int(np.sum(plan.flops)),
        "client_train_loss": list(exchange.train_loss),
        "plan": plan.record(),
    }
