"""Frozen blocks that run one by one over a round's rows, before its steps."""

import gc
import weakref

import pytest
import torch
from tiny_run import (
    changed,
    clients,
    fresh_rows_of,
    held,
    make_bench,
    make_server,
    plan_of,
)

from trimwave.base.errors import InputError
from trimwave.lm.session import run_method
from trimwave.lm.states.cache import States
from trimwave.lm.states.files import delete_states
from trimwave.lm.states.prefix import Prefix
from trimwave.lm.train.client import Client
from trimwave.recipe.recipe import merge_overrides

CHANGES = ["rounds=3", "train.state_cache=fp32", "train.num_local_steps=3"]
STREAMED = "train.stream_prefix=true"


@pytest.fixture(scope="module")
def benches(home):
    return {kind: make_bench(home / kind, kind, CHANGES) for kind in ("llama", "gpt2")}


def records_of(bench, folder, *changes):
    bench = changed(bench, *changes)
    return run_method(bench, bench.config, folder)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_block_by_block_is_all_at_once(benches, input_ids, kind):
    split = benches[kind].split.split_at(3)
    features = split.embedded(input_ids)
    for block in split.emulator:
        features = split.through(block, features)
    assert torch.equal(features, split.features(input_ids))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("text", ["lora:blocks=1", "staged:warm_rounds=1:blocks=2"])
def test_a_run_is_the_same(benches, home, kind, text):
    bench, name = benches[kind], f"{kind}-{text.partition(':')[0]}"
    method = f'method="{text}"'
    plain = records_of(bench, home / f"{name}-plain", method)
    streamed = records_of(bench, home / f"{name}-streamed", method, STREAMED)
    for one, other in zip(plain, streamed, strict=True):
        assert one["loss_full"] == other["loss_full"]
        assert one.get("client_train_loss") == other.get("client_train_loss")
        assert one.get("total_flops") == other.get("total_flops")
    memory = [one[-1]["plan"]["memory_bytes"] for one in (plain, streamed)]
    assert all(a != b for a, b in zip(*memory, strict=True))


def test_no_more_blocks_are_there_than_the_bill_says(benches, monkeypatch):
    """What a prefix yields is let go of as the next comes."""
    bench = changed(benches["llama"], STREAMED)
    server = make_server(bench, "lora:blocks=1")
    submodel = plan_of(bench, server, "lora:blocks=1").submodels[0]
    assert submodel.streams_prefix
    client: Client = clients(server)[0]
    package = held(server, submodel)
    prefix, rest = Prefix.taken(package, 3, client.states.digests)
    assert {int(name.partition(".")[0]) for name in rest} == {3}
    alive, most = [], []

    def blocks():
        for number, tensors in prefix.blocks():
            own = {path: value.clone() for path, value in tensors.items()}
            alive.append([weakref.ref(value) for value in own.values()])
            yield number, own
            del own
            gc.collect()
            most.append(sum(any(one() is not None for one in k) for k in alive))

    found = client.fine_tune(rest, submodel, 1, Prefix(prefix.digest, blocks))
    assert found.fresh_rows == 6 and len(most) == 3 and max(most) <= 1
    again = client.fine_tune(rest, submodel, 1, Prefix(prefix.digest, blocks))
    assert again.fresh_rows == 0 and len(most) == 3  # no block was asked for
    assert again.train_loss == found.train_loss
    whole = clients(make_server(bench, "lora:blocks=1"))[0]
    assert whole.fine_tune(package, submodel, 1).train_loss == found.train_loss


def test_rows_that_there_is_no_room_for_are_made_each_round(benches, home):
    room = "train.state_memory_bytes=1"
    kept = records_of(
        benches["llama"], home / "kept", STREAMED, 'method="lora:blocks=1"'
    )
    none = records_of(
        benches["llama"], home / "none", STREAMED, room, 'method="lora:blocks=1"'
    )
    assert [one["loss_full"] for one in kept] == [one["loss_full"] for one in none]


@pytest.mark.parametrize(("room", "later"), [("1", 8), ("1e9", 0)])
def test_a_row_is_charged_once_a_round_however_often_it_is_met(
    benches, home, room, later
):
    steps = ("train.num_local_steps=10", "train.batch_size=4")  # five epochs a round
    of_room = (f"train.state_memory_bytes={room}", 'method="lora:blocks=1"', "rounds=2")
    bench = changed(benches["llama"], STREAMED, *steps, *of_room)
    folder = home / f"charged-{room}"
    records = run_method(bench, bench.config, folder)
    server = make_server(bench, "lora:blocks=1")
    bill = bench.costs.bill(plan_of(bench, server, "lora:blocks=1").submodels[0])
    of_row = bill.frozen_flops / 4
    charged = [
        (flops - 10 * (bill.step_flops - bill.frozen_flops)) / of_row
        for record in records[1:]
        for flops in record["plan"]["flops"]
    ]
    assert charged == pytest.approx([8] * 3 + [later] * 3)
    assert fresh_rows_of(folder) == [[8] * 3, [later] * 3]


def test_files_that_go_while_a_round_is_at_work(benches, home, monkeypatch):
    """Their rows were found ahead, and the frozen blocks are gone by then."""
    disk = ("train.state_memory_bytes=0", "train.state_disk_bytes=1e8")
    monkeypatch.setenv("TRIMWAVE_CACHE", str(home / "goes"))
    bench = changed(benches["llama"], STREAMED, *disk)
    server = make_server(bench, "lora:blocks=1")
    submodel = plan_of(bench, server, "lora:blocks=1").submodels[0]
    client, package = clients(server)[0], held(server, submodel)
    whole = client.fine_tune(package, submodel, 1).train_loss
    features, counts = States.features, []

    def one_goes(self, batch):
        counts.append(delete_states(home / "goes" / "states")[0])
        return features(self, batch)

    monkeypatch.setattr(States, "features", one_goes)
    assert client.fine_tune(package, submodel, 1).train_loss == whole
    assert counts == [6, 0, 0]
    monkeypatch.setattr(States, "features", features)
    again = client.fine_tune(package, submodel, 1)
    assert (again.train_loss, again.fresh_rows) == (whole, 6)


def test_memory_by_hand(benches):
    bench = benches["llama"]
    costs = changed(bench, STREAMED, "train.state_cache=int8").costs
    plain, shape = bench.costs, costs.shape
    top = costs.top_blocks(1, "")
    one, other = (
        of.whole(top, "lora", shared_blocks=top, sends_frozen=False)
        for of in (plain, costs)
    )
    assert (one.streams_prefix, other.streams_prefix) == (False, True)
    saved = 3 * shape.block_params * 2  # three blocks in 16 bits
    states = 3 * 2 * 48 * (32 + 4)  # steps, rows, tokens; int8 and a scale
    found = costs.bill(other).memory_bytes
    assert found == plain.bill(one).memory_bytes - saved + states
    passing = shape.embedding_params * 2 + 2 * shape.block_params * 2
    passing += (3 * 2 * 48 + 48) * 32 * 4
    assert found > passing  # else that is what it takes
    everything = costs.whole(costs.all_blocks, "lora", sends_frozen=False)
    assert not everything.streams_prefix


@pytest.mark.parametrize("change", ["cache=off", "memory_bytes=0"])
def test_states_must_be_kept(benches, change):
    with pytest.raises(InputError, match="`train.stream_prefix` makes states"):
        merge_overrides(benches["llama"].config, [STREAMED, f"train.state_{change}"])
