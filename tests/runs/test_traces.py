"""Runs over traces in seconds, against plain loops over the file's own rows."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from trimwave.base.errors import InputError
from trimwave.methods import parse_method
from trimwave.model.costs import Costs
from trimwave.model.shape import SHAPES
from trimwave.recipe.environment import Environment
from trimwave.recipe.recipe import config_from_dict
from trimwave.recipe.seen import ALL_AS_DRAWN
from trimwave.runs.records import Run
from trimwave.runs.roles import Exchange, Measured
from trimwave.runs.rounds import run_rounds

BAND_HZ = 20e6
COSTS = Costs(
    shape=SHAPES["gpt2"], split_index=10, batch_size=1, seq_len=64, num_local_steps=5
)
PERIOD_S = 60


def measured(links="snr"):
    """Return rows in the form of a measured 5G trace: 1 s samples, gaps.

    The links are in dB, or as throughput in kbit/s, which now and then is 0.

    Four phones drive; the SNR wanders by the second, `tram` loses the cell twice,
    `car` turns up late, and nobody is there from 33 to 35.
    """
    rng = np.random.default_rng(5)
    start = {"car": 14.0, "desk": 24.0, "tram": 9.0, "walk": 18.0}
    gone = {"car": range(6), "tram": [*range(3, 9), *range(40, 47)]}
    rows, snr_db = [], dict(start)
    for second in range(PERIOD_S):
        for name in start:
            snr_db[name] += rng.normal(0, 0.2 if name == "desk" else 2.0)
            snr_db[name] = float(np.clip(snr_db[name], -8, 30))
            if second in gone.get(name, ()) or 33 <= second < 36:
                continue
            speed = 0.2 + 0.15 * math.sin(second / 5 + len(name))
            up_db = round(snr_db[name] - 6, 1)
            down, up = round(snr_db[name], 1), up_db
            if links == "rate":
                down, up = (int(400 * max(0, one + 4)) for one in (down, up))
            row = (second, name, down, up, round(speed, 3))
            rows.append(",".join(map(str, row)))
    return "\n".join([",".join(["time_s,client", *HEADS[links]]), *rows])


HEADS = {
    "snr": ("snr_down_db", "snr_up_db", "speed_tflops"),
    "rate": ("rate_down_kbps", "rate_up_kbps", "speed_tflops"),
}


class Server:
    """Holds nothing; the costs are real."""

    costs = COSTS

    def __init__(self, num_clients):
        self.num_samples = np.ones(num_clients)
        self.emulator_version = self.stage = 0
        self.learnt_bits = ()

    def evaluate(self):
        return {"loss_emulator": 1.0, "loss_full": 1.0}

    def measure(self, round_index, is_last):
        return Measured()

    def save(self, folder):
        (folder / "state.txt").write_text("")

    def aggregate(self, updates, round_index):
        return {}

    def align(self, round_index):
        pass

    load = align


class Backend:
    """Trains nothing and measures no time."""

    def __init__(self, fail_in=0):
        self.fail_in = fail_in

    def look(self):
        return ALL_AS_DRAWN

    def save(self, folder):
        pass

    load = save

    def exchange(self, plan, round_index):
        if round_index == self.fail_in:
            raise KeyboardInterrupt
        losses = [1.0 if here else None for here in plan.scheduled]
        return Exchange(updates=[], train_loss=losses)


def config_of(trace, num_clients=4, **radio):
    tree = {
        "cell": {"num_clients": num_clients, "total_bandwidth_hz": BAND_HZ},
        "radio": {"trace": str(trace), "trace_holes": "absent", **radio},
    }
    return config_from_dict(tree, "test")


def run(config, folder, method="jcpba", num_rounds=3, fail_in=0):
    begun = Run.open(folder) if folder.exists() else Run.create(folder, config, {})
    return run_rounds(
        Environment.from_config(config),
        parse_method(method),
        Server(config.cell.num_clients),
        Backend(fail_in),
        begun,
        num_rounds=num_rounds,
    )


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "phones.csv"
    path.write_text(measured())
    return path


def by_hand(path, name, start_s, share_hz, work):
    """Return when one client has done its work, second by second of the file.

    `work` is bits down, FLOPs, bits up; where the client has no row it does nothing.
    """
    with path.open() as file:
        rows = {
            int(r["time_s"]): r for r in csv.DictReader(file) if r["client"] == name
        }
    second, within_s = math.floor(start_s), start_s - math.floor(start_s)
    left = list(work)
    heads = ["down", "speed", "up"]
    while left:
        row = rows.get(second % PERIOD_S)
        per_s = 0.0
        if row is not None:
            head = heads[3 - len(left)]
            if head == "speed":
                per_s = float(row["speed_tflops"]) * 1e12
            elif f"rate_{head}_kbps" in row:
                per_s = float(row[f"rate_{head}_kbps"]) * 1e3
            else:
                snr = 10 ** (float(row[f"snr_{head}_db"]) / 10)
                per_s = share_hz * math.log2(1 + snr)
        if left[0] <= per_s * (1 - within_s):
            within_s += left.pop(0) / per_s
        else:
            left[0] -= per_s * (1 - within_s)
            second, within_s = second + 1, 0.0
    return second + within_s


@pytest.mark.parametrize("links", ["snr", "rate"])
@pytest.mark.parametrize("method", ["jcpba", "ubfp", "deft", "lora", "partial"])
def test_a_round_over_a_trace_takes_what_a_plain_loop_over_its_rows_says(
    tmp_path, method, links
):
    trace = tmp_path / "phones.csv"
    trace.write_text(measured(links))
    records = run(config_of(trace), tmp_path / "run", method)
    names = ["car", "desk", "tram", "walk"]
    clock_s, absent = 0.0, 0
    for record in records[1:]:
        plan = record["plan"]
        assert plan["client_ids"] == names
        assert record["start_s"] == clock_s
        for k, name in enumerate(names):
            if not plan["scheduled"][k]:
                assert record["client_s"][k] == 0.0
                absent += plan["binding"][k] == "absent"
                continue
            assert links == "snr" or plan["bandwidth_hz"][k] == 0
            work = plan["down_bits"][k], plan["flops"][k], plan["up_bits"][k]
            end_s = by_hand(trace, name, clock_s, plan["bandwidth_hz"][k], work)
            found_s = record["client_s"][k]
            assert found_s == pytest.approx(end_s - clock_s, rel=1e-9)
        assert record["round_s"] == max(record["client_s"])
        assert record["virtual_s"] == clock_s + record["round_s"]
        assert record["round_s"] != pytest.approx(plan["latency_s"], rel=1e-3)
        clock_s = record["virtual_s"]
    assert absent > 0  # the car is, at second 0


def test_the_planner_sees_the_sample_at_the_rounds_start_and_no_other(trace, tmp_path):
    records = run(config_of(trace), tmp_path / "run")
    with trace.open() as file:
        rows = {(int(r["time_s"]), r["client"]): r for r in csv.DictReader(file)}
    for record in records[1:]:
        plan, second = record["plan"], math.floor(record["start_s"])
        for k, name in enumerate(plan["client_ids"]):
            row = rows.get((second % PERIOD_S, name))
            assert plan["scheduled"][k] == (row is not None)
            if row is None:
                continue
            rate = math.log2(1 + 10 ** (float(row["snr_down_db"]) / 10))
            rate *= plan["bandwidth_hz"][k]
            assert plan["down_s"][k] == pytest.approx(plan["down_bits"][k] / rate)


def test_a_trace_that_never_changes_gives_the_planned_seconds(tmp_path):
    rows = [f"{t},{k},{20 + k},{10 + k}" for t in range(4) for k in range(4)]
    path = tmp_path / "still.csv"
    path.write_text("\n".join(["time_s,client,snr_down_db,snr_up_db", *rows]))
    for method in ("jcpba", "deft", "split_lora", "lora"):
        for record in run(config_of(path), tmp_path / method, method)[1:]:
            planned = record["plan"]["total_s"]
            np.testing.assert_allclose(record["client_s"], planned, rtol=1e-9)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_resumed_run_goes_on_at_its_second(trace, tmp_path, at):
    config = config_of(trace)
    whole = run(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "run", fail_in=at)
    assert run(config, tmp_path / "run") == whole
    files = [tmp_path / name / "rounds.jsonl" for name in ("whole", "run")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_run_waits_while_nobody_is_there(tmp_path):
    rows = ["0,0,20,20,0", "2.5,0,20,20,1", "400,0,20,20,0", "402.5,0,20,20,0"]
    path = tmp_path / "late.csv"
    path.write_text("\n".join(["time_s,client,snr_down_db,snr_up_db,available", *rows]))
    config = config_of(path, num_clients=1, trace_holes="hold")
    environment = Environment.from_config(config)
    assert environment.start_s(0.0) == 2.5
    assert environment.start_s(7.0) == 7.0
    assert environment.start_s(400.0) == 405 + 2.5  # the trace starts again
    situation = environment.situation(0, COSTS, np.ones(1), clock_s=7.0)
    plan = parse_method("lora").plan(situation)
    rest_s = plan.latency_s / 2
    started_s = 400 - rest_s  # half of the round is left when the client goes
    taken_s = environment.client_s(plan, started_s)[0]
    assert taken_s == pytest.approx(plan.latency_s + 7.5)


def test_rounds_by_number_have_absent_clients_too(tmp_path):
    rows = ["0,0,-70,-80", "0,1,-70,-80", "1,1,-75,-85", "2,0,-70,-80"]
    path = tmp_path / "rounds.csv"
    path.write_text("\n".join(["round,client,gain_down_db,gain_up_db", *rows]))
    config = config_of(path, num_clients=2)
    records = run(config, tmp_path / "run")
    assert [one["plan"]["scheduled"] for one in records[1:]] == [
        [True, True],
        [False, True],
        [True, False],
    ]
    for record in records[1:]:
        assert record["round_s"] == record["plan"]["latency_s"]
        assert "client_s" not in record
        assert "client_ids" not in record["plan"]


def test_a_round_without_anybody_is_refused_before_the_run(tmp_path):
    rows = ["0,0,-70,-80,1", "1,0,-70,-80,0"]
    path = tmp_path / "none.csv"
    head = "round,client,gain_down_db,gain_up_db,available"
    path.write_text("\n".join([head, *rows]))
    environment = Environment.from_config(config_of(path, num_clients=1))
    environment.check_rounds(1)
    with pytest.raises(InputError, match=r"none\.csv: no client is there in round 2;"):
        environment.check_rounds(2)
    path.write_text("\n".join([head.replace("round", "time_s"), rows[1]]))
    with pytest.warns(UserWarning, match="client 0 is never there"):
        environment = Environment.from_config(config_of(path, num_clients=1))
    with pytest.raises(InputError, match="no client is ever there"):
        environment.check_rounds(1)


def test_c5_counts_who_is_there(tmp_path):
    rows = ["0,0,-70,-80", "0,1,-70,-80", "1,1,-75,-85"]
    path = tmp_path / "rounds.csv"
    path.write_text("\n".join(["round,client,gain_down_db,gain_up_db", *rows]))
    config = config_of(path, num_clients=2)
    given = {"c5_xi": 0.1, "c5_phi": 0.2, "c5_psi": 1.0, "gamma_min": 0.7}
    environment = Environment.from_config(
        replace(config, limits=replace(config.limits, **given))
    )
    beta_bar = [
        environment.situation(index, COSTS, np.ones(2)).limits.beta_bar
        for index in (0, 1)
    ]
    assert beta_bar == [pytest.approx(0.7 - 0.1 - 0.1), pytest.approx(0.7 - 0.1 - 0.2)]


def test_a_trace_is_read_once(trace, tmp_path, monkeypatch):
    from trimwave.recipe import traces

    reads = []
    read_trace = traces.read_trace
    monkeypatch.setattr(
        traces, "read_trace", lambda *asked: reads.append(asked) or read_trace(*asked)
    )
    config = config_of(trace)
    for _ in range(3):
        Environment.from_config(config).check_rounds(3)
    assert len(reads) == 1
    trace.write_text(measured().replace("desk", "sofa"))
    changed = Environment.from_config(config)
    assert len(reads) == 2
    assert changed.channel.ids == ("car", "sofa", "tram", "walk")


def test_a_measured_round_counts_as_measured(trace, tmp_path):
    class Measuring(Backend):
        def exchange(self, plan, round_index):
            return replace(super().exchange(plan, round_index), round_s=7.5)

    config, folder = config_of(trace), tmp_path / "run"
    records = run_rounds(
        Environment.from_config(config),
        parse_method("lora"),
        Server(4),
        Measuring(),
        Run.create(folder, config, {}),
        num_rounds=2,
    )
    assert [record["virtual_s"] for record in records] == [0.0, 7.5, 15.0]
    assert json.loads(json.dumps(records)) == records
