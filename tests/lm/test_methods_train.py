"""Every method on one shared workbench: what travels, what trains, what stays."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_run import (
    bytes_of,
    changed,
    clients,
    exchanged,
    held,
    make_bench,
    make_server,
    plan_of,
    same_tensors,
    state_of,
    trained_of,
)

from trimwave.lm.session import run_method
from trimwave.lm.surgery.split import block_sources
from trimwave.lm.train.client import Update
from trimwave.lm.wire.ledger import is_factor, tensors_of
from trimwave.lm.workbench import build_workbench
from trimwave.methods import METHODS

SHORT = "initial_steps=2:steps=1"
UNALIGNED = "initial_steps=0:steps=0"
TEXTS = [
    "jcpba",
    "jcpba:adapter=lora",
    "ubfp",
    f"fedbiot:{SHORT}",
    f"fedbiot:{SHORT}:download=delta",
    f"fedbiot:{SHORT}:adapter=full",
    f"fedbiot:{SHORT}:adapter=full:download=delta",
    f"fedbiot:{UNALIGNED}:download=delta",
    f"fedbiot:{UNALIGNED}:adapter=full",
    f"fedbiot:{UNALIGNED}:adapter=full:download=delta",
    "lora",
    "lora:blocks=2:lora_rank=3:lora_targets=all_linear",
    "lora:blocks=1",
    "staged:warm_rounds=1:blocks=2:lora_targets=all_linear",
    "fedqlora:bits=mixed",
    "deft",
    "deft:download=delta",
    "deft:adapter=lora",
    "deft:adapter=lora:download=delta",
    "split_lora",
    "latency_budget",
    "personalised",
    "partial",
]
DISTINCT = [
    "jcpba",
    "jcpba:adapter=lora",
    f"fedbiot:{SHORT}",
    f"fedbiot:{SHORT}:adapter=full",
    "lora",
    "lora:blocks=2:lora_rank=3:lora_targets=all_linear",
    "staged:warm_rounds=1:blocks=2:lora_targets=all_linear",
    "fedqlora:bits=mixed",
    "deft",
    "deft:adapter=lora:download=delta",
    "split_lora",
]
"""One for every way in which a client trains."""

CHANGES = [
    "rounds=3",
    "data.client_sizes=[3, 5, 16]",
    "train.num_local_steps=4",
    "train.learning_rate=1e-2",
    "train.lora_learning_rate=1e-2",
]


def case(kind, text):
    """Pair an architecture and a method; the repetitive pairs are slow."""
    one = DISTINCT if kind == "llama" else DISTINCT[::3]
    fast = text in one or (kind == "llama" and ":" not in text)
    return pytest.param(kind, text, marks=() if fast else pytest.mark.slow)


CASES = [case(kind, text) for kind in ("llama", "gpt2") for text in TEXTS]


@pytest.fixture(scope="module")
def benches(home):
    """A workbench per architecture, and a copy of its numbers."""
    made = {kind: make_bench(home / kind, kind, CHANGES) for kind in ("llama", "gpt2")}
    return {kind: (bench, state_of(bench)) for kind, bench in made.items()}


@pytest.fixture(scope="module")
def run(benches, home):
    """Run a method on the shared workbench; the second call returns the first's."""
    done = {}

    def _run(kind, text):
        if (kind, text) not in done:
            bench, folder = benches[kind][0], home / f"{kind}-{text.replace(':', '-')}"
            one = replace(bench.config, method=text)
            done[kind, text] = run_method(bench, one, folder), folder
        return done[kind, text]

    return _run


@pytest.fixture(scope="module")
def quick(benches):
    """Return a workbench for fewer local steps."""

    def _quick(kind="llama", *changes):
        return changed(benches[kind][0], "train.num_local_steps=2", *changes)

    return _quick


def test_no_method_is_left_out():
    assert {text.partition(":")[0] for text in TEXTS} == set(METHODS)


@pytest.mark.parametrize(("kind", "text"), CASES)
def test_what_travels_is_what_was_planned(quick, kind, text):
    check_bits(quick(kind), text, 16)


@pytest.mark.parametrize("text", DISTINCT)
def test_in_fp32_too(quick, text):
    check_bits(quick("llama", "model.bits_per_param=32"), text, 32)


def check_bits(bench, text, bits):
    server, plan, updates = exchanged(bench, text)
    assert [update.client for update in updates] == [0, 1, 2]
    train, hidden = bench.config.train, bench.split.shape.hidden_size
    for k, update in enumerate(updates):
        submodel, sent, features = plan.submodels[k], update.delta, 0
        if submodel.runs == "split":
            sent = {name: v for name, v in sent.items() if name.startswith("head.")}
            tokens = train.num_local_steps * train.batch_size * train.seq_len
            features = tokens * hidden * bits
        down = server.down_wire.encode(server.deliver(submodel).sent)
        assert len(down) * 8 + features == plan.down_bits[k]
        assert len(server.up_wire.encode(sent)) * 8 + 2 * features == plan.up_bits[k]
        assert all(value.dtype == server.up_wire.dtype for value in sent.values())


@pytest.mark.parametrize("text", TEXTS)
def test_a_client_holds_all_blocks_of_its_model(quick, text):
    bench = quick()
    server = make_server(bench, text)
    submodel = plan_of(bench, server, text).submodels[0]
    stored, sent = server.deliver(submodel).installed, server.deliver(submodel).sent
    assert stored.keys().isdisjoint(sent)
    found = {int(name.split(".")[0]) for name in {**stored, **sent} if name[0] != "h"}
    split = server.template
    parts = (split.emulator, split.adapter)
    expected = [n for part in parts for n in block_sources(part, split.arch)]
    assert sorted(found) == expected
    shared = {name for name in stored if is_factor(name)}
    if submodel.trained == "full":
        blocks = submodel.shared_blocks
        shared = {name for name in stored if int(name.split(".")[0]) in blocks}
    assert not shared or submodel.runs == "split"


@pytest.mark.parametrize(("kind", "text"), CASES)
def test_training_lowers_the_loss(run, kind, text):
    records, _ = run(kind, text)
    assert len(records) == 4
    for name in ("loss_full", "loss_emulator"):
        assert records[-1][name] < records[0][name] - 0.05


@pytest.mark.parametrize(("kind", "text"), CASES)
def test_the_shared_workbench_stays_as_it_was(benches, run, kind, text):
    run(kind, text)
    bench, before = benches[kind]
    assert same_tensors(state_of(bench), before)
    for module in bench.split.shell.modules():
        assert not module._forward_pre_hooks


@pytest.mark.parametrize("text", DISTINCT)
def test_one_seed_gives_one_update(quick, text):
    bench = quick("gpt2")  # has dropout
    (server, _, first), (other, _, again) = (exchanged(bench, text) for _ in range(2))
    assert same_tensors(tensors_of(server.template), tensors_of(other.template))
    for one, two in zip(first, again, strict=True):
        assert one.train_loss == two.train_loss
        assert same_tensors(one.delta, two.delta)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [f"fedbiot:{SHORT}", "fedqlora:bits=mixed", "deft", "split_lora"],
)
def test_a_run_that_broke_off_ends_with_the_same_bytes(benches, run, tmp_path, text):
    (bench, _), (records, folder) = benches["llama"], run("llama", text)

    def stop(record):
        if record["round"] == 2:
            raise KeyboardInterrupt

    broken, one = tmp_path / "broken", replace(bench.config, method=text)
    with pytest.raises(KeyboardInterrupt):
        run_method(bench, one, broken, on_record=stop)
    assert run_method(build_workbench(one), one, broken, resume=True) == records
    assert bytes_of(broken) == bytes_of(folder)


@pytest.mark.parametrize(
    "text", [f"fedbiot:{SHORT}", f"fedbiot:{UNALIGNED}:adapter=full", "deft"]
)
def test_how_often_frozen_blocks_travel_does_not_change_training(quick, text):
    bench = quick()
    (_, full, often), (_, delta, once) = (
        exchanged(bench, f"{text}:download={download}")
        for download in ("full", "delta")
    )
    assert np.all(delta.down_bits <= full.down_bits)
    assert np.all(delta.install_bits > full.install_bits)
    for one, two in zip(often, once, strict=True):
        assert same_tensors(one.delta, two.delta)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("text", ["lora", "fedqlora:bits=mixed"])
def test_only_factors_travel(quick, kind, text):
    bench = quick(kind)
    server, plan, updates = exchanged(bench, text)
    package = server.deliver(plan.submodels[0]).sent
    assert package and all(is_factor(name) for name in package)
    for update in updates:
        assert update.delta.keys() == package.keys()
    assert {name.split(".")[0] for name in update.delta} == {"0", "1", "2", "3"}


def test_the_base_model_is_downloaded_once(quick):
    bench = quick()
    server = make_server(bench, "lora")
    plan = plan_of(bench, server, "lora")
    stored = server.deliver(plan.submodels[0]).installed
    shape = bench.split.shape
    params = sum(value.numel() for value in stored.values())
    assert params == 4 * shape.block_params
    assert plan.install_bits.tolist() == [16 * (params + shape.embedding_params)] * 3


@pytest.mark.parametrize("text", ["lora", f"fedbiot:{UNALIGNED}:download=delta"])
def test_a_client_leaves_its_stored_blocks_alone(quick, text):
    # In fp32 nothing forces a copy, so sharing would show.
    bench = quick("llama", "model.bits_per_param=32")
    server = make_server(bench, text)
    submodel = plan_of(bench, server, text).submodels[1]
    stored, trained = server.deliver(submodel).installed, trained_of(server)
    before = {name: value.clone() for name, value in stored.items()}
    update = clients(server)[1].fine_tune(held(server, submodel), submodel, 1)
    assert any(value.abs().max() > 0 for value in update.delta.values())
    assert stored and same_tensors(stored, before)
    assert same_tensors(server.deliver(submodel).installed, before)
    assert same_tensors(trained_of(server), trained)


@pytest.mark.parametrize("text", ["lora", "fedqlora:bits=mixed", "split_lora"])
def test_equal_updates_are_one_update(quick, text):
    server = make_server(quick(), text)
    generator = torch.Generator().manual_seed(1)
    delta = {
        name: 1e-2 * torch.randn(value.shape, generator=generator)
        for name, value in trained_of(server).items()
    }
    before = trained_of(server)
    one = Update(client=0, delta=delta, train_loss=1.0, num_samples=1)
    server.aggregate([replace(one, client=k) for k in range(3)], 1)
    for name, value in trained_of(server).items():
        torch.testing.assert_close(value, before[name] + delta[name], rtol=0, atol=1e-7)
