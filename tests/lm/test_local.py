from dataclasses import replace

import pytest
import torch
from tiny_run import clients, held, make_server, plan_of

from trimwave.lm.local import LocalBackend


def test_who_is_not_in_the_plan_is_left_out(make):
    bench = make()
    server = make_server(bench)
    plan = plan_of(bench, server)
    everyone = LocalBackend(server, clients(server)).exchange(plan, 1)
    some = replace(plan, submodels=(plan.submodels[0], None, plan.submodels[2]))
    called = []
    backend = LocalBackend(server, clients(server), lambda *told: called.append(told))
    exchange = backend.exchange(some, 1)
    assert [update.client for update in exchange.updates] == [0, 2]
    assert called == [(0, 0, 2), (2, 1, 2)]
    losses = everyone.train_loss
    assert exchange.train_loss == [losses[0], None, losses[2]]


@pytest.mark.parametrize("bits", [16, 32])
def test_the_order_of_clients_does_not_matter(make, bits):
    bench = make(f"model.bits_per_param={bits}")
    server = make_server(bench)
    plan, devices = plan_of(bench, server), clients(server)
    submodel = plan.submodels[2]
    last = devices[2].fine_tune(held(server, submodel), submodel, 1)
    exchange = LocalBackend(server, devices).exchange(plan, 1)
    assert exchange.updates[2].train_loss == last.train_loss
    for name, value in exchange.updates[2].delta.items():
        assert torch.equal(value, last.delta[name]), name


@pytest.mark.parametrize(
    ("method", "rate"),
    [
        ("jcpba", 2e-2),
        ("jcpba:learning_rate=5e-3", 5e-3),
        ("jcpba:adapter=lora", 3e-3),
        ("lora", 3e-3),
        ("fedbiot:learning_rate=7e-3", 7e-3),
        ("deft:adapter=full", 2e-2),
    ],
)
def test_the_step_size_is_the_methods_or_the_recipes(make, method, rate):
    rates = ("train.learning_rate=2e-2", "train.lora_learning_rate=3e-3")
    bench = make(*rates, "model.bits_per_param=32", "train.num_local_steps=1")
    server = make_server(bench, method)
    submodel = plan_of(bench, server, method).submodels[0]
    update = clients(server)[0].fine_tune(held(server, submodel), submodel, 1)
    largest = max(float(value.abs().max()) for value in update.delta.values())
    assert largest == pytest.approx(rate, rel=0.02)  # AdamW's first step


def test_a_client_sees_every_row_once_in_an_epoch(make, monkeypatch):
    seen = []

    def watch(split, batches, config, seed, **settings):
        for batch in batches:
            seen.extend(tuple(ids[ids > 1].tolist()) for ids in batch.input_ids)
        return 1.0

    monkeypatch.setattr("trimwave.lm.train.client.fine_tune", watch)
    bench = make()
    server, submodel = make_server(bench), bench.costs.pruned(1.0)
    client, package = clients(server)[1], held(server, submodel)
    for round_index in (1, 2):  # 2 steps of 2 rows each, of 8 rows
        client.fine_tune(package, submodel, round_index)
    own = [tuple(row.input_ids[row.input_ids > 1].tolist()) for row in client.rows]
    assert sorted(seen) == sorted(own)
