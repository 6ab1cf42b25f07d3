import copy

import numpy as np
import pytest
import safetensors.torch
import torch
from helpers import with_factors
from tiny_run import clients, held, make_bench, make_server, plan_of

from trimwave.base.errors import InputError
from trimwave.lm import prune_emulator, random_scores, rank_units, split_model
from trimwave.lm.train.tune import add_lora, head_with_lora
from trimwave.lm.wire.ledger import tensors_of, trained_parameters
from trimwave.lm.wire.package import AIR_DTYPES, Wire
from trimwave.lm.wire.receive import receive
from trimwave.problem.limits import Limits

RUNS = [
    (kind, adapter, bits)
    for kind in ("llama", "gpt2")
    for adapter in ("full", "lora")
    for bits in (16, 32)
]


def ranked(split, seed=0):
    scores = random_scores(split, np.random.default_rng(seed))
    return rank_units(scores, split.shape, round_to=4, min_neurons=8)


def some(sizes, count=5):
    return [int(sizes[i]) for i in np.linspace(0, len(sizes) - 1, count).astype(int)]


def pruned(split, size):
    return split.with_emulator(prune_emulator(split, ranked(split).kept(size)))


def with_air_weights(split, dtype):
    """Round a copy's weights to what the air carries, and compute in fp32."""
    split = split.with_emulator(copy.deepcopy(split.emulator))
    split = split.with_adapter(copy.deepcopy(split.adapter))
    with torch.no_grad():
        for part in (split.emulator, split.adapter):
            for value in part.parameters():
                value.copy_(value.to(dtype).float())
    return split


def logits(split, input_ids):
    split.adapter.eval()
    with torch.no_grad():
        return split.logits(split.hidden(split.features(input_ids)))


@pytest.mark.parametrize(("kind", "adapter", "bits"), RUNS)
def test_a_package_has_the_planned_bits(tmp_path, monkeypatch, kind, adapter, bits):
    monkeypatch.setenv("TRIMWAVE_CACHE", str(tmp_path / "cache"))
    bench = make_bench(tmp_path, kind, [f"model.bits_per_param={bits}"])
    method = f"jcpba:adapter={adapter}"
    server, seen = make_server(bench, method), set()
    for beta in (0.0, 0.2, 0.45, 0.7):
        limits = Limits(beta_min=0.0, beta_max=0.72, beta_bar=beta)
        plan = plan_of(bench, server, method, limits)
        for k, submodel in enumerate(plan.submodels):
            package = server.deliver(submodel).sent
            data = server.down_wire.encode(package)
            assert len(data) * 8 == plan.down_bits[k]
            assert server.down_wire.num_bits(package) == plan.down_bits[k]
            seen.add(len(data))
    assert len(seen) >= 5
    update = clients(server)[0].fine_tune(package, submodel, 1)
    data = server.up_wire.encode(update.delta)
    assert len(data) * 8 == server.up_wire.num_bits(update.delta) == plan.up_bits[0]


def test_layer_drop_too_has_the_planned_bits(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMWAVE_CACHE", str(tmp_path / "cache"))
    bench = make_bench(tmp_path, "llama", ["prune.criterion=layer_drop"])
    server, split = make_server(bench), bench.split
    wire, costs = server.down_wire, server.costs
    assert len(bench.ranking.sizes) == split.split_index
    for size in bench.ranking.sizes.tolist():
        blocks = prune_emulator(split, bench.ranking.kept(size))
        package = tensors_of(split.with_emulator(blocks))
        params = size + sum(value.numel() for value in split.adapter.parameters())
        assert len(wire.encode(package)) * 8 == costs.overhead_down_bits + 16 * params


@pytest.mark.parametrize("bits", sorted(AIR_DTYPES))
def test_what_is_decoded_is_what_was_rounded(model, bits):
    split = split_model(model, 3)
    full = tensors_of(split)
    wire = Wire.fitting(full, bits)
    for size in some(ranked(split).sizes, 3):
        package = tensors_of(pruned(split, size))
        data = wire.encode(package)
        decoded = wire.decode(data)
        assert decoded.keys() == package.keys()
        for name, value in decoded.items():
            assert value.dtype == AIR_DTYPES[bits]
            assert torch.equal(value, package[name].to(AIR_DTYPES[bits]))
        assert wire.encode(decoded) == data
        assert wire.overhead_bits == wire.num_bits(full) - bits * numel(full)


def numel(tensors):
    return sum(value.numel() for value in tensors.values())


def test_anyone_can_read_a_package(tiny, tmp_path):
    split = split_model(tiny("gpt2"), 3)
    wire = Wire.fitting(tensors_of(split), 16)
    package = tensors_of(pruned(split, int(ranked(split).sizes[2])))
    path = tmp_path / "package.safetensors"
    path.write_bytes(wire.encode(package))
    for read in (
        safetensors.torch.load(path.read_bytes()),
        safetensors.torch.load_file(path),
    ):
        assert read.keys() == package.keys()
        assert all(torch.equal(read[name], package[name].half()) for name in package)


def test_a_package_that_outgrows_its_header_is_refused(tiny):
    split = split_model(tiny("llama"), 3)
    package = tensors_of(split)
    wire = Wire.fitting({"one": torch.zeros(1)}, 16)
    with pytest.raises(ValueError, match="header of .* exceeds"):
        wire.encode(package)


@pytest.mark.parametrize("bits", sorted(AIR_DTYPES))
def test_a_client_computes_with_the_servers_rounded_weights(model, input_ids, bits):
    split = split_model(model, 3)
    wire = Wire.fitting(tensors_of(split), bits)
    for size in some(ranked(split).sizes, 4):
        sent = pruned(split, size)
        got = receive(split, wire.decode(wire.encode(tensors_of(sent))), torch.float32)
        expected = logits(with_air_weights(sent, AIR_DTYPES[bits]), input_ids)
        assert torch.equal(logits(got, input_ids), expected)
        assert not any(value.requires_grad for value in got.emulator.parameters())
        assert all(value.requires_grad for value in got.adapter.parameters())


def test_a_client_leaves_the_servers_tensors_alone(tiny):
    split = split_model(tiny("llama"), 3)
    before = {name: value.clone() for name, value in tensors_of(split).items()}
    # fp32 on the air: nothing forces a copy, so sharing would show.
    package = Wire.fitting(before, 32).round(tensors_of(split))
    received = receive(split, package, torch.float32)
    with torch.no_grad():
        for value in received.adapter.parameters():
            value.add_(1.0)
    for name, value in tensors_of(split).items():
        assert torch.equal(value, before[name]), name


def test_lora_travels_with_its_factors(model, input_ids):
    split = split_model(model, 3)
    split.adapter.requires_grad_(False)
    factors = with_factors(lora_rank=2)
    add_lora(split.adapter, factors, split.shape.model_type, seed=5)
    with torch.no_grad():
        for value in trained_parameters(split).values():
            value.add_(0.1)
    wire = Wire.fitting(tensors_of(split), 16)
    got = receive(split, wire.decode(wire.encode(tensors_of(split))), torch.float32)
    expected = logits(with_air_weights(split, torch.float16), input_ids)
    assert torch.equal(logits(got, input_ids), expected)
    names = trained_parameters(got)
    assert names.keys() == trained_parameters(split).keys()
    assert names and all("lora_" in name for name in names)


def test_a_head_travels_as_its_factors(tiny, input_ids):
    split = split_model(tiny("llama"), 3)
    head = head_with_lora(split.head, with_factors(lora_rank=2), seed=5)
    split = split.with_head(head)
    with torch.no_grad():
        for name, value in trained_parameters(split).items():
            if name.startswith("head."):
                value.add_(0.1)
    package = tensors_of(split)
    assert [n for n in package if n.startswith("head.")] == [
        "head.lora_A.default.weight",
        "head.lora_B.default.weight",
    ]
    got = receive(split, package, torch.float32)
    assert torch.equal(logits(got, input_ids), logits(split, input_ids))
    assert got.head.base_layer.weight is split.head.base_layer.weight
    with torch.no_grad():
        got.head.lora_B["default"].weight.zero_()
    assert not torch.equal(logits(got, input_ids), logits(split, input_ids))
    del package["head.lora_B.default.weight"]
    with pytest.raises(InputError, match="head does not fit: tensor `lora_B"):
        receive(split, package, torch.float32)


@pytest.mark.parametrize("targets", ["attention", "all_linear"])
@pytest.mark.parametrize("rank", [1, 8])
def test_lora_has_as_many_parameters_as_the_shape_says(model, rank, targets):
    split = split_model(model, 3)
    split.adapter.requires_grad_(False)
    factors = with_factors(lora_rank=rank, lora_targets=targets)
    add_lora(split.adapter, factors, split.shape.model_type, seed=5)
    trained = trained_parameters(split)
    expected = split.shape.lora_params(rank, targets) * len(split.adapter)
    assert numel(trained) == expected
    assert numel(tensors_of(split)) == 5 * split.shape.block_params + expected


def without(*starts):
    def change(package):
        for name in [name for name in package if name.startswith(starts)]:
            del package[name]

    return change


def renamed(old, new):
    def change(package):
        for name in [name for name in package if name.startswith(old)]:
            package[name.replace(old, new, 1)] = package.pop(name)

    return change


def added(name, *shape):
    def change(package):
        package[name] = torch.zeros(shape)

    return change


DAMAGED = {
    "no attention output": without("0.self_attn.o_proj.weight"),
    "no second matrix": without("1.mlp.down_proj.weight"),
    "no norm": without("2.input_layernorm.weight"),
    "no adapter tensor": without("4.mlp.up_proj.weight"),
    "no adapter block": without("4."),
    "no adapter": without("3.", "4."),
    "foreign adapter block": renamed("4.", "7."),
    "one adapter block more": renamed("2.", "5."),
    "a block that the model lacks": renamed("2.", "9."),
    "one tensor more": added("0.self_attn.extra.weight", 3, 3),
    "wrong norm": added("0.input_layernorm.weight", 7),
    "wrong matrix": added("0.mlp.up_proj.weight", 3, 5),
    "no matrix": added("3.mlp.down_proj.weight"),
    "unknown part": added("shell.weight", 3),
    "no block number": added("first.weight", 3),
    "no path": added("0", 3),
    "factors on a head that has none": added("head.lora_A.default.weight", 2, 48),
    "a head's own weight": added("head.weight", 96, 48),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_package_is_refused(tiny, damage):
    split = split_model(tiny("llama"), 3)
    package = dict(tensors_of(split))
    damage(package)
    with pytest.raises(InputError):
        receive(split, package, torch.float32)


@pytest.mark.parametrize("other", ["gpt2", "qwen2", "llama-biased", "mistral"])
def test_another_models_package_is_refused(tiny, other):
    package = tensors_of(split_model(tiny(other), 3))
    with pytest.raises(InputError):
        receive(split_model(tiny("llama"), 3), package, torch.float32)


def test_a_package_wider_than_the_model_is_refused(tiny):
    split = split_model(tiny("llama"), 3)
    package = dict(tensors_of(split))
    for matrix, axis in (("gate_proj", 0), ("up_proj", 0), ("down_proj", 1)):
        name = f"0.mlp.{matrix}.weight"
        package[name] = torch.cat([package[name]] * 2, dim=axis)
    with pytest.raises(InputError):
        receive(split, package, torch.float32)


def test_an_update_is_what_training_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMWAVE_CACHE", str(tmp_path / "cache"))
    bench = make_bench(tmp_path, "llama")
    server = make_server(bench)
    client, submodel = clients(server)[1], bench.costs.pruned(1.0)
    package = held(server, submodel)
    assert package.keys() == tensors_of(bench.split).keys()
    kept = {name: value.clone() for name, value in package.items()}
    update = client.fine_tune(package, submodel, 1)
    assert update.client == 1 and update.crossings is None
    assert update.delta.keys() == trained_parameters(server.template).keys()
    assert {name.split(".")[0] for name in update.delta} == {"3"}
    assert all(value.dtype == torch.float16 for value in update.delta.values())
    assert any(value.abs().max() > 0 for value in update.delta.values())
    assert all(torch.equal(package[name], kept[name]) for name in kept)
