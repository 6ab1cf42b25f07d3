"""DEFT: each device trains its own group of blocks of the whole model."""

import pytest
import torch
from tiny_run import changed, exchanged, trained_of

from trimwave.cell.partition import batch_indices
from trimwave.lm.data.encode import collate
from trimwave.lm.source.models import load_model
from trimwave.lm.surgery.split import block_sources
from trimwave.lm.train.tune import fine_tune
from trimwave.lm.wire.ledger import trained_parameters


def blocks_of(tensors):
    return {int(name.split(".")[0]) for name in tensors}


@pytest.fixture
def bench(make):
    return make("data.client_sizes=[3, 5, 16]", "train.max_grad_norm=1e6")


def run_round(bench, monkeypatch, text="deft"):
    """Run DEFT's first round; also return each client's model after its only step."""
    models = []

    def watch(split, *args, **settings):
        models.append(split)
        return fine_tune(split, *args, **settings)

    monkeypatch.setattr("trimwave.lm.train.client.fine_tune", watch)
    server, plan, updates = exchanged(bench, f"{text}:local_steps=1")
    return server, plan.submodels, updates, models


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_a_device_sends_its_own_group_only(bench, monkeypatch, adapter):
    text = f"deft:adapter={adapter}"
    server, submodels, updates, models = run_round(bench, monkeypatch, text)
    sent = [set(update.delta) for update in updates]
    assert set.union(*sent) == set(trained_of(server))
    assert sum(map(len, sent)) == len(trained_of(server))
    for submodel, update, split in zip(submodels, updates, models, strict=True):
        assert blocks_of(update.delta) == set(submodel.trained_blocks)
        lowest = submodel.trained_blocks[0]
        assert block_sources(split.emulator, split.arch) == list(range(lowest))
        reached = {}
        for part in (split.emulator, split.adapter):
            for source, block in zip(
                block_sources(part, split.arch), part, strict=True
            ):
                reached[source] = any(v.grad is not None for v in block.parameters())
        assert [n for n in reached if reached[n]] == list(submodel.trained_blocks)


@pytest.mark.parametrize("text", ["deft", "deft:adapter=lora:download=delta"])
def test_every_block_moves_by_its_owners_delta(bench, monkeypatch, text):
    server, _, updates, _ = run_round(bench, monkeypatch, text)
    before = trained_of(server)
    server.aggregate(updates, 1)
    deltas = {name: v for update in updates for name, v in update.delta.items()}
    for name, value in trained_of(server).items():
        # Clients have 3, 5 and 16 rows: no weight but one leaves a delta as it is.
        assert torch.equal(value, before[name] + deltas[name].float()), name


def test_a_group_has_the_whole_models_gradient(bench, monkeypatch):
    precise = changed(bench, "model.bits_per_param=32", "train.batch_size=3")
    _, _, _, models = run_round(precise, monkeypatch)
    for k, split in enumerate(models):
        model, _, _ = load_model(bench.config.model.name)
        chosen = batch_indices(bench.config.seed, k, 0, 3, len(bench.client_rows[k]))
        rows = [bench.client_rows[k][i] for i in chosen]
        batch = collate(rows, bench.pad_id)
        logits = model(batch.input_ids).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), batch.labels[:, 1:].flatten()
        )
        loss.backward()
        whole = dict(model.model.layers.named_parameters())
        for name, value in trained_parameters(split).items():
            torch.testing.assert_close(
                value.grad, whole[name].grad, rtol=1e-3, atol=1e-7
            )
