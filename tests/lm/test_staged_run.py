"""A run in stages: warm on all blocks, then the top over what is merged and kept."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_run import changed, fresh_rows_of, make_bench, make_server

from trimwave.base.errors import InputError
from trimwave.decision.plan import Scheme, Stage
from trimwave.lm.learnt import learnt_files
from trimwave.lm.server import LmServer
from trimwave.lm.session import check_runs, run_method
from trimwave.lm.states.files import delete_states
from trimwave.lm.states.formats import num_bytes, packed
from trimwave.lm.train.client import Update
from trimwave.lm.train.evaluate import Evaluator
from trimwave.lm.wire.ledger import (
    entry_of,
    tensors_of,
    trained_parameters,
    where,
)
from trimwave.lm.wire.package import Wire
from trimwave.lm.wire.tensor_files import read_tensors
from trimwave.methods import ask_stages, parse_method
from trimwave.methods.staged import Staged
from trimwave.problem.limits import Limits
from trimwave.recipe.recipe import merge_overrides
from trimwave.runs.stages import first_step
from trimwave.runs.states import KnownStates

STAGED = "staged:warm_rounds=2:blocks=2:lora_targets=all_linear:lora_rank=2"
CHANGES = [
    "rounds=4",
    "data.client_sizes=[3, 5, 16]",
    "train.num_local_steps=3",
    "train.lora_learning_rate=1e-2",
]


@pytest.fixture(scope="module")
def bench(home):
    return make_bench(home / "llama", "llama", CHANGES)


def run(bench, folder, *changes, resume=False, method=STAGED):
    config = merge_overrides(bench.config, [f'method="{method}"', *changes])
    return run_method(bench, config, folder, resume=resume)


@pytest.fixture(scope="module")
def whole(bench, home):
    """Return the records and the folder of a run of four rounds."""
    return run(bench, home / "whole"), home / "whole"


def taught(server):
    """Have a server's stage learn something."""
    with torch.no_grad():
        for value in trained_parameters(server.template).values():
            value.add_(0.05)
    return server


def same_after_advancing(server):
    """Have it learn and go on with the next stage: the model stays the same."""
    before = taught(server).evaluate()["loss_full"]
    server.advance()
    assert server.evaluate()["loss_full"] == pytest.approx(before, abs=1e-6)


def advanced(bench):
    """Return a server whose first stage has learnt something."""
    return taught(make_server(bench, STAGED))


def submodels_of(costs, text=STAGED):
    """Return what each stage of a method trains."""
    stages = ask_stages(parse_method(text), costs, Limits())
    return [stage.scheme.submodel for stage in stages]


def test_a_run_that_ends_before_its_last_stage_says_so(bench, whole, home):
    said = "2 rounds do not reach the last stage of .*; raise `rounds` to 3 or more"
    with pytest.warns(UserWarning, match=said):
        run(bench, home / "short", "rounds=2")


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_what_is_merged_is_the_same_model(home, bench, kind):
    own = bench if kind == "llama" else make_bench(home / kind, kind, CHANGES)
    server = advanced(own)
    before, border = server.evaluate(), server.template.split_index
    version, untouched = server.emulator_version, tensors_of(own.split)
    copies = {name: value.clone() for name, value in untouched.items()}
    server.advance()
    after = server.evaluate()
    assert after["loss_full"] == pytest.approx(before["loss_full"], abs=1e-6)
    assert after["loss_full"] != pytest.approx(own.evaluator.loss(own.split), abs=1e-4)
    assert (border, server.template.split_index) == (0, 2)
    assert server.emulator_version != version
    assert all((copies[name] == value).all() for name, value in untouched.items())


def test_factors_above_the_border_go_on(bench):
    server = advanced(bench)
    copies = {
        name: value.detach().clone()
        for name, value in trained_parameters(server.template).items()
    }
    server.advance()
    after = trained_parameters(server.template)
    assert {entry_of(name).part for name in after} == {2, 3}
    for name, value in after.items():
        assert torch.equal(value, copies[name])
    (learnt,) = server._learnt
    assert {entry_of(name).part for name in learnt.tensors} == {0, 1}
    assert {*learnt.tensors} | {*after} == {*copies}


@pytest.mark.parametrize(
    ("stages", "blocks_learnt"),
    [
        ([{"rounds": 1}, {"blocks": 2, "lora_rank": 3}], [{0, 1, 2, 3}]),
        ([{"rounds": 1}, {"blocks": 2, "lora_alpha": 3.0}], [{0, 1, 2, 3}]),
        ([{"blocks": 1, "rounds": 1}, {"blocks": 3}], [set()]),
        ([{"rounds": 1}, {"blocks": 3, "rounds": 1}, {"blocks": 1}], [{0}, {1, 2}]),
    ],
)
def test_what_does_not_go_on_is_merged_and_the_model_is_the_same(
    bench, stages, blocks_learnt
):
    config = replace(bench.config, options={"staged": {"stages": stages}})
    server = make_server(replace(bench, config=config), "staged")
    for at, blocks in enumerate(blocks_learnt):
        same_after_advancing(server)
        learnt = server._learnt[at]
        assert {entry_of(name).part for name in learnt.tensors} == blocks
        assert (learnt.num_bits == 0) is (not blocks)


def test_stages_follow_and_say_so(whole):
    records, folder = whole
    assert [one["stage"] for one in records[1:]] == [0, 0, 1, 1]
    flops = [one["total_flops"] for one in records[1:]]
    assert flops[0] == flops[1] > flops[2] == flops[3]
    losses = [one["loss_full"] for one in records]
    assert losses[-1] < losses[2] < losses[0]
    files = [path.name for path in learnt_files(folder / "checkpoints/round-0004")]
    assert files == ["stage-00.safetensors", "adapter.safetensors"]


def test_the_first_round_of_a_stage_brings_what_the_one_before_has_learnt(bench, whole):
    records, _ = whole
    server = advanced(bench)
    trained = trained_parameters(server.template)
    below = where(trained, lambda part, _: part < 2)
    server.advance()
    (learnt_bits,) = server.learnt_bits
    assert learnt_bits == 8 * len(Wire.fitting(below, 16).encode(below))
    down = [one["plan"]["down_bits"][0] for one in records[1:]]
    assert down[2] == down[3] + learnt_bits and down[0] == down[1]


@pytest.mark.filterwarnings("ignore:. rounds do not reach the last stage")
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_resumed_run_is_the_unbroken_one(bench, whole, home, rounds):
    folder = home / f"broken-{rounds}"
    run(bench, folder, f"rounds={rounds}")
    run(bench, folder, resume=True)
    names = "rounds.jsonl", "checkpoints/round-0004/adapter.safetensors"
    for name in names:
        assert (folder / name).read_bytes() == (whole[1] / name).read_bytes()


def test_own_steps_of_a_stage_meet_each_row_once_an_epoch(bench, home):
    table = {"stages": [{"rounds": 1}, {"blocks": 1, "local_steps": 5}]}
    config = replace(bench.config, method="staged", options={"staged": table})
    records = run_method(bench, config, home / "steps")
    assert [one["stage"] for one in records[1:]] == [0, 1, 1, 1]
    stages = ask_stages(parse_method("staged", config.options), bench.costs, Limits())
    past = [first_step(records[:at], stages, 3) for at in (1, 2, 3, 4)]
    assert past == [0, 3, 8, 13]
    assert stages[1].scheme.submodel.steps(2, 3) == range(3, 8)
    one_length = ask_stages(parse_method(STAGED), bench.costs, Limits())
    assert first_step(records, one_length, 3) is None


@pytest.mark.filterwarnings("ignore:`cell.memory_bytes` is")
def test_who_cannot_hold_a_stage_sits_it_out_and_joins_later(bench, home):
    whole, top = (
        bench.costs.bill(one).memory_bytes for one in submodels_of(bench.costs)
    )
    assert top < whole
    sizes = f"cell.memory_bytes=[{(top + whole) / 2}, {1.2 * whole}]"
    records = run(bench, home / "small", sizes)
    scheduled = [one["plan"]["scheduled"] for one in records[1:]]
    first = [k for k, here in enumerate(scheduled[0]) if not here]
    assert 0 < len(first) < 3
    assert scheduled[0] == scheduled[1] and all(map(all, scheduled[2:]))
    assert [records[1]["plan"]["binding"][k] for k in first] == len(first) * ["memory"]
    down = records[3]["plan"]["down_bits"]
    assert len({*down}) == 1  # whoever comes late lacks no more than the others


@pytest.mark.filterwarnings("ignore:`cell.memory_bytes` is")
def test_a_stage_that_nobody_holds_is_refused_before_it_trains(bench):
    config = merge_overrides(
        bench.config, [f'method="{STAGED}"', "cell.memory_bytes=[2e5, 2e5]"]
    )
    with pytest.raises(InputError, match="C3: no client holds what stage 0 trains"):
        check_runs(bench, [config])


def test_a_state_is_charged_once_and_computed_once(bench, home):
    cached = run(bench, home / "cached", "train.state_cache=fp32")
    plain = run(bench, home / "plain")
    for one, other in zip(cached, plain, strict=True):
        assert one["loss_full"] == pytest.approx(other["loss_full"], abs=1e-5)
    config = merge_overrides(bench.config, ["train.state_cache=fp32"])
    states = KnownStates.of(config, bench.costs)
    (_, submodel), rows = submodels_of(bench.costs), bench.num_samples
    fresh = fresh_rows_of(home / "cached")
    for record, computed in zip(cached[3:], fresh[2:], strict=True):
        share = states.fresh_share(submodel, record["round"], rows)
        assert computed == np.rint(share * 3 * 2).tolist()
        states.keep(submodel, record["round"], rows, [True] * 3)
        bill = bench.costs.bill(submodel)
        flops = 3 * (bill.step_flops - (1 - share) * bill.frozen_flops)
        assert record["plan"]["flops"] == np.rint(flops).tolist()
    assert cached[4]["total_flops"] < plain[4]["total_flops"]
    assert cached[2]["total_flops"] == plain[2]["total_flops"]


NARROWER = (
    "options.staged={stages=[{rounds=1,blocks=3},{rounds=1,blocks=2},{blocks=1}]}"
)
ON_DISK = ("train.state_memory_bytes=0", "train.state_disk_bytes=1e8")
"""States outlive the stage, and the process."""


def test_nothing_is_stale_after_a_stage(bench, home, monkeypatch):
    """Each has other frozen blocks, the same rows, and the files of all before it."""
    plain = run(bench, home / "off", NARROWER, method="staged")
    monkeypatch.setenv("TRIMWAVE_CACHE", str(home / "stale"))
    keeps = (NARROWER, "train.state_cache=fp32", *ON_DISK)
    cached = run(bench, home / "on-disk", *keeps, method="staged")
    again = run(bench, home / "on-disk-again", *keeps, method="staged")
    for one, *others in zip(plain, cached, again, strict=True):
        assert [other["loss_full"] for other in others] == pytest.approx(
            2 * [one["loss_full"]], abs=1e-5
        )
    assert fresh_rows_of(home / "on-disk-again") == 4 * [[0, 0, 0]]
    assert all(map(all, fresh_rows_of(home / "on-disk")[:3]))


def test_a_resumed_run_finds_no_stale_states(bench, home, monkeypatch):
    monkeypatch.setenv("TRIMWAVE_CACHE", str(home / "resumed"))
    small = ("train.update_bits=8", "aggregate.server_optimizer=adam")
    step = "aggregate.server_learning_rate=1e-2"
    keeps = (NARROWER, "train.state_cache=bf16", *ON_DISK, *small, step)
    folders = [home / name for name in ("states-whole", "states-parts")]
    run(bench, folders[0], *keeps, method="staged")
    delete_states(home / "resumed" / "states")
    with pytest.warns(UserWarning, match="do not reach the last stage"):
        run(bench, folders[1], *keeps, "rounds=2", method="staged")
    run(bench, folders[1], *keeps, resume=True, method="staged")
    for name in "rounds.jsonl", "checkpoints/round-0004/adapter.safetensors":
        one, other = ((folder / name).read_bytes() for folder in folders)
        assert one == other


def test_a_stage_ends_as_the_loss_falls_too_slowly(bench, home):
    """In a run too, and in one that is resumed just then."""
    table = "options.staged={stages=[{least_slope_per_s=1e9},{blocks=2}]}"
    records = run(bench, home / "slope", table, method="staged")
    assert [one["stage"] for one in records[1:]] == [0, 0, 1, 1]
    run(bench, home / "slope-parts", table, "rounds=2", method="staged")
    run(bench, home / "slope-parts", table, resume=True, method="staged")
    texts = [home / one / "rounds.jsonl" for one in ("slope", "slope-parts")]
    assert texts[0].read_bytes() == texts[1].read_bytes()


def test_what_is_of_a_stage_alone_ends_with_it(bench, tmp_path):
    """Moments of the server's optimiser, and what 8 bits left of earlier rounds."""
    changes = ("aggregate.server_optimizer=adam", "train.update_bits=8")
    server = make_server(changed(bench, *changes), STAGED)
    submodel, kept = server.scheme.submodel, []
    server.deliver(submodel)
    trained = trained_parameters(server.template)
    delta = {name: torch.full_like(value, 0.01) for name, value in trained.items()}
    one = Update(client=0, delta=delta, train_loss=1.0, num_samples=1)
    server.aggregate([one], 1)
    for stage in range(2):
        folder = tmp_path / str(stage)
        folder.mkdir()
        server.save(folder)
        rest = (folder / "residual-down.safetensors").exists()
        moments = read_tensors(folder / "server_optimizer.safetensors", "cpu")
        kept.append((rest, any(value.any() for value in moments.values())))
        if not stage:
            server.advance()
    assert kept == [(True, True), (False, False)]


def test_a_token_takes_what_the_cache_says(bench):
    shape = bench.costs.shape
    for kept_as in ("fp32", "bf16", "int8"):
        state = packed(torch.ones(7, shape.hidden_size), kept_as)
        assert num_bytes(state) == shape.state_bytes(7, kept_as)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"stages": [{}, {"blocks": 1}]}, "stage 0 of `staged` has no end"),
        ({"stages": [{"rounds": 1}], "blocks": 1}, "`blocks` of `staged` is beside"),
        ({"stages": [{"round": 1}]}, "entry 0 of option `stages` of `staged` has no"),
        ({"stages": 3}, "is a list of tables"),
        ({"stages": []}, "is a list without a table; leave it out"),
        ({"stages": [3]}, "entry 0 of option `stages` of `staged` is no table, got 3"),
        ({"stages": [{"rounds": 1}, {"blocks": 0}]}, "entry 1 of .*must be positive"),
        ({"blocks": 0}, "`blocks` of `staged` must be positive"),
        ({"stages": [{"least_slope_per_s": -1}]}, "`least_slope_per_s` of .*at least"),
    ],
)
def test_tables_that_cannot_be(table, words):
    with pytest.raises(InputError, match=words):
        parse_method("staged", {"staged": table})


def trains(costs, blocks, trained="lora", **fields):
    """Return a sub-model with the base on the device, whose top blocks train."""
    top = costs.top_blocks(blocks, "")
    whole = costs.whole(top, trained, shared_blocks=top, sends_frozen=False)
    return replace(whole, **fields)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("before", ["full", "lora"])
@pytest.mark.parametrize("after", ["full", "lora"])
def test_devices_hold_what_the_server_tests(home, bench, kind, before, after):
    """Weights or factors, as a rule of the user's own may train them."""
    own = bench if kind == "llama" else make_bench(home / "devices", kind, CHANGES)
    first, second = trains(own.costs, 4, before), trains(own.costs, 2, after)
    server = LmServer(own, Scheme(submodel=first), later=[Scheme(submodel=second)])
    same_after_advancing(server)
    delivery = server.deliver(second)
    held = {**delivery.installed, **delivery.sent}
    for name, value in tensors_of(server.template).items():
        assert torch.allclose(held[name].float(), value, atol=2e-3), name
    (learnt_bits,), planned = server.learnt_bits, own.costs.learnt_bits(first, second)
    header = learnt_bits - planned
    assert 0 < header < 8 * 10_000


def test_a_head_goes_on_or_is_refused(bench):
    both = [trains(bench.costs, n, trains_head=True) for n in (4, 2)]
    first, second = (Scheme(submodel=one) for one in both)
    server = LmServer(bench, first, later=[second])
    same_after_advancing(server)

    class Heads(Staged):
        def run_stages(self, costs, limits):
            last = Scheme(submodel=trains(bench.costs, 2))
            return Stage(scheme=first, rounds=1), Stage(scheme=last)

    with pytest.raises(InputError, match="stage 0 of .* trains the LM head, and"):
        ask_stages(Heads(), bench.costs, Limits())


def test_nothing_is_kept_of_emulators_that_are_done_with(bench):
    clients = Evaluator(bench.client_rows[0], bench.pad_id, bench.config.train)
    table = "{stages=[{rounds=1},{rounds=1,blocks=3},{rounds=1,blocks=2},{blocks=1}]}"
    own = replace(
        changed(bench, f"options.staged={table}"), client_evaluators=3 * (clients,)
    )
    server = make_server(own, "staged")
    for _ in range(3):
        server.evaluate()
        server.advance()
    server.evaluate()
    assert len(clients._features) == 1
