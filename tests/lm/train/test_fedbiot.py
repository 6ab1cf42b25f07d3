import numpy as np
import pytest
import torch
from tiny_run import (
    changed,
    exchanged,
    make_bench,
    make_server,
    plan_of,
    same_tensors,
    state_of,
    trained_of,
)

from trimwave.lm.data.encode import collate
from trimwave.lm.surgery.split import block_sources
from trimwave.lm.train.align import Aligner, distillation_loss
from trimwave.lm.wire.ledger import is_factor
from trimwave.lm.wire.receive import receive
from trimwave.methods.fedbiot import kept_blocks

UNALIGNED = "initial_steps=0:steps=0"


@pytest.fixture(scope="module")
def benches(tmp_path_factory):
    """A workbench per architecture, in fp32 so that nothing is rounded."""
    folder = tmp_path_factory.mktemp("fedbiot")
    changes = ["model.bits_per_param=32", "align.learning_rate=3e-3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMWAVE_CACHE", str(folder / "cache"))
        yield {
            kind: make_bench(folder / kind, kind, changes) for kind in ("llama", "gpt2")
        }


@pytest.fixture(params=["llama", "gpt2"])
def bench(request, benches):
    return benches[request.param]


@pytest.fixture(params=["lora", "full"])
def adapter(request):
    return request.param


def copied(package):
    """In fp32 a package shares the server's own tensors."""
    return {name: value.clone() for name, value in package.items()}


def public_loss(bench, server, kl_weight=0.9):
    """Distance of a server's emulator to the original on all public rows."""
    batch, split = collate(bench.public_rows, bench.pad_id), server.template
    split.adapter.eval()
    with torch.no_grad():
        features = split.features(batch.input_ids)
        rows = (features, batch.input_ids, batch.labels)
        return float(distillation_loss(split, server.full_model, *rows, kl_weight))


def test_blocks_that_are_kept():
    fifth = [0, 1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 16, 17, 18, 19, 21]
    assert kept_blocks(22, 0.2) == tuple(fifth)
    assert fifth == [i * 21 // 17 for i in range(18)]
    assert kept_blocks(22, 0.5) == (0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 21)
    assert kept_blocks(22, 0.0) == tuple(range(22))
    assert kept_blocks(22, 0.9) == (0, 21)
    assert kept_blocks(22, 0.99) == kept_blocks(1, 0.0) == (0,)


def test_dropped_blocks_never_reach_a_client(bench, adapter):
    method = f"fedbiot:adapter={adapter}:drop=0.2"
    server = make_server(bench, method)
    package = server.deliver(plan_of(bench, server, method).submodels[0]).sent
    assert {name.split(".")[0] for name in package} == {"0", "2", "3"}
    client = receive(server.template, package, torch.float32)
    assert block_sources(client.emulator, client.arch) == [0, 2]
    assert sum(value.requires_grad for value in client.emulator.parameters()) == 0


def test_without_dropping_the_emulator_is_the_model(bench, adapter):
    server = make_server(bench, f"fedbiot:adapter={adapter}:drop=0")
    assert public_loss(bench, server) == 0.0
    losses = server.evaluate()
    assert losses["loss_emulator"] == losses["loss_full"]
    dropped = make_server(bench, f"fedbiot:adapter={adapter}")
    assert public_loss(bench, dropped) > 1e-4
    assert dropped.evaluate()["loss_emulator"] != losses["loss_full"]
    assert dropped.evaluate()["loss_full"] == losses["loss_full"]


@pytest.mark.parametrize("download", ["full", "delta"])
def test_it_is_aligned_with_all_blocks_kept_however_it_comes(bench, adapter, download):
    method = f"fedbiot:adapter={adapter}:drop=0:initial_steps=1:download={download}"
    server = make_server(bench, method)
    submodel = plan_of(bench, server, method).submodels[0]
    before = copied(server.deliver(submodel).sent)
    server.align(0)
    assert not same_tensors(server.deliver(submodel).sent, before)


def test_alignment_comes_nearer_and_reaches_the_clients(bench, adapter):
    method = f"fedbiot:adapter={adapter}:initial_steps=20"
    server, shared = make_server(bench, method), state_of(bench)
    submodel = plan_of(bench, server, method).submodels[0]
    sent, before = copied(server.deliver(submodel).sent), public_loss(bench, server)
    server.align(0)
    assert public_loss(bench, server) < 0.8 * before
    aligned = server.deliver(submodel).sent
    assert aligned.keys() == sent.keys()
    changes = {name for name in sent if not torch.equal(sent[name], aligned[name])}
    border = server.template.split_index
    emulator = {name for name in sent if int(name.split(".")[0]) < border}
    factors = {name for name in emulator if is_factor(name)}
    assert changes == (factors if adapter == "lora" else emulator)
    assert len(factors) == (adapter == "lora") * 2 * len(factors_per_block(bench)) * 2
    # What arrives computes what the server measured, and the bench is as before.
    ids = collate(bench.public_rows, bench.pad_id).input_ids
    client = receive(server.template, aligned, torch.float32)
    assert torch.equal(client.features(ids), server.template.features(ids))
    assert same_tensors(state_of(bench), shared)


def test_the_test_loss_follows_the_aligned_emulator(bench, adapter):
    server = make_server(bench, f"fedbiot:adapter={adapter}:initial_steps=3:steps=2")
    seen = []
    for number in range(3):
        server.align(number)
        seen.append(server.evaluate()["loss_emulator"])
        # Another server's modules are others: nothing of theirs is in store.
        other = make_server(bench, f"fedbiot:adapter={adapter}")
        other.template.emulator.load_state_dict(server.template.emulator.state_dict())
        assert other.evaluate()["loss_emulator"] == seen[-1]
    assert len(set(seen)) == 3


def factors_per_block(bench):
    """Matrices with LoRA: one in GPT-2, two in a Llama."""
    return ["c_attn"] if bench.split.shape.model_type == "gpt2" else ["q", "v"]


@pytest.mark.parametrize("download", ["full", "delta"])
def test_later_alignment_travels_too(bench, download):
    method = f"fedbiot:initial_steps=0:steps=2:download={download}"
    server, _, updates = exchanged(bench, method)
    submodel = plan_of(bench, server, method).submodels[0]
    before = copied(server.deliver(submodel).sent)
    server.aggregate(updates, 1)
    server.align(1)
    after = server.deliver(submodel).sent
    factors = {name for name in after if is_factor(name)}
    assert {n for n in after if not torch.equal(before[n], after[n])} == factors
    assert {name.split(".")[0] for name in factors} == {"0", "2", "3"}
    assert (after.keys() == factors) == (download == "delta")


def test_alignment_sees_public_rows_and_the_current_adapter(benches, monkeypatch):
    bench, seen, calls = benches["llama"], [], []

    def watched_collate(rows, pad_id):
        seen.extend(id(row) for row in rows)
        return collate(rows, pad_id)

    def watched_loss(student, teacher, *inputs):
        calls.append((student.adapter, teacher.adapter, teacher.emulator))
        return distillation_loss(student, teacher, *inputs)

    monkeypatch.setattr("trimwave.lm.train.align.collate", watched_collate)
    monkeypatch.setattr("trimwave.lm.train.align.distillation_loss", watched_loss)
    server = make_server(bench, "fedbiot:initial_steps=3:steps=2")
    for number in range(3):
        server.align(number)
    assert len(calls) == 3 + 2 + 2
    assert set(seen) == {id(row) for row in bench.public_rows}
    own, original = server.template.adapter, bench.split.emulator
    for student, teacher, emulator in calls:
        assert student is teacher is own
        assert emulator is original


def test_alignment_goes_on_where_it_stopped(benches, tmp_path):
    bench, method = benches["llama"], "fedbiot:initial_steps=2:steps=2"
    whole, broken = make_server(bench, method), make_server(bench, method)
    for server in (whole, broken):
        server.align(0)
    broken.save(tmp_path)
    resumed = make_server(bench, method)
    resumed.load(tmp_path)
    for server in (whole, resumed):
        server.align(1)
    submodel = plan_of(bench, whole, method).submodels[0]
    assert same_tensors(whole.deliver(submodel).sent, resumed.deliver(submodel).sent)
    assert whole.evaluate() == resumed.evaluate() != broken.evaluate()


def test_the_recipe_sets_the_optimiser_and_the_method_the_rest(benches, monkeypatch):
    bench, seen = benches["llama"], []

    def watched(self, student, teacher, num_steps):
        seen.append((self.config, self.ranking, (self.steps_done, num_steps)))
        self.steps_done += num_steps

    monkeypatch.setattr(Aligner, "align", watched)
    bench = changed(bench, "align.batch_size=3", "align.every_rounds=7")
    server = make_server(bench, "fedbiot:initial_steps=5:steps=4:kl_weight=0.3")
    for number in range(3):
        server.align(number)
    steps = [how for _, _, how in seen]
    assert steps == [(0, 5), (5, 4), (9, 4)]
    for config, ranking, _ in seen:
        assert (config.kl_weight, config.batch_size) == (0.3, 3)
        assert config.learning_rate == 3e-3
        assert ranking is None


def test_what_is_not_aligned_is_the_original(bench):
    server = make_server(bench, f"fedbiot:{UNALIGNED}")
    before = trained_of(server)
    server.align(0)
    server.align(1)
    own = server.template.emulator
    assert own[0] is bench.split.emulator[0] and own[1] is bench.split.emulator[2]
    assert same_tensors(trained_of(server), before)
    plan = plan_of(bench, server, f"fedbiot:{UNALIGNED}")
    assert np.ptp(plan.bandwidth_hz) == 0  # even, as published
