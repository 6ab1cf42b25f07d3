import json
import math
from dataclasses import replace

import numpy as np
import pytest

from trimwave.base.errors import InfeasibleError, InputError, RunError
from trimwave.methods import parse_method
from trimwave.methods.pruning import pruned_plan, pruned_scheme
from trimwave.model.costs import Costs
from trimwave.model.shape import SHAPES
from trimwave.recipe.config import CellConfig, Config
from trimwave.recipe.environment import Environment
from trimwave.recipe.seen import ALL_AS_DRAWN
from trimwave.runs.best import best_round, has_stopped, why_stopped
from trimwave.runs.records import Run
from trimwave.runs.roles import Exchange, Measured
from trimwave.runs.rounds import run_rounds

CONFIG = Config(name="fake", rounds=3, cell=CellConfig(num_clients=2))
SAMPLES = np.array([10.0, 30.0])


class FakeServer:
    """A model of one number, which every update adds to."""

    due = ()
    """Rounds with task metrics; the last one is then another."""
    aggregated = {}
    """What a round's record says of how updates were combined."""

    def __init__(self, log):
        self.log, self.state = log, 0.0
        self.num_samples = SAMPLES
        self.emulator_version = self.stage = 0
        self.learnt_bits = ()
        self.costs = Costs(
            shape=SHAPES["gpt2"],
            split_index=10,
            batch_size=1,
            seq_len=64,
            num_local_steps=5,
        )

    def aggregate(self, updates, round_index):
        self.log.append(f"aggregate {list(updates)}")
        self.state += sum(updates)
        return self.aggregated.get(round_index, {})

    def align(self, round_index):
        self.log.append(f"align {round_index}")

    def evaluate(self):
        self.log.append("evaluate")
        return {"loss_emulator": 9.0 - self.state, "loss_full": 8.0 - self.state}

    def measure(self, round_index, is_last):
        if round_index not in self.due and not (self.due and is_last):
            return Measured()
        metrics = {"exact_match": {"value": self.state}}
        return Measured(record={"metrics": metrics}, speeds={"tokens_per_s": 12.5})

    def save(self, folder):
        self.log.append("save")
        (folder / "state.txt").write_text(repr(self.state))

    def load(self, folder):
        self.log.append("load")
        self.state = float((folder / "state.txt").read_text())


class FakeBackend:
    """Every round takes as long as told, and client k sends k + 1/4, if scheduled."""

    def __init__(self, log, seconds=(0.5, 1.25, 2.0, 4.0), fail_in=0):
        self.log, self.seconds, self.fail_in = log, seconds, fail_in
        self.plans = []

    def look(self):
        return ALL_AS_DRAWN

    def save(self, folder):
        pass

    load = save

    def exchange(self, plan, round_index):
        self.log.append(f"exchange {round_index}")
        self.plans.append(plan)
        if round_index == self.fail_in:
            raise KeyboardInterrupt
        here = plan.scheduled
        return Exchange(
            updates=[k + 0.25 for k in range(2) if here[k]],
            train_loss=[loss if here[k] else None for k, loss in enumerate([1.0, 4.0])],
            round_s=self.seconds[round_index - 1],
        )


@pytest.fixture
def go(tmp_path):
    """Run or resume the fake in one folder: records, log, server, backend."""

    def _go(num_rounds=3, config=CONFIG, method="ubfp", folder="run", **backend):
        folder = tmp_path / folder
        run = Run.open(folder) if folder.exists() else Run.create(folder, config, {})
        log, shown = [], []
        server, transport = FakeServer(log), FakeBackend(log, **backend)
        records = run_rounds(
            Environment.from_config(config),
            parse_method(method) if isinstance(method, str) else method,
            server,
            transport,
            run,
            num_rounds=num_rounds,
            on_record=shown.append,
        )
        assert shown == records == run.records()
        return records, log, server, transport

    return _go


def test_calls_come_in_order(go):
    _, log, _, _ = go(num_rounds=2)
    middle = ["exchange {}", "aggregate [0.25, 1.25]", "align {}", "evaluate", "save"]
    rounds = [call.format(number) for number in (1, 2) for call in middle]
    assert log == ["align 0", "evaluate", "save", *rounds]


def test_the_clock_adds_up(go):
    records, _, _, _ = go(num_rounds=4)
    assert [record["virtual_s"] for record in records] == [0.0, 0.5, 1.75, 3.75, 7.75]
    assert [record["round"] for record in records] == [0, 1, 2, 3, 4]
    assert [record.get("round_s") for record in records] == [None, 0.5, 1.25, 2.0, 4.0]


def test_a_record_says_how_updates_were_combined(go, monkeypatch):
    done = {"aggregate": {"clipped": [1]}}
    monkeypatch.setattr(FakeServer, "aggregated", {2: done})
    records, *_ = go()
    assert [record.get("aggregate") for record in records] == [
        None,
        None,
        done["aggregate"],
        None,
    ]


def test_what_a_record_holds(go):
    records, _, _, backend = go()
    assert records[0] == {
        "round": 0,
        "virtual_s": 0.0,
        "loss_emulator": 9.0,
        "loss_full": 8.0,
    }
    plan, record = backend.plans[1], records[2]
    assert record.pop("plan") == json.loads(json.dumps(plan.record()))
    assert record == {
        "round": 2,
        "virtual_s": 1.75,
        "round_s": 1.25,
        "loss_emulator": 6.0,
        "loss_full": 5.0,
        "train_loss": 2.5,
        "client_train_loss": [1.0, 4.0],
        "down_bytes": sum(plan.down_bits.tolist()) / 8,
        "up_bytes": sum(plan.up_bits.tolist()) / 8,
        "total_flops": sum(plan.flops.tolist()),
    }


def test_metrics_are_in_the_record_and_their_speeds_beside_the_seconds(
    go, monkeypatch, tmp_path
):
    monkeypatch.setattr(FakeServer, "due", (0, 1))
    records, *_ = go()
    found = [record.get("metrics", {}).get("exact_match") for record in records]
    assert found == [{"value": 0.0}, {"value": 1.5}, None, {"value": 4.5}]
    lines = (tmp_path / "run" / "timing.jsonl").read_text().splitlines()
    speeds = [json.loads(line).get("tokens_per_s") for line in lines]
    assert speeds == [12.5, 12.5, None, 12.5]
    assert "tokens_per_s" not in (tmp_path / "run" / "rounds.jsonl").read_text()


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_clients_own_loss_that_diverged_is_not_saved(go, monkeypatch, loss):
    def evaluate(server):
        own = [None, loss if server.state else 1.0]
        return {"loss_emulator": 1.0, "loss_full": 1.0, "client_test_loss": own}

    monkeypatch.setattr(FakeServer, "evaluate", evaluate)
    with pytest.raises(RunError, match=r"round 1: `client_test_loss` is \[(nan|inf)"):
        go()


def test_every_round_has_its_own_channel(go):
    _, _, _, backend = go()
    downs = [tuple(plan.down_s) for plan in backend.plans]
    assert len(set(downs)) == 3
    environment = Environment.from_config(CONFIG)
    for number, plan in enumerate(backend.plans):
        efficiency = np.log2(1 + environment.cell(number, SAMPLES).snr_down)
        expected = plan.down_bits / plan.bandwidth_hz / efficiency
        assert plan.down_s == pytest.approx(expected)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_resumed_run_does_not_redo_rounds(go, at):
    whole, _, server, _ = go(folder="whole")
    with pytest.raises(KeyboardInterrupt):
        go(fail_in=at)
    records, log, resumed, backend = go()
    assert records == whole
    assert resumed.state == server.state
    assert log[:2] == ["load", f"exchange {at}"]
    assert len(backend.plans) == 4 - at
    assert log.count("align 0") == 0


def test_a_finished_run_is_only_read(go):
    whole, _, _, _ = go()
    records, log, server, _ = go()
    assert records == whole
    assert log == ["load"]
    assert server.state == 4.5


def test_a_run_grows(go, tmp_path):
    whole, _, _, _ = go(num_rounds=4, folder="whole")
    go(num_rounds=2)
    records, log, _, _ = go(num_rounds=4)
    assert records == whole
    assert [call for call in log if call.startswith("exchange")] == [
        "exchange 3",
        "exchange 4",
    ]
    names = [tmp_path / name / "rounds.jsonl" for name in ("run", "whole")]
    assert names[0].read_bytes() == names[1].read_bytes()


def test_nothing_is_redone_before_the_first_round_either(go):
    with pytest.raises(KeyboardInterrupt):
        go(fail_in=1)
    _, log, _, _ = go(num_rounds=1)
    assert log[0] == "load"
    assert "align 0" not in log


@pytest.mark.filterwarnings("ignore:`cell.memory_bytes` is")
def test_an_impossible_round_stops_the_run(go):
    cell = CellConfig(num_clients=2, memory_bytes=(1e5, 2e5))
    with pytest.raises(InfeasibleError, match="C3: client 0"):
        go(config=Config(name="fake", cell=cell))


@pytest.mark.parametrize(
    "method", ["jcpba", "jcpba:solver=bcd", "jcpba:adapter=lora", "ubfp"]
)
def test_any_method_fits(go, method):
    records, _, _, backend = go(method=method)
    assert [record["plan"]["solver"] for record in records[1:]] == [
        plan.solution.solver for plan in backend.plans
    ]


class Alternating:
    """Plans for one client, each round the other one, and counts what it saw."""

    label = "alternating"

    def __init__(self):
        self.seen = []

    def scheme(self, costs, limits):
        return pruned_scheme(costs, limits, "full", None)

    def plan(self, situation):
        self.seen.append(situation)
        count = situation.carried.get("count", 0)
        return pruned_plan(
            situation,
            "full",
            np.full(2, 0.5),
            np.full(2, situation.cell.total_bandwidth_hz),
            scheduled=np.arange(2) == count % 2,
            carry={"count": count + 1},
        )


def test_a_plans_carry_comes_back_in_the_next_round(go):
    method = Alternating()
    records, _, _, backend = go(method=method)
    carried = [dict(situation.carried) for situation in method.seen]
    assert carried == [{}, {"count": 1}, {"count": 2}]
    assert [record["plan"]["carry"] for record in records[1:]] == [
        {"count": 1},
        {"count": 2},
        {"count": 3},
    ]
    assert [plan.scheduled.tolist() for plan in backend.plans] == [
        [True, False],
        [False, True],
        [True, False],
    ]


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_resumed_run_carries_on(go, at):
    whole, _, _, _ = go(method=Alternating(), folder="whole")
    with pytest.raises(KeyboardInterrupt):
        go(method=Alternating(), fail_in=at)
    records, _, _, _ = go(method=Alternating())
    assert records == whole


def test_who_is_not_scheduled_has_no_loss(go):
    records, log, server, _ = go(method=Alternating(), num_rounds=2)
    assert [record["client_train_loss"] for record in records[1:]] == [
        [1.0, None],
        [None, 4.0],
    ]
    assert [record["train_loss"] for record in records[1:]] == [1.0, 4.0]
    assert [call for call in log if call.startswith("aggregate")] == [
        "aggregate [0.25]",
        "aggregate [1.25]",
    ]
    assert server.state == 1.5
    for record, idle in zip(records[1:], (1, 0), strict=True):
        plan = record["plan"]
        assert plan["prune_rate"][idle] is None
        assert plan["scheduled"] == [idle == 1, idle == 0]
        for name in ("bandwidth_hz", "total_s", "down_bits", "up_bits", "flops"):
            assert plan[name][idle] == 0
            assert plan[name][1 - idle] > 0
        assert record["up_bytes"] * 8 == plan["up_bits"][1 - idle]


def test_the_method_sees_the_servers_costs_and_the_configs_limits(go):
    method = Alternating()
    _, _, server, _ = go(method=method, num_rounds=1)
    (situation,) = method.seen
    assert situation.costs == server.costs
    assert situation.limits.beta_bar == 0.5
    environment = Environment.from_config(CONFIG)
    expected = environment.cell(0, SAMPLES)
    np.testing.assert_array_equal(situation.cell.snr_down, expected.snr_down)


class Bad(Alternating):
    """Plans a sub-model that does not exist from its second round on."""

    label = "bad"

    def plan(self, situation):
        plan = super().plan(situation)
        if len(self.seen) < 2:
            return plan
        wrong = replace(plan.submodels[1], trained_blocks=(99,))
        return replace(plan, submodels=(None, wrong))


def test_a_plan_that_cannot_be_run_never_reaches_the_backend(go):
    with pytest.raises(InputError, match="the plan of bad cannot be run: client 1 has"):
        go(method=Bad())
    _, _, _, backend = go(method=Alternating(), num_rounds=1)
    assert backend.plans == []  # the first round of the bad one was kept


class Wavering(FakeServer):
    """Its test loss falls to round 2, and is higher ever after."""

    def evaluate(self):
        number = round(self.state / 1.5)  # every round adds 0.25 + 1.25
        loss = [5.0, 4.0, 3.0, 3.5, 3.0, 3.25, 3.125][number]
        return {"loss_emulator": loss, "loss_full": loss}


@pytest.fixture
def waver(tmp_path):
    """Run or resume a run whose best round is 2: records, and the checkpoints left."""

    def _waver(num_rounds=6, folder="run", fail_in=0, **options):
        folder = tmp_path / folder
        run = Run.open(folder) if folder.exists() else Run.create(folder, CONFIG, {})
        records = run_rounds(
            Environment.from_config(CONFIG),
            parse_method("ubfp"),
            Wavering([]),
            FakeBackend([], seconds=[1.0] * 6, fail_in=fail_in),
            run,
            num_rounds=num_rounds,
            **options,
        )
        return records, run

    return _waver


def test_the_best_rounds_checkpoint_stays_beside_the_two_newest(waver):
    expected = {2: [1, 2], 3: [2, 3], 4: [2, 3, 4], 5: [2, 4, 5], 6: [2, 5, 6]}
    for num_rounds, rounds in expected.items():
        records, run = waver(num_rounds)
        assert best_round(records) == 2  # the first of two equal ones
        assert run.checkpoints.rounds() == rounds
        for number in rounds:
            owner = run.owner_of(records[number])
            assert run.checkpoints.of_round(number).flaw(owner) == ""


def test_all_checkpoints_stay_where_that_is_asked_for(waver):
    _, run = waver(4, keep_all=True)
    assert run.checkpoints.rounds() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_a_resumed_run_keeps_the_same_best(waver, at):
    whole, _ = waver(folder="whole")
    with pytest.raises(KeyboardInterrupt):
        waver(fail_in=at)
    records, run = waver()
    assert records == whole
    assert run.checkpoints.rounds() == [2, 5, 6]


def test_where_the_newest_are_damaged_the_best_is_gone_on_from(waver):
    whole, _ = waver(5, folder="whole")
    _, run = waver(5)
    for number in (4, 5):
        (run.checkpoints.of_round(number).folder / "state.txt").write_text("9.0")
    lines = (run.folder / "rounds.jsonl").read_bytes()
    with pytest.warns(UserWarning, match="goes on from round 2|cannot be used"):
        again, _ = waver(5)
    assert again == whole
    assert (run.folder / "rounds.jsonl").read_bytes() == lines
    assert run.checkpoints.rounds() == [2, 4, 5]


def test_a_damaged_line_does_not_take_a_run_back_to_its_best(waver):
    _, run = waver(6)
    path = run.folder / "rounds.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], b"x" + lines[4], *lines[5:]]))
    before = path.read_bytes()
    with pytest.raises(RunError, match="no checkpoint in .* is sound for rounds up to"):
        waver(6)
    assert path.read_bytes() == before
    assert run.checkpoints.rounds() == [2, 5, 6]


@pytest.mark.parametrize(("patience", "last"), [(0, 6), (1, 3), (2, 4), (4, 6), (9, 6)])
def test_patience_ends_a_run(waver, patience, last):
    records, run = waver(patience=patience)
    assert len(records) - 1 == last
    stopped = patience in (1, 2, 4)
    assert has_stopped(records) == has_stopped(run.records()) == stopped
    if stopped:
        why = {"by": "train.patience", "best_round": 2}
        assert records[-1]["stopped"] == why
        assert f"after round {last}: none of the last {patience} " in (
            why_stopped(records)
        )
    again, _ = waver(patience=patience)  # a finished run is only read
    assert again == records


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_resumed_run_is_as_patient_as_an_unbroken_one(waver, at):
    whole, _ = waver(patience=2, folder="whole")
    with pytest.raises(KeyboardInterrupt):
        waver(patience=2, fail_in=at)
    assert waver(patience=2)[0] == whole
