from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_run import METHODS, clients, held, make_server, plan_of

from trimwave.lm.data.encode import Encoder
from trimwave.lm.data.tasks import load_task
from trimwave.lm.local import LocalBackend
from trimwave.lm.session import run_method
from trimwave.lm.source.models import load_model
from trimwave.lm.train.client import Update
from trimwave.lm.train.evaluate import Evaluator
from trimwave.lm.wire.ledger import tensors_of, trained_parameters
from trimwave.model.submodel import Submodel
from trimwave.model.tally import forget_tallies
from trimwave.runs.alignment import is_aligned_after

SIZES = "data.client_sizes=[3, 5, 16]"


def weights(server):
    """Return the server's trained parameters, by name."""
    trained = trained_parameters(server.full_model)
    return {name: value.detach().clone() for name, value in trained.items()}


def random_update(server, seed, scale=1e-2, client=0):
    generator = torch.Generator().manual_seed(seed)
    delta = {
        name: (scale * torch.randn(value.shape, generator=generator)).half()
        for name, value in weights(server).items()
    }
    samples = (3, 5, 16)[client]  # SIZES
    return Update(client=client, delta=delta, train_loss=1.0, num_samples=samples)


def same_from_all(server, seed, scale=1e-2):
    """Return the same update as each client would send it."""
    return [random_update(server, seed, scale, client) for client in range(3)]


def rows_of(bench):
    """Return the bench's test rows, drawn anew."""
    config, data = bench.config, bench.config.data
    counts = {name: getattr(data, name) for name in ("num_train", "num_test")}
    task = load_task(data.source, data.public, num_public=6, seed=config.seed, **counts)
    encoder = Encoder(load_model(config.model.name)[1], data.max_tokens)
    return encoder.encode({"test": task.test})["test"]


def uncached(bench):
    """Return an evaluator that has nothing in store."""
    return Evaluator(rows_of(bench), bench.pad_id, bench.config.train)


def mean_of(name, senders):
    """Return the mean of a tensor's deltas over (samples, update)."""
    total = sum(samples * update.delta[name].double() for samples, update in senders)
    return total / sum(samples for samples, _ in senders)


def test_fedavg_by_hand(make):
    server = make_server(make(SIZES))
    assert server.num_samples.tolist() == [3.0, 5.0, 16.0]
    before = weights(server)
    updates = [random_update(server, seed, client=seed) for seed in range(3)]
    server.aggregate(updates[::-1], 1)  # in whatever order they arrive
    senders = list(zip((3, 5, 16), updates, strict=True))
    for name, value in weights(server).items():
        expected = before[name] + mean_of(name, senders)
        torch.testing.assert_close(value.double(), expected, rtol=0, atol=1e-7)


def test_equal_updates_are_one_update(make):
    server = make_server(make(SIZES))
    before, update = weights(server), random_update(server, 1)
    server.aggregate(same_from_all(server, 1), 1)
    for name, value in weights(server).items():
        expected = before[name] + update.delta[name].float()
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-7)


def test_zero_updates_change_nothing(make):
    server = make_server(make(SIZES))
    before = weights(server)
    server.aggregate(same_from_all(server, 1, scale=0.0), 1)
    assert all(torch.equal(value, before[n]) for n, value in weights(server).items())


def test_who_stays_away_does_not_count(make):
    server = make_server(make(SIZES))
    before = weights(server)
    updates = [random_update(server, seed, client=seed) for seed in (0, 2)]
    server.aggregate(updates, 1)
    for name, value in weights(server).items():
        expected = before[name] + mean_of(name, [(3, updates[0]), (16, updates[1])])
        torch.testing.assert_close(value.double(), expected, rtol=0, atol=1e-7)


def test_a_tensor_is_averaged_over_who_sent_it(make):
    server = make_server(make(SIZES))
    before, updates = weights(server), []
    one, two, *_, nobody = before
    for client, names in ((0, [one]), (1, [one, two]), (2, [two])):
        update = random_update(server, client, client=client)
        delta = {name: update.delta[name] for name in names}
        updates.append(replace(update, delta=delta))
    server.aggregate(updates, 1)
    after = weights(server)
    sent = {one: [(3, updates[0]), (5, updates[1])]}
    sent[two] = [(5, updates[1]), (16, updates[2])]
    for name, senders in sent.items():
        expected = before[name] + mean_of(name, senders)
        torch.testing.assert_close(after[name].double(), expected, rtol=0, atol=1e-7)
    assert torch.equal(after[nobody], before[nobody])


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_only_the_adapter_is_uploaded(make, kind, adapter):
    bench, method = make(kind=kind), f"jcpba:adapter={adapter}"
    server = make_server(bench, method)
    plan = plan_of(bench, server, method)
    exchange = LocalBackend(server, clients(server)).exchange(plan, 1)
    assert len(exchange.updates) == len(exchange.train_loss) == 3
    assert exchange.round_s is None  # the environment's clock says how long
    own = {id(value) for value in server.full_model.adapter.parameters()}
    trained = trained_parameters(server.full_model)
    assert own.issuperset(id(value) for value in trained.values())
    for k, update in enumerate(exchange.updates):
        assert update.client == k
        assert update.delta.keys() == trained.keys()
        assert all(("lora_" in name) == (adapter == "lora") for name in update.delta)
        for name, value in update.delta.items():
            assert value.shape == trained[name].shape
        assert len(server.up_wire.encode(update.delta)) * 8 == plan.up_bits[k]


def test_alignment_of_nothing_warns(make):
    bench = make("align.initial_steps=3")
    with pytest.warns(UserWarning, match=r"`\[align\]` has no effect"):
        server = make_server(bench, "lora")
    before = server.evaluate()
    server.align(0)
    assert server.evaluate() == before


@pytest.mark.filterwarnings("ignore:.*`.align.` has no effect")
@pytest.mark.parametrize("method", METHODS[:5])
def test_when_it_aligns_follows_from_the_recipe_alone(make, method):
    bench = make("align.every_rounds=2", "align.steps=1", "align.batch_size=2")
    server = make_server(bench, method)
    for number in range(5):
        before = server.emulator_version
        server.align(number)
        changes = server.emulator_version != before
        align = bench.config.align
        assert is_aligned_after(align, server.scheme, number) == changes


@pytest.mark.parametrize("bits", [16, 32])
def test_a_client_does_not_touch_the_server(make, bits):
    bench = make(f"model.bits_per_param={bits}")
    server = make_server(bench)
    submodel = plan_of(bench, server).submodels[0]
    adapter = weights(server)
    bench_before = {n: v.clone() for n, v in tensors_of(bench.split).items()}
    package = held(server, submodel)
    update = clients(server)[0].fine_tune(package, submodel, 1)
    assert any(value.abs().max() > 0 for value in update.delta.values())
    for name, value in weights(server).items():
        assert torch.equal(value, adapter[name]), name
    for name, value in tensors_of(bench.split).items():
        assert torch.equal(value, bench_before[name]), name


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_an_evaluation_never_drops_out(make, kind):
    server = make_server(make(kind=kind))
    before = server.evaluate()
    server.full_model.adapter.train()
    assert server.evaluate() == before


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_without_pruning_both_losses_are_one(make, kind):
    unpruned = ("limits.beta_min=0.0", "limits.beta_max=0.0", "limits.beta_bar=0.0")
    bench = make(*unpruned, kind=kind)
    server = make_server(bench)
    plan = plan_of(bench, server)
    assert plan.prune_rate.tolist() == [0.0] * 3
    for _ in range(2):
        losses = server.evaluate()
        assert losses["loss_emulator"] == losses["loss_full"]
        server.aggregate(same_from_all(server, 1, scale=0.1), 1)


def test_the_losses_are_means_over_all_answer_tokens(make):
    bench = make()
    server = make_server(bench)
    model, total, count = load_model(bench.config.model.name)[0], 0.0, 0
    for row in rows_of(bench):
        with torch.no_grad():
            scores = model(row.input_ids[None]).logits[0].log_softmax(-1)
        for position in range(row.answer_start, len(row.input_ids)):
            total -= float(scores[position - 1, row.input_ids[position]])
            count += 1
    assert server.evaluate()["loss_full"] == pytest.approx(total / count, rel=1e-5)


def test_the_cache_of_the_evaluation_is_never_stale(make):
    bench = make()
    server, seen = make_server(bench), []
    for seed in range(3):
        losses = server.evaluate()
        planned = server.full_model.with_emulator(bench.reference_emulator)
        assert losses["loss_full"] == uncached(bench).loss(server.full_model)
        assert losses["loss_emulator"] == uncached(bench).loss(planned)
        seen.append(losses["loss_full"])
        server.aggregate(same_from_all(server, seed, scale=0.1), 1)
    assert len(set(seen)) == 3


@pytest.mark.parametrize("beta_bar", [0.1, 0.4, 0.55])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_reference_emulator_has_the_mean_size(make, kind, beta_bar):
    bench = make(f"limits.beta_bar={beta_bar}", kind=kind)
    size = sum(value.numel() for value in bench.reference_emulator.parameters())
    sizes = bench.ranking.sizes
    larger = sizes[np.searchsorted(sizes, size) + 1]
    assert size <= (1 - beta_bar) * sizes[-1] < larger


@pytest.mark.parametrize("method", ["jcpba", "ubfp"])
def test_virtual_time_adds_up_the_slowest(make, tmp_path, method):
    bench = make(f"method={method}", "rounds=3")
    before = {n: v.clone() for n, v in tensors_of(bench.split).items()}
    records = run_method(bench, bench.config, tmp_path / "run")
    clock = 0.0
    assert records[0]["virtual_s"] == 0.0 and "plan" not in records[0]
    for record in records[1:]:
        plan = record["plan"]
        total = np.add(np.add(plan["compute_s"], plan["down_s"]), plan["up_s"])
        assert plan["total_s"] == pytest.approx(total.tolist())
        assert record["round_s"] == max(plan["total_s"]) == plan["latency_s"]
        clock += max(plan["total_s"])
        assert record["virtual_s"] == pytest.approx(clock, rel=1e-12)
        assert record["down_bytes"] * 8 == sum(plan["down_bits"])
        assert record["up_bytes"] * 8 == sum(plan["up_bits"])
        assert record["train_loss"] == pytest.approx(
            np.mean(record["client_train_loss"])
        )
    # The workbench is shared: a run leaves it as it was.
    for name, value in tensors_of(bench.split).items():
        assert torch.equal(value, before[name]), name


def test_a_saved_server_loads_into_the_same_losses(make, tmp_path):
    bench = make()
    server = make_server(bench)
    server.aggregate(same_from_all(server, 1, scale=0.1), 1)
    server.save(tmp_path)
    other = make_server(bench)
    assert other.evaluate() != server.evaluate()
    other.load(tmp_path)
    assert other.evaluate() == server.evaluate()
    assert all(torch.equal(v, weights(server)[n]) for n, v in weights(other).items())


@pytest.mark.parametrize("method", ["jcpba", "fedbiot:initial_steps=0", "deft", "lora"])
def test_the_submodels_rule_alone_decides_what_is_sent_and_charged(
    make, monkeypatch, method
):
    bench = make()
    server = make_server(bench, method)
    submodel = plan_of(bench, server, method).submodels[0]
    before, bill = server.deliver(submodel).sent, server.costs.bill(submodel)
    rule = Submodel.travels_down

    def but_block_two(self, part, kind):
        return part != 2 and rule(self, part, kind)

    monkeypatch.setattr(Submodel, "travels_down", but_block_two)
    forget_tallies()
    try:
        after, less = server.deliver(submodel), server.costs.bill(submodel)
    finally:
        forget_tallies()
    gone = before.keys() - after.sent.keys()
    assert gone == {name for name in before if name.startswith("2.")} != set()
    assert gone <= after.installed.keys()
    assert less.down_bits < bill.down_bits
    if submodel.kept_fraction == 1:  # of a pruned one the bill knows the sum alone
        values = sum(before[name].numel() for name in gone)
        assert bill.down_bits - less.down_bits == 16 * values
