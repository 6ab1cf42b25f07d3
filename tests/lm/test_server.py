import numpy as np
import pytest
import torch
from tiny_run import make_bench

from trimwave.environment import Environment, limits_of
from trimwave.lm.client import Update
from trimwave.lm.encode import encode
from trimwave.lm.evaluate import Evaluator
from trimwave.lm.local import LocalBackend
from trimwave.lm.models import load_model
from trimwave.lm.package import package_of
from trimwave.lm.server import LmServer
from trimwave.lm.session import run_method
from trimwave.lm.tasks import load_task
from trimwave.lm.tune import trained_parameters
from trimwave.methods import parse_method
from trimwave.problem import Problem

SIZES = "data.client_sizes=[3, 5, 16]"


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMWAVE_CACHE", str(tmp_path / "cache"))

    def _make(*changes, kind="llama"):
        return make_bench(tmp_path / kind, kind, changes)

    return _make


def weights(server):
    """Return the server's trained parameters, by name."""
    split = server.full_model
    return {
        name: value.detach().clone()
        for name, value in trained_parameters(split.adapter).items()
    }


def random_update(server, seed, scale=1e-2):
    generator = torch.Generator().manual_seed(seed)
    delta = {
        name: (scale * torch.randn(value.shape, generator=generator)).half()
        for name, value in weights(server).items()
    }
    return Update(delta=delta, train_loss=1.0)


def plan_of(bench, server, method="jcpba"):
    cell = Environment.from_config(bench.config).cell(0, server.num_samples)
    limits = limits_of(bench.config)
    problem = Problem(cell=cell, workload=server.workload, limits=limits)
    return parse_method(method).plan(problem)


def rows_of(bench):
    """Return the bench's test rows, drawn anew."""
    config, data = bench.config, bench.config.data
    counts = {name: getattr(data, name) for name in ("num_train", "num_test")}
    task = load_task(data.source, data.public, num_public=6, seed=config.seed, **counts)
    return encode(task.test, load_model(config.model.name)[1], data.max_tokens)


def uncached(bench):
    """Return an evaluator that has nothing in store."""
    return Evaluator(rows_of(bench), bench.pad_id, bench.config.train)


def test_fedavg_by_hand(make):
    server = LmServer(make(SIZES))
    assert server.num_samples.tolist() == [3.0, 5.0, 16.0]
    before = weights(server)
    updates = [random_update(server, seed) for seed in range(3)]
    server.aggregate(updates)
    for name, value in weights(server).items():
        mean = sum(
            n / 24 * update.delta[name].double()
            for n, update in zip((3, 5, 16), updates, strict=True)
        )
        torch.testing.assert_close(
            value.double(), before[name] + mean, rtol=0, atol=1e-7
        )


def test_equal_updates_are_one_update(make):
    server = LmServer(make(SIZES))
    before, update = weights(server), random_update(server, 1)
    server.aggregate([update] * 3)
    for name, value in weights(server).items():
        expected = before[name] + update.delta[name].float()
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-7)


def test_zero_updates_change_nothing(make):
    server = LmServer(make(SIZES))
    before = weights(server)
    server.aggregate([random_update(server, 1, scale=0.0)] * 3)
    assert all(torch.equal(value, before[n]) for n, value in weights(server).items())


def test_an_update_per_client_is_needed(make):
    server = LmServer(make())
    with pytest.raises(ValueError, match="zip"):
        server.aggregate([random_update(server, 1)] * 2)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_only_the_adapter_is_uploaded(make, kind, adapter):
    bench = make(f"train.adapter={adapter}", kind=kind)
    server = LmServer(bench)
    plan = plan_of(bench, server)
    exchange = LocalBackend(server, bench.clients()).exchange(plan, 1)
    assert len(exchange.updates) == len(exchange.train_loss) == 3
    assert exchange.round_s == max(plan.total_s)
    own = {id(value) for value in server.full_model.adapter.parameters()}
    trained = trained_parameters(server.full_model.adapter)
    assert own.issuperset(id(value) for value in trained.values())
    for k, update in enumerate(exchange.updates):
        assert update.delta.keys() == trained.keys()
        assert all(("lora_" in name) == (adapter == "lora") for name in update.delta)
        for name, value in update.delta.items():
            assert value.shape == trained[name].shape
        assert len(bench.up_wire.encode(update.delta)) * 8 == plan.up_bits[k]


@pytest.mark.parametrize("bits", [16, 32])
def test_a_client_does_not_touch_the_server(make, bits):
    bench = make(f"model.bits_per_param={bits}")
    server = LmServer(bench)
    submodel = plan_of(bench, server).submodels[0]
    adapter = weights(server)
    bench_before = {n: v.clone() for n, v in package_of(bench.split).items()}
    update = bench.clients()[0].fine_tune(server.package(submodel), 1)
    assert any(value.abs().max() > 0 for value in update.delta.values())
    for name, value in weights(server).items():
        assert torch.equal(value, adapter[name]), name
    for name, value in package_of(bench.split).items():
        assert torch.equal(value, bench_before[name]), name


@pytest.mark.parametrize("bits", [16, 32])
def test_the_order_of_clients_does_not_matter(make, bits):
    bench = make(f"model.bits_per_param={bits}")
    server = LmServer(bench)
    plan, clients = plan_of(bench, server), bench.clients()
    packages = [server.package(submodel) for submodel in plan.submodels]
    last = clients[2].fine_tune(packages[2], 1)
    exchange = LocalBackend(server, clients).exchange(plan, 1)
    assert exchange.updates[2].train_loss == last.train_loss
    for name, value in exchange.updates[2].delta.items():
        assert torch.equal(value, last.delta[name]), name


def test_a_client_sees_every_row_once_in_an_epoch(make, monkeypatch):
    seen = []

    def watch(split, batches, config, seed):
        for batch in batches:
            seen.extend(tuple(ids[ids > 1].tolist()) for ids in batch.input_ids)
        return 1.0

    monkeypatch.setattr("trimwave.lm.client.fine_tune", watch)
    bench = make()
    client, package = bench.clients()[1], package_of(bench.split)
    for round_index in (1, 2):  # 2 steps of 2 rows each, of 8 rows
        client.fine_tune(package, round_index)
    own = [tuple(row.input_ids[row.input_ids > 1].tolist()) for row in client.rows]
    assert sorted(seen) == sorted(own)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_an_evaluation_never_drops_out(make, kind):
    server = LmServer(make(kind=kind))
    before = server.evaluate()
    server.full_model.adapter.train()
    assert server.evaluate() == before


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_without_pruning_both_losses_are_one(make, kind):
    unpruned = ("limits.beta_min=0.0", "limits.beta_max=0.0", "limits.beta_bar=0.0")
    bench = make(*unpruned, kind=kind)
    server = LmServer(bench)
    plan = plan_of(bench, server)
    assert plan.prune_rate.tolist() == [0.0] * 3
    for _ in range(2):
        losses = server.evaluate()
        assert losses["loss_emulator"] == losses["loss_full"]
        server.aggregate([random_update(server, 1, scale=0.1)] * 3)


def test_the_losses_are_means_over_all_answer_tokens(make):
    bench = make()
    server = LmServer(bench)
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
    server, seen = LmServer(bench), []
    for seed in range(3):
        losses = server.evaluate()
        planned = server.full_model.with_emulator(bench.planned_emulator)
        assert losses["loss_full"] == uncached(bench).loss(server.full_model)
        assert losses["loss_emulator"] == uncached(bench).loss(planned)
        seen.append(losses["loss_full"])
        server.aggregate([random_update(server, seed, scale=0.1)] * 3)
    assert len(set(seen)) == 3


@pytest.mark.parametrize("beta_bar", [0.1, 0.4, 0.55])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_planned_emulator_has_the_mean_size(make, kind, beta_bar):
    bench = make(f"limits.beta_bar={beta_bar}", kind=kind)
    size = sum(value.numel() for value in bench.planned_emulator.parameters())
    sizes = bench.ranking.sizes
    larger = sizes[np.searchsorted(sizes, size) + 1]
    assert size <= (1 - beta_bar) * sizes[-1] < larger


@pytest.mark.parametrize("method", ["jcpba", "ubfp"])
def test_virtual_time_adds_up_the_slowest(make, tmp_path, method):
    bench = make(f"method={method}", "rounds=3")
    before = {n: v.clone() for n, v in package_of(bench.split).items()}
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
    for name, value in package_of(bench.split).items():
        assert torch.equal(value, before[name]), name


def test_a_saved_server_loads_into_the_same_losses(make, tmp_path):
    bench = make()
    server = LmServer(bench)
    server.aggregate([random_update(server, 1, scale=0.1)] * 3)
    server.save(tmp_path)
    other = LmServer(bench)
    assert other.evaluate() != server.evaluate()
    other.load(tmp_path)
    assert other.evaluate() == server.evaluate()
    assert all(torch.equal(v, weights(server)[n]) for n, v in weights(other).items())
