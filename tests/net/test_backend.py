"""A run over letters against the same run in one process."""

import json
import shutil
from dataclasses import replace

import pytest
from near import NearPost, devices_in, served
from tiny_run import (
    METHODS,
    clients,
    fresh_rows_of,
    make_server,
    run_with,
    same_tensors,
    trained_of,
)

from trimwave.lm.local import LocalBackend
from trimwave.lm.train.client import Client
from trimwave.methods import ask_stages, parse_method
from trimwave.net.letter import Letter
from trimwave.problem.limits import Limits
from trimwave.recipe.recipe import merge_overrides

pytestmark = pytest.mark.usefixtures("soon")

HEADERS = 20_000
"""Most bytes that the headers of a client's slices have together here."""


@pytest.fixture(
    scope="module", params=["llama", pytest.param("gpt2", marks=pytest.mark.slow)]
)
def bench_kind(request):
    return request.param


def with_keys(bench, method, *changes):
    changes = ("net.absence_s=30", *changes)
    config = merge_overrides(replace(bench.config, method=method), changes)
    return replace(bench, config=config, _stored={})


def over_letters(bench, folder, post=None, num_rounds=2):
    """Run over letters; the records, what was trained, and the post."""
    post = post or NearPost(devices_in(folder, bench.config.cell.num_clients))
    with served(bench, bench.config.method, folder, post) as (server, far, _):
        records = run_with(bench, server, far, folder, num_rounds)
        return records, trained_of(server), post


def in_one_process(bench, folder, num_rounds=2):
    server = make_server(bench, bench.config.method)
    here = LocalBackend(server, clients(server), renewed=lambda scheme: clients(server))
    return run_with(bench, server, here, folder, num_rounds), trained_of(server)


@pytest.mark.parametrize("method", METHODS)
def test_letters_give_the_same_run(bench, tmp_path, method):
    if method.startswith("fedqlora"):
        pytest.importorskip("bitsandbytes")
    bench = with_keys(bench, method)
    far, trained_far, _ = over_letters(bench, tmp_path / "far")
    here, trained_here = in_one_process(bench, tmp_path / "here")
    assert json.dumps(far) == json.dumps(here)
    assert same_tensors(trained_far, trained_here)


def fetched_bytes(folder):
    """Return what each client fetched, by round and client."""
    text = (folder / "timing.jsonl").read_text()
    lines = [json.loads(one) for one in text.splitlines()]
    return [
        [one["fetched_bytes"] for one in line["clients"].values()] for line in lines[1:]
    ]


def sizes_of(bench, record):
    """Return the emulators of a round's plan, in parameters."""
    whole = bench.costs.emulator_params
    return [round((1 - rate) * whole) for rate in record["plan"]["prune_rate"]]


@pytest.mark.parametrize("quota", ["everything", "a part"])
def test_what_is_held_is_not_sent_again(bench, tmp_path, quota):
    sizes = bench.costs.emulator_sizes
    most = int(sizes[-1] if quota == "everything" else sizes[len(sizes) // 3])
    bench = with_keys(bench, "ubfp", f"cell.cache_bytes={2 * most}")  # 16 bits each
    records, _, _ = over_letters(bench, tmp_path, num_rounds=3)
    held = [0, 0, 0]
    for record, fetched in zip(records[1:], fetched_bytes(tmp_path), strict=True):
        wanted = sizes_of(bench, record)
        for size, own, got in zip(wanted, held, fetched, strict=True):
            new = 2 * max(0, size - own)
            assert (got == 0) if not new else (new < got < new + HEADERS)
        held = [
            max(own, min(size, most)) for size, own in zip(wanted, held, strict=True)
        ]
        assert record["held_params"] == held
    assert records[2]["down_bytes"] < records[1]["down_bytes"]
    assert records[2]["plan"]["latency_s"] < records[1]["plan"]["latency_s"]
    here, _ = in_one_process(bench, tmp_path / "here", num_rounds=3)
    assert json.dumps(here) == json.dumps(records)


DELTA = "fedbiot:initial_steps=1:steps=1:adapter=full:download=delta"


@pytest.mark.parametrize("method", ["deft", DELTA])
def test_in_8_bits_what_others_train_comes_in_8_bits_too(bench, tmp_path, method):
    bench = with_keys(bench, method, "train.update_bits=8")
    far, trained_far, post = over_letters(bench, tmp_path / "far")
    here, trained_here = in_one_process(bench, tmp_path / "here")
    assert json.dumps(far) == json.dumps(here)
    assert same_tensors(trained_far, trained_here)
    assert fetched_bytes(tmp_path / "far")[1] == [0, 0, 0]  # else in 16, as blobs
    sent = {8 * len(letter.body) for _, letter in post.sent if letter.body}
    assert sent == {*far[1]["plan"]["down_bits"], *far[2]["plan"]["down_bits"]}


def test_nothing_is_kept_where_the_recipe_says_so(bench, tmp_path):
    records, _, _ = over_letters(with_keys(bench, "ubfp"), tmp_path)
    assert "held_params" not in records[1]
    first, second = fetched_bytes(tmp_path)
    assert min(second) > 0.8 * min(first)


@pytest.mark.parametrize("measured", ["off", "devices", "all"])
def test_plans_are_made_from_what_is_measured_as_far_as_is_said(
    bench, tmp_path, measured
):
    bench = with_keys(bench, "ubfp", f'net.measured="{measured}"')
    post = NearPost(devices_in(tmp_path, bench.config.cell.num_clients))
    with served(bench, "ubfp", tmp_path, post) as (_, far, _):
        found = far.look().fields
    devices, links = {"speed_flops_per_s", "memory_bytes"}, {"rate_up_bps"}
    wanted = {"off": set(), "devices": devices, "all": devices | links}[measured]
    assert {*found} - {"rate_down_bps"} == wanted  # too little to be a rate, here
    assert all(one.shape == (3,) and (one > 0).all() for one in found.values())


def test_a_device_is_held_to_the_speed_it_is_planned_with(bench, tmp_path):
    changes = ("net.pace_devices=true", "cell.slowdown=20")
    records, _, _ = over_letters(with_keys(bench, "ubfp", *changes), tmp_path)
    lines = (tmp_path / "timing.jsonl").read_text().splitlines()
    for record, line in zip(records[1:], map(json.loads, lines[1:]), strict=True):
        plan = record["plan"]
        for k, told in line["clients"].items():
            planned_s, flops = plan["compute_s"][int(k)], plan["flops"][int(k)]
            assert told["flops"] > 0
            assert told["train_s"] >= told["flops"] * planned_s / flops
    here, _ = in_one_process(with_keys(bench, "ubfp", changes[1]), tmp_path / "here")
    for one, other in zip(records, here, strict=True):
        assert one.get("plan") == other.get("plan")
        # Where FLOPs are counted, PyTorch takes other kernels.
        assert one["loss_full"] == pytest.approx(other["loss_full"], rel=1e-5)


def test_a_server_begun_anew_knows_what_is_held(bench, tmp_path):
    bench = with_keys(bench, "ubfp", "cell.cache_bytes=1e9")
    whole, _, _ = over_letters(bench, tmp_path / "whole", num_rounds=3)
    post = NearPost(devices_in(tmp_path / "parts", bench.config.cell.num_clients))
    for num_rounds in (1, 2, 3):
        parts, _, _ = over_letters(bench, tmp_path / "parts", post, num_rounds)
    assert json.dumps(parts) == json.dumps(whole)
    assert fetched_bytes(tmp_path / "parts") == fetched_bytes(tmp_path / "whole")


def test_devices_keep_what_frozen_blocks_make_of_their_rows(bench, tmp_path):
    unpruned = (f"limits.{name}=0" for name in ("beta_min", "beta_max", "beta_bar"))
    room = ("train.state_cache=int8", "train.state_memory_bytes=1000")
    changes = (*unpruned, *room, "train.state_disk_bytes=1e9")
    bench = with_keys(bench, "jcpba", *changes)
    far, trained_far, _ = over_letters(bench, tmp_path / "far", num_rounds=3)
    fresh = fresh_rows_of(tmp_path / "far")
    assert fresh == [[4] * 3] * 2 + [[0] * 3]  # of 8 rows, 4 in a round
    for k in range(3):
        folder = tmp_path / "far" / f"device-{k}" / "states"
        assert folder.is_dir() and 0 < len([*folder.iterdir()]) <= 8
    here, trained_here = in_one_process(bench, tmp_path / "here", num_rounds=3)
    assert json.dumps(far) == json.dumps(here)
    assert same_tensors(trained_far, trained_here)


def test_devices_run_frozen_blocks_one_by_one(bench, tmp_path, monkeypatch):
    changes = ("train.state_cache=int8", "train.stream_prefix=true")
    bench = with_keys(bench, "lora:blocks=1", *changes)
    seen = []
    fine_tune = Client.fine_tune

    def watch(self, package, submodel, round_index, prefix=None):
        if prefix is not None:
            seen.append({int(name.partition(".")[0]) for name in package})
        return fine_tune(self, package, submodel, round_index, prefix)

    monkeypatch.setattr(Client, "fine_tune", watch)
    far, trained_far, _ = over_letters(bench, tmp_path / "far", num_rounds=3)
    assert seen == 9 * [{3}]  # the package has what trains alone
    here, trained_here = in_one_process(bench, tmp_path / "here", num_rounds=3)
    assert json.dumps(far) == json.dumps(here)
    assert same_tensors(trained_far, trained_here)


STAGES = (
    "options.staged={stages=["
    "{rounds=1},{rounds=1,blocks=3,lora_rank=4},{blocks=1,lora_rank=4}]}",
    "train.lora_rank=2",
)
"""The second begins anew, the third goes on."""


@pytest.mark.parametrize("streams", ["false", "true"])
def test_devices_merge_what_finished_stages_have_learnt(bench, tmp_path, streams):
    kept = ("train.state_cache=fp32", f"train.stream_prefix={streams}")
    bench = with_keys(bench, "staged", *STAGES, *kept, "train.update_bits=8")
    far, trained_far, post = over_letters(bench, tmp_path / "far", num_rounds=4)
    assert [one["stage"] for one in far[1:]] == [0, 1, 2, 2]
    assert {part for part, _ in map(entry_of_block, trained_far)} == {3}
    here, trained_here = in_one_process(bench, tmp_path / "here", num_rounds=4)
    assert json.dumps(far) == json.dumps(here)
    assert same_tensors(trained_far, trained_here)
    first, *later = fetched_bytes(tmp_path / "far")
    owed = owed_bytes(far)
    assert owed[1] > 0 and owed[2] > 0 and owed[3] == 0
    # Of the base nothing is fetched again: a stage's first round brings what it merges.
    assert [max(one) for one in later] == [min(one) for one in later] == owed[1:]
    assert min(first) > 10 * max(owed)
    bodies = [
        len(letter.body) for _, letter in post.sent if letter.head["op"] == "train"
    ]
    down = [record["plan"]["down_bits"][0] / 8 for record in far[1:]]
    planned = [sent - lacked for sent, lacked in zip(down, owed, strict=True)]
    assert bodies == [planned[at] for at in range(4) for _ in range(3)]


def entry_of_block(name):
    part, _, path = name.partition(".")
    return int(part), path


def owed_bytes(records):
    """Return what a client was sent beside what trains, by round."""
    down = [record["plan"]["down_bits"][0] // 8 for record in records[1:]]
    trains = [record["plan"]["up_bits"][0] // 8 for record in records[1:]]
    return [sent - own for sent, own in zip(down, trains, strict=True)]


def test_who_is_begun_anew_in_a_stage_goes_on_with_it(bench, tmp_path):
    bench = with_keys(bench, "staged", *STAGES)
    whole, trained_whole, _ = over_letters(bench, tmp_path / "whole", num_rounds=4)
    num_clients = bench.config.cell.num_clients
    post = NearPost(devices_in(tmp_path / "parts", num_clients))
    over_letters(bench, tmp_path / "parts", post, num_rounds=2)
    # A server and devices begun anew; one of them has lost all that it had.
    shutil.rmtree(tmp_path / "parts" / "device-1")
    post = NearPost(devices_in(tmp_path / "parts", num_clients))
    parts, trained, _ = over_letters(bench, tmp_path / "parts", post, num_rounds=4)
    assert json.dumps(parts) == json.dumps(whole)
    assert same_tensors(trained, trained_whole)
    third = fetched_bytes(tmp_path / "parts")[2]
    assert third[0] == third[2] < third[1] / 10


@pytest.mark.filterwarnings("ignore:.*unusual in")  # the model is small
def test_who_joins_late_fetches_what_all_stages_have_learnt(bench, tmp_path):
    bench = with_keys(bench, "staged", *STAGES, "net.measured=off")
    rule = parse_method("staged", bench.config.options)
    stages = ask_stages(rule, bench.costs, Limits())
    *others, last = (
        bench.costs.bill(one.scheme.submodel).memory_bytes for one in stages
    )
    table = tmp_path / "clients.csv"
    rows = [2 * max(others), 2 * max(others), (last + min(others)) / 2]
    lines = [f"{one:.0f},1e9" for one in rows]
    table.write_text("\n".join(["memory_bytes,speed_flops_per_s", *lines]))
    bench = with_keys(bench, "staged", *STAGES, f'cell.clients="{table}"')
    far, _, _ = over_letters(bench, tmp_path / "far", num_rounds=4)
    scheduled = [one["plan"]["scheduled"] for one in far[1:]]
    assert scheduled == [[True, True, False]] * 2 + [[True] * 3] * 2
    here, _ = in_one_process(bench, tmp_path / "here", num_rounds=4)
    assert json.dumps(far) == json.dumps(here)
    plan = far[3]["plan"]
    owed = [
        (down - up) // 8
        for down, up in zip(plan["down_bits"], plan["up_bits"], strict=True)
    ]
    fetched = json.loads(
        (tmp_path / "far" / "timing.jsonl").read_text().splitlines()[3]
    )["clients"]
    first = fetched_bytes(tmp_path / "far")[0]
    assert owed[0] == owed[1] == fetched["0"]["fetched_bytes"] < owed[2]
    assert fetched["2"]["fetched_bytes"] == first[0] + owed[2]


def test_what_an_update_took_in_that_never_counted_is_still_left(
    bench, tmp_path, monkeypatch
):
    """In 8 bits: client 0's update of round 2 is lost on the way."""
    bench = with_keys(bench, "lora", "train.update_bits=8", "net.quorum=0.5")
    begun = {}
    fine_tune = Client.fine_tune

    def watch(self, package, submodel, round_index, prefix=None):
        kept = {name: value.clone() for name, value in self.residual.items()}
        begun[self.number, round_index] = kept
        return fine_tune(self, package, submodel, round_index, prefix)

    def harm(node, letter, answer):
        lost = letter.head.get("round") == 2 and letter.head.get("number") == 0
        return Letter({**answer.head, "round": 7}, answer.body) if lost else answer

    monkeypatch.setattr(Client, "fine_tune", watch)
    devices = devices_in(tmp_path, bench.config.cell.num_clients)
    records, _, _ = over_letters(bench, tmp_path, NearPost(devices, harm), 3)
    assert [*records[2]["missing"]] == ["0"]
    over_letters(bench, tmp_path, NearPost(devices), 5)  # a server begun anew
    assert begun[0, 1] == {} and begun[0, 2]
    back = min(number for k, number in begun if k == 0 and number > 2)
    assert same_tensors(begun[0, back], begun[0, 2])
    assert not same_tensors(begun[1, 3], begun[1, 2])
    assert not same_tensors(begun[0, back + 1], begun[0, back])
    files = sorted((tmp_path / "device-0").glob("residual-*"))
    assert len(files) == 2
