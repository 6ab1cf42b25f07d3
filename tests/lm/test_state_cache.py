"""Runs that keep the states of rows: the same losses, and each row computed once."""

import errno
import json
import os
import shutil
import warnings
from dataclasses import replace
from functools import partial

import pytest
import torch
from tiny_run import (
    changed,
    clients,
    fresh_rows_of,
    held,
    make_server,
    run_with,
    same_tensors,
    trained_of,
)

from trimwave.decision.plan import Scheme
from trimwave.lm.local import LocalBackend
from trimwave.lm.server import LmServer
from trimwave.lm.session import run_method
from trimwave.lm.states import files
from trimwave.lm.workbench import build_workbench
from trimwave.recipe.recipe import merge_overrides

ROUNDS = 4
"""Of 4 rows a client each: two epochs of its 8 rows."""
UNPRUNED = tuple(f"limits.{name}=0" for name in ("beta_min", "beta_max", "beta_bar"))
WHOLE = "jcpba:adapter=lora"


@pytest.fixture
def make(make):
    """Make the workbench of a miniature run whose upper half trains."""
    return partial(make, "model.adapter_blocks=2")


def top_of(bench, **fields):
    """Return a sub-model that trains the upper half; the rest lies installed."""
    top = bench.costs.adapter_blocks
    settings = {"sends_frozen": False, "shared_blocks": top, **fields}
    return bench.costs.whole(top, "lora", **settings)


def trained_over(bench, submodel=None, rounds=range(1, ROUNDS + 1), server=None):
    """Run rounds of all clients; losses and fresh rows by round, and the server."""
    submodel = submodel or top_of(bench)
    server = server or LmServer(bench, Scheme(submodel=submodel))
    devices, losses, fresh = clients(server), [], []
    for number in rounds:
        updates = [
            one.fine_tune(held(server, submodel), submodel, number) for one in devices
        ]
        server.aggregate(updates, number)
        losses.append([one.train_loss for one in updates])
        fresh.append([one.fresh_rows for one in updates])
    return torch.tensor(losses, dtype=torch.float64), fresh, server


def with_states(bench, kept_as="fp32", **fields):
    changes = {"state_cache": kept_as, **fields}
    return changed(bench, *(f"train.{key}={value}" for key, value in changes.items()))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize(
    ("kept_as", "close"), [("fp32", 1e-5), ("bf16", 1e-3), ("int8", 1e-2)]
)
def test_losses_are_those_without_and_each_row_is_computed_once(
    make, kind, kept_as, close
):
    bench = make(kind=kind)
    plain, all_fresh, without = trained_over(bench)
    losses, fresh, server = trained_over(with_states(bench, kept_as))
    torch.testing.assert_close(losses, plain, rtol=close, atol=0)
    found, wanted = (one.evaluate()["loss_full"] for one in (server, without))
    assert found == pytest.approx(wanted, rel=close)
    assert all_fresh == [[4] * 3] * ROUNDS
    assert fresh == [[4] * 3] * 2 + [[0] * 3] * 2


def test_a_row_twice_in_a_round_is_computed_once(make):
    bench = make("train.num_local_steps=8")
    _, all_fresh, _ = trained_over(bench)
    _, fresh, _ = trained_over(with_states(bench))
    assert all_fresh == [[8] * 3] * ROUNDS
    assert fresh == [[8] * 3] + [[0] * 3] * 3


def test_no_room_is_the_same_as_off(make):
    bench = make()
    plain, fresh, server = trained_over(bench)
    found = trained_over(with_states(bench, "int8", state_memory_bytes=0))
    assert torch.equal(found[0], plain) and found[1] == fresh
    assert same_tensors(trained_of(found[2]), trained_of(server))


def test_half_the_room_keeps_half_the_rows(make):
    bench = make()
    plain, _, _ = trained_over(bench)
    tokens = [len(row.input_ids) for rows in bench.client_rows for row in rows]
    room = sum(tokens) * bench.split.shape.hidden_size * 4 // 2 // 3  # of each client
    losses, fresh, _ = trained_over(with_states(bench, state_memory_bytes=room))
    torch.testing.assert_close(losses, plain, rtol=1e-5, atol=0)
    assert 6 < sum(sum(one) for one in fresh[2:]) < 18


@pytest.mark.parametrize("kept_as", ["fp32", "int8"])
def test_a_run_finds_on_the_disk_what_another_left(make, tmp_path, kept_as):
    fields = {"state_memory_bytes": 0, "state_disk_bytes": 1e9}
    bench = with_states(make(), kept_as, **fields)
    losses, fresh, server = trained_over(bench)
    assert fresh[:3] == [[4] * 3] * 2 + [[0] * 3]
    again = trained_over(bench)
    assert torch.equal(again[0], losses)
    assert same_tensors(trained_of(again[2]), trained_of(server))
    assert again[1] == [[0] * 3] * ROUNDS
    folder = tmp_path / "cache" / files.FOLDER
    assert len([*folder.iterdir()]) == 24
    assert {oct(path.stat().st_mode)[-3:] for path in folder.iterdir()} == {"600"}


def test_another_tokenizer_finds_none_of_them(make, tmp_path):
    """The same model and the same texts, in other tokens."""
    fields = {"state_memory_bytes": 0, "state_disk_bytes": 1e9}
    bench = with_states(make(), **fields)
    trained_over(bench)
    model = tmp_path / "other"
    shutil.copytree(bench.config.model.name, model)
    path = model / "tokenizer.json"
    plain = json.loads(path.read_text())
    vocab = plain["model"]["vocab"]
    swapped = {"0": vocab["1"], "1": vocab["0"]}  # of the digits in the rows
    plain["model"]["vocab"] = {**vocab, **swapped}
    path.write_text(json.dumps(plain))
    other = build_workbench(merge_overrides(bench.config, [f'model.name="{model}"']))
    off = changed(other, "train.state_cache=off")
    losses, fresh, _ = trained_over(other)
    torch.testing.assert_close(losses, trained_over(off)[0], rtol=1e-5, atol=0)
    rows = [row.input_ids.tolist() for rows in bench.client_rows for row in rows]
    same = [
        sum(row.input_ids.tolist() in rows for row in own) for own in other.client_rows
    ]
    computed = [sum(one[k] for one in fresh) for k in range(3)]
    assert computed == [8 - count for count in same] and sum(same) < 24


def test_a_row_that_two_clients_have_is_computed_once(make):
    bench = with_states(make())
    shared = replace(bench, client_rows=3 * (bench.client_rows[0],))
    _, fresh, _ = trained_over(shared, rounds=range(1, 3))
    alone = trained_over(bench, rounds=range(1, 3))[1]
    assert [one[0] for one in alone] == [4, 4]
    assert sum(map(sum, fresh)) == 8


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("when", ["at once", "after some"])
def test_a_disk_that_refuses_slows_the_run_and_breaks_nothing(
    make, monkeypatch, when, number
):
    bench = make()
    plain, _, _ = trained_over(bench)
    write, written = files.write_atomic, []

    def fills(path, content, mode):
        written.append(path)
        if when == "at once" or len(written) > 10:
            raise OSError(number, os.strerror(number))
        write(path, content, mode)

    monkeypatch.setattr(files, "write_atomic", fills)
    fields = {"state_memory_bytes": 0, "state_disk_bytes": 1e9}
    with pytest.warns(UserWarning, match="cannot be written to") as told:
        losses, fresh, _ = trained_over(with_states(bench, **fields))
    assert len(told) == 1
    torch.testing.assert_close(losses, plain, rtol=1e-5, atol=0)
    hits = 0 if when == "at once" else 10
    assert sum(sum(one) for one in fresh[2:]) == 24 - hits
    assert len(written) == hits + 1  # and it is not tried again


def test_a_resumed_run_has_the_losses_of_an_unbroken_one(make, tmp_path):
    bench = with_states(make())
    losses, _, server = trained_over(bench)
    _, _, broken = trained_over(bench, rounds=(1, 2))
    (tmp_path / "saved").mkdir()
    broken.save(tmp_path / "saved")
    later = LmServer(bench, broken.scheme)
    later.load(tmp_path / "saved")
    again, fresh, _ = trained_over(bench, rounds=(3, 4), server=later)
    torch.testing.assert_close(again, losses[2:], rtol=1e-5, atol=0)
    assert fresh == [[4] * 3] * 2  # what was in memory is gone


@pytest.mark.parametrize(
    "fields",
    [
        {"shared_blocks": (0, 1, 2, 3)},
        {"runs": "split"},
        {"kept_fraction": 0.5},
        {"kept_blocks": (0, 1)},
        {"trained_blocks": (0, 1, 2, 3), "shared_blocks": (0, 1, 2, 3)},
    ],
)
def test_what_may_change_is_never_kept(make, fields):
    submodel = top_of(make())
    assert submodel.caches_states
    assert not replace(submodel, **fields).caches_states


def records_of(bench, folder, method=WHOLE):
    bench = replace(bench, config=replace(bench.config, method=method))
    server = make_server(bench, method)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return run_with(
            bench, server, LocalBackend(server, clients(server)), folder, ROUNDS
        )


def test_records_have_what_was_computed_only_where_states_are_kept(make, tmp_path):
    bench = changed(make(), *UNPRUNED)
    plain = records_of(bench, tmp_path / "plain")
    kept = records_of(with_states(bench), tmp_path / "kept")
    assert fresh_rows_of(tmp_path / "kept") == [[4] * 3] * 2 + [[0] * 3] * 2
    for one, other in zip(plain, kept, strict=True):
        assert one.keys() == other.keys()
        rates = [record.get("plan", {}).get("prune_rate") for record in (one, other)]
        assert rates[0] == rates[1]
        assert one["loss_full"] == pytest.approx(other["loss_full"], rel=1e-5)
    assert "fresh" not in (tmp_path / "plain" / "timing.jsonl").read_text()


def test_after_an_alignment_nothing_is_stale(make, tmp_path):
    align = ("align.every_rounds=3", "align.steps=1", "align.batch_size=2")
    bench = changed(make(), *UNPRUNED, *align)
    plain = records_of(bench, tmp_path / "plain")
    kept = records_of(with_states(bench), tmp_path / "kept")
    fresh = [one[0] for one in fresh_rows_of(tmp_path / "kept")]
    assert fresh == [4, 4, 0, 4]
    for one, other in zip(plain, kept, strict=True):
        assert one["loss_full"] == pytest.approx(other["loss_full"], rel=1e-5)


STREAMED = "train.stream_prefix=true"


@pytest.mark.parametrize(
    ("method", "changes", "told"),
    [
        ("lora:blocks=1", (STREAMED,), None),
        (WHOLE, UNPRUNED, None),
        (WHOLE, (*UNPRUNED, STREAMED), "stream_prefix"),
        (WHOLE, ("limits.beta_min=0",), None),  # who has a good link is not pruned
        (WHOLE, (), "state_cache"),
        ("lora", (STREAMED,), "state_cache"),
    ],
)
def test_what_no_client_can_keep_is_told(make, tmp_path, method, changes, told):
    keeps = "train.state_cache=fp32"
    bench = changed(make("rounds=1"), f'method="{method}"', keeps, *changes)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        run_method(bench, bench.config, tmp_path / "run")
    said = [str(one.message) for one in found if "has no effect" in str(one.message)]
    assert [one.split("`")[1] for one in said] == ([f"train.{told}"] if told else [])


def test_a_resumed_run_has_the_clock_of_an_unbroken_one(make, tmp_path):
    """Whichever rounds were aligned after."""
    align = ("align.every_rounds=2", "align.steps=1", "align.batch_size=2")
    bench = with_states(changed(make(), *UNPRUNED, *align, f'method="{WHOLE}"'))
    whole = run_method(bench, bench.config, tmp_path / "whole")
    flops = [one["total_flops"] for one in whole[1:]]
    assert flops[0] == flops[1] == flops[2] == flops[3]  # an epoch has two rounds
    shorter = replace(bench.config, rounds=3)
    run_method(bench, shorter, tmp_path / "parts")
    parts = run_method(bench, bench.config, tmp_path / "parts", resume=True)
    assert [one["total_flops"] for one in parts[1:]] == flops
    assert [one["virtual_s"] for one in parts] == [one["virtual_s"] for one in whole]


def test_where_some_are_pruned_the_others_keep_their_states(make):
    bench = with_states(make())
    server = make_server(bench)
    whole = bench.costs.pruned(1.0)
    size = int(bench.costs.emulator_sizes[0])
    small = bench.costs.pruned(size / bench.costs.emulator_params)
    devices = clients(server)
    for number, wanted in zip((1, 2, 3), ((4, 4), (4, 4), (0, 4)), strict=True):
        pairs = ((devices[0], whole), (devices[1], small))
        fresh = [
            one.fine_tune(held(server, submodel), submodel, number).fresh_rows
            for one, submodel in pairs
        ]
        assert tuple(fresh) == wanted


def test_frozen_blocks_are_hashed_once_for_all_clients_and_rounds(make, monkeypatch):
    from trimwave.lm.states import frozen

    read, bytes_of = [], frozen.bytes_of

    def watch(tensor):
        read.append(tensor.shape)
        return bytes_of(tensor)

    monkeypatch.setattr(frozen, "bytes_of", watch)
    bench = with_states(make())
    trained_over(bench)
    paths = len([*bench.split.emulator[0].parameters()])
    assert len(read) == 2 * paths + 1  # two blocks, and the embedding
