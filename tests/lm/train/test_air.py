import contextlib
from dataclasses import replace

import pytest
import torch
from tiny_run import changed, clients, held, same_tensors, trained_of

from trimwave.cell.partition import batch_indices
from trimwave.decision.plan import Scheme
from trimwave.lm import split_model
from trimwave.lm.server import LmServer
from trimwave.lm.train.air import over_the_air
from trimwave.lm.train.tune import answer_loss
from trimwave.lm.wire.ledger import tensors_of, trained_parameters

STEPS, ROWS = 3, 2


@pytest.fixture(params=["llama", "gpt2"])
def bench(request, make):
    rate = "train.lora_learning_rate=1e-2"
    return make(f"train.num_local_steps={STEPS}", rate, kind=request.param)


def split_server(bench):
    """Return a server with the blocks at its side, and what a client then is."""
    costs = bench.costs
    submodel = costs.whole(
        costs.all_blocks, "lora", trains_head=True, sends_frozen=False, runs="split"
    )
    return LmServer(bench, Scheme(submodel=submodel)), submodel


def parts_of(split):
    """Return what the link lies between: the first block and the final norm."""
    norm = getattr(getattr(split.shell, split.arch.base), split.arch.final_norm)
    return split.adapter[0], norm


def given_to_parts(split, input_ids):
    """Run the model; return what first block and final norm were given, by hooks."""
    seen, handles = [], []
    for part in parts_of(split):
        handles.append(
            part.register_forward_pre_hook(
                lambda module, inputs: seen.append(inputs[0].detach().clone())
            )
        )
    split.hidden(split.features(input_ids))
    for handle in handles:
        handle.remove()
    return seen


def test_features_and_gradients_are_counted(bench):
    server, submodel = split_server(bench)
    for client in clients(server):
        update = client.fine_tune(held(server, submodel), submodel, 2)
        crossed = 0
        for step in range(STEPS, 2 * STEPS):  # of round 2
            indices = batch_indices(0, client.number, step, ROWS, len(client.rows))
            rows = [bench.client_rows[client.number][i] for i in indices]
            longest = max(len(row.input_ids) for row in rows)
            crossed += ROWS * longest * bench.split.shape.hidden_size
        assert update.crossings.down == crossed
        assert update.crossings.up == 2 * crossed


def test_an_evaluation_crosses_no_gradients(model, input_ids):
    split = split_model(model, 1).split_at(0)
    with torch.no_grad(), over_the_air(split, torch.float16) as seen:
        split.hidden(split.features(input_ids))
    numbers = input_ids.numel() * split.shape.hidden_size
    assert (seen.up, seen.down) == (numbers, numbers)


def test_what_crosses_is_in_the_airs_format(model, input_ids):
    split = split_model(model, 1).split_at(0)
    bare = given_to_parts(split, input_ids)
    with over_the_air(split, torch.float16):  # its hooks come first
        given = given_to_parts(split, input_ids)
    for rounded, precise in zip(given, bare, strict=True):
        assert rounded.dtype == precise.dtype == torch.float32
        assert torch.equal(rounded, rounded.half().float())
        assert not torch.equal(precise, precise.half().float())
        torch.testing.assert_close(rounded, precise, rtol=2e-2, atol=2e-2)
    assert torch.equal(given[0], bare[0].half().float())


def gradient_below_the_link(split, hidden, scale, dtype):
    """Return the gradient that comes back at the last block's output."""
    _, norm = parts_of(split)
    below = hidden.clone().requires_grad_(True)
    link = over_the_air(split, dtype) if dtype else contextlib.nullcontext()
    with link:
        (scale * norm(below).sum(-1).sin().sum()).backward()
    return below.grad


def test_small_gradients_get_across(model):
    split = split_model(model, 1).split_at(0)
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(2, 5, split.shape.hidden_size, generator=generator)
    hidden = hidden.half().float()  # rounded already
    exact = gradient_below_the_link(split, hidden, 1e-8, None)
    assert 1e-9 < exact.abs().max() < 1e-6
    got = gradient_below_the_link(split, hidden, 1e-8, torch.float16)
    # Plain fp16 ends at 6e-8; scaled by 1024 it ends at 6e-11.
    torch.testing.assert_close(got, exact, rtol=1e-3, atol=3e-11)
    assert not torch.equal(got, exact)
    exact = gradient_below_the_link(split, hidden, 1.0, None)
    large = gradient_below_the_link(split, hidden, 1.0, torch.float16)
    torch.testing.assert_close(large, exact, rtol=1e-3, atol=3e-11)


def test_in_fp32_the_link_changes_nothing(model, input_ids):
    split = split_model(model, 1).split_at(0)
    split.adapter.requires_grad_(True)
    labels = input_ids.clone()

    def gradients():
        split.adapter.zero_grad()
        loss, _ = answer_loss(split, split.features(input_ids), labels)
        loss.backward()
        return {
            name: value.grad.clone()
            for name, value in trained_parameters(split).items()
        }

    plain = gradients()
    with over_the_air(split, torch.float32):
        assert same_tensors(gradients(), plain)
    with over_the_air(split, torch.float16):
        assert not same_tensors(gradients(), plain)
    assert same_tensors(gradients(), plain)


def test_the_link_is_taken_away_after_an_error_too(model, input_ids):
    split = split_model(model, 1).split_at(0)
    with pytest.raises(KeyboardInterrupt), over_the_air(split, torch.float16) as seen:
        raise KeyboardInterrupt
    split.hidden(split.features(input_ids))
    assert (seen.up, seen.down) == (0, 0)
    assert not any(part._forward_pre_hooks for part in parts_of(split))


@pytest.mark.parametrize("bits", [16, 32])
def test_split_training_is_lora_on_all_blocks_and_the_head(bench, bits):
    bench = changed(bench, f"model.bits_per_param={bits}")
    server, submodel = split_server(bench)
    package = held(server, submodel)
    apart = clients(server)[0].fine_tune(package, submodel, 1)
    whole = replace(submodel, runs="device")
    together = clients(server)[0].fine_tune(package, whole, 1)
    assert apart.delta.keys() == together.delta.keys()
    assert {name.split(".")[0] for name in apart.delta} == {*"0123", "head"}
    assert together.crossings is None
    assert same_tensors(apart.delta, together.delta) == (bits == 32)
    assert apart.train_loss == pytest.approx(together.train_loss, rel=1e-3)


def test_only_the_heads_factors_travel(bench):
    server, submodel = split_server(bench)
    package, stored = server.deliver(submodel).sent, server.deliver(submodel).installed
    assert set(package) == {f"head.lora_{x}.default.weight" for x in "AB"}
    for name, value in package.items():
        assert torch.equal(value, value.half().float()), name
    assert not any(name.startswith("head.") for name in stored)
    blocks = {n: v for n, v in tensors_of(server.template).items() if n in stored}
    assert len(blocks) == len(tensors_of(server.template)) - len(package)
    assert same_tensors(stored, blocks)  # the server's own, not rounded
    before = trained_of(server)
    update = clients(server)[1].fine_tune(held(server, submodel), submodel, 1)
    assert same_tensors(trained_of(server), before)
    for name, value in update.delta.items():
        on_device = name.startswith("head.")
        assert value.dtype == (torch.float16 if on_device else torch.float32)
        assert value.abs().max() > 0 or ".lora_A." in name
    assert set(server.up_wire.decode(server.up_wire.encode(package))) == set(package)


def test_the_head_learns_and_its_weight_does_not(bench):
    server, submodel = split_server(bench)
    weight = bench.split.head.weight
    before, loss = weight.clone(), server.evaluate()["loss_full"]
    assert server.template.head.base_layer.weight is weight
    updates = [
        client.fine_tune(held(server, submodel), submodel, 1)
        for client in clients(server)
    ]
    server.aggregate(updates, 1)
    assert torch.equal(weight, before)
    trained = trained_parameters(server.template)
    assert trained["head.lora_B.default.weight"].abs().max() > 0
    whole = server.evaluate()["loss_full"]
    assert whole < loss
    # Plugged in is the head with its factors: without them the loss is another.
    with torch.no_grad():
        trained["head.lora_B.default.weight"].zero_()
    assert server.evaluate()["loss_full"] != whole
