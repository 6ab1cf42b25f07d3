"""Updates in 8 bits: MXINT8 by hand, what a bill charges of it, what is made up for."""

import pytest
import torch
from tiny_run import changed, clients, held, make_bench, make_server, plan_of

from trimwave.base.errors import InputError
from trimwave.lm import shape_of, split_model
from trimwave.lm.local import LocalBackend
from trimwave.lm.session import run_method
from trimwave.lm.wire.ledger import trained_parameters, where
from trimwave.lm.wire.package import Wire
from trimwave.lm.wire.small import (
    SCALES,
    crossed,
    dequantised,
    packed,
    quantised,
    unpacked,
)
from trimwave.recipe.recipe import merge_overrides

METHODS = (
    "jcpba",
    "jcpba:adapter=lora",
    "lora:lora_rank=3",
    "lora:blocks=2:lora_targets=all_linear",
    "deft",
    "deft:adapter=lora:download=delta",
    "fedbiot:initial_steps=1:steps=1",
    "staged:warm_rounds=1:blocks=2",
)


@pytest.fixture(scope="module")
def bench(home):
    return make_bench(home / "llama", "llama", ["train.update_bits=8"])


def test_a_block_by_hand():
    """Of [1, -0.5, 100.3, 127]: the scale is 2^0. Of [3, 254.9]: 2^2, 254.9 to 252."""
    integers, scales = quantised(torch.tensor([1.0, -0.5, 100.3, 127.0]))
    assert integers.tolist() == [1, 0, 100, 127] and scales.tolist() == [127]
    integers, scales = quantised(torch.tensor([3.0, 254.9]))
    assert scales.tolist() == [127 + 2] and integers.tolist() == [1, 64]
    assert dequantised(integers, scales).tolist() == [4.0, 256.0]


@pytest.mark.parametrize("shape", [(1,), (31,), (32,), (33,), (7, 13), (0,)])
def test_what_has_crossed_crosses_unchanged_and_is_near(shape):
    generator = torch.Generator().manual_seed(3)
    sizes = torch.randint(-6, 4, shape, generator=generator).float()
    value = torch.randn(shape, generator=generator) * 10.0**sizes
    once = crossed(value)
    assert torch.equal(crossed(once), once)
    integers, scales = quantised(value)
    assert integers.abs().max().item() <= 127 if value.numel() else True
    assert scales.numel() == -(-value.numel() // 32)
    half_step = 0.5 * 2.0 ** (scales.float() - 127)
    within = half_step.repeat_interleave(32)[: value.numel()].view(shape)
    assert torch.all((once - value).abs() <= within)
    power = 2.0**-5
    assert torch.equal(crossed(value * power), once * power)


def test_zeros_and_what_is_not_finite():
    assert crossed(torch.zeros(40)).abs().max() == 0
    for odd in (float("nan"), float("inf")):
        found = crossed(torch.cat([torch.ones(32), torch.tensor([odd, 1.0])]))
        assert found[:32].tolist() == [1.0] * 32 and found[32:].isnan().all()


def test_a_package_is_read_back_and_a_broken_one_refused():
    tensors = {"0.b": torch.randn(5, 9), "0.a": torch.randn(70)}
    package = packed(tensors)
    assert package[SCALES].numel() == 3 + 2
    back = unpacked(package)
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], crossed(tensors[name])) for name in tensors)
    package[SCALES] = package[SCALES][:-1]
    with pytest.raises(ValueError, match="4,. scales for 5 blocks"):
        unpacked(package)


def test_sizes_of_tensors_are_those_of_the_modules(model):
    shape, split = shape_of(model), split_model(model, 2)
    for block in split.adapter:
        sizes = [value.numel() for value in block.parameters()]
        assert sorted(sizes) == sorted(shape.tensors)


@pytest.mark.parametrize("text", METHODS)
def test_the_wire_carries_what_the_bill_charges(bench, text):
    server = make_server(bench, text)
    plan = plan_of(bench, server, text)
    exchange = LocalBackend(server, clients(server)).exchange(plan, 1)
    for update in exchange.updates:
        k, submodel = update.client, plan.submodels[update.client]
        sent = where(update.delta, submodel.travels_up)
        data = server.up_wire.encode(sent)
        assert 8 * len(data) == plan.up_bits[k] == server.up_wire.num_bits(sent)
        arrived = server.up_wire.decode(data)
        assert all(torch.equal(arrived[name], sent[name]) for name in sent)
        package = server.deliver(submodel).sent
        data = server.down_wire.encode(package)
        assert 8 * len(data) == plan.down_bits[k]
        arrived = server.down_wire.decode(data)
        assert all(
            torch.equal(arrived[name].float(), package[name].float())
            for name in package
        )


def test_what_is_rounded_off_comes_later(bench):
    """The sum of what arrived and what is left is the sum of what was meant."""
    server = make_server(bench, "lora")
    client = clients(server)[0]
    plan = plan_of(bench, server, "lora")
    (name, *_) = trained_parameters(server.template)
    arrived = meant = 0.0
    for number in (1, 2, 3):
        package = held(server, plan.submodels[0])
        before = client.residual.get(name, torch.zeros(1)).clone()
        update = client.fine_tune(package, plan.submodels[0], number)
        arrived = arrived + update.delta[name]
        meant = meant + update.delta[name] + client.residual[name] - before
        server.aggregate([update], number)
    torch.testing.assert_close(arrived + client.residual[name], meant)
    assert client.residual[name].abs().max() > 0
    assert server._outbox._residual[name].abs().max() > 0


@pytest.mark.parametrize("text", ["lora", "staged:warm_rounds=2:blocks=2", "deft"])
def test_a_resumed_run_is_the_unbroken_one(bench, home, text):
    names = "rounds.jsonl", "checkpoints/round-0004/adapter.safetensors"
    config = merge_overrides(bench.config, [f'method="{text}"', "rounds=4"])
    whole, broken = home / f"{text}-whole", home / f"{text}-broken"
    run_method(bench, config, whole)
    run_method(bench, merge_overrides(config, ["rounds=3"]), broken)
    run_method(bench, config, broken, resume=True)
    for name in names:
        assert (broken / name).read_bytes() == (whole / name).read_bytes()


def test_losses_stay_near(bench, home):
    changes = ['method="lora"', "train.lora_learning_rate=1e-2", "rounds=4"]
    small = run_method(
        bench, merge_overrides(bench.config, changes), home / "in-8-bits"
    )
    plain = merge_overrides(bench.config, [*changes, "train.update_bits=16"])
    whole = run_method(bench, plain, home / "in-16-bits")
    assert small[-1]["up_bytes"] < 0.65 * whole[-1]["up_bytes"]
    fell = whole[0]["loss_full"] - whole[-1]["loss_full"]
    assert fell > 0
    assert small[-1]["loss_full"] == pytest.approx(
        whole[-1]["loss_full"], abs=0.1 * fell
    )


@pytest.mark.parametrize("bits", [4, 32])
def test_other_formats_are_refused(bench, bits):
    with pytest.raises(InputError, match="`train.update_bits` must be 8"):
        make_server(changed(bench, f"train.update_bits={bits}"), "lora")


def test_other_bits_leave_the_wire_as_it_was():
    tensors = {"0.a": torch.randn(70)}
    assert Wire.fitting(tensors, 16).encode(tensors) == Wire.fitting(
        tensors, 16, ()
    ).encode(tensors)
