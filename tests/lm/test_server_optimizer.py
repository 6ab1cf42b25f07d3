"""The server's optimiser: two rounds by hand, the limits, a resumed run."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_run import make_bench, make_server

from trimwave.base.errors import InputError, RunError
from trimwave.lm.server_optimizer import ServerOptimizer
from trimwave.lm.session import run_method
from trimwave.lm.train.client import Update
from trimwave.lm.wire.ledger import trained_parameters
from trimwave.recipe.config import AggregateConfig
from trimwave.recipe.recipe import merge_overrides


def two_rounds(deltas=((1.0, -2.0), (0.5, 0.0)), **fields):
    """Return a tensor of two zeros after rounds whose combined updates are these."""
    optimizer = ServerOptimizer(AggregateConfig(**fields))
    value = torch.zeros(2, dtype=torch.float64)
    for delta in deltas:
        before = {"0.w": value.clone()}
        value = value + torch.tensor(delta, dtype=torch.float64)
        optimizer.step({"0.w": value}, before, ["0.w"])
    return value.tolist()


def test_momentum_by_hand():
    """m: (1, -2), then 0.5 (1, -2) + (0.5, 0) = (1, -1); half of either is added."""
    found = two_rounds(
        server_optimizer="momentum", server_learning_rate=0.5, server_momentum=0.5
    )
    assert found == [0.5 * (1 + 1), 0.5 * (-2 - 1)]


def test_adam_by_hand():
    """Betas 1/2, tau 1: m (.5, -1), v (1, 2.5), then m (.5, -.5), v (.625, 1.25)."""
    found = two_rounds(
        server_optimizer="adam",
        server_learning_rate=2.0,
        server_momentum=0.5,
        server_beta2=0.5,
        server_epsilon=1.0,
    )
    first = (2 * 0.5 / (1 + 1), 2 * -1 / (2.5**0.5 + 1))
    second = (2 * 0.5 / (0.625**0.5 + 1), 2 * -0.5 / (1.25**0.5 + 1))
    assert found == pytest.approx([first[0] + second[0], first[1] + second[1]])


def test_momentum_without_memory_adds_the_update():
    assert two_rounds(server_optimizer="momentum", server_momentum=0.0) == [1.5, -2.0]


ROUNDS = ((1.0, -2.0), (0.5, 0.0), (-0.25, 3.0))


def test_momentum_is_flowers(monkeypatch):
    """Its FedAdam corrects for bias and begins at 0: another rule than the paper's."""
    flower = pytest.importorskip("flwr.serverapp.strategy")
    records = pytest.importorskip("flwr.app")

    def record(value):
        return records.ArrayRecord({"w": records.Array(value)})

    # what the clients' mean came to is handed over as it is
    monkeypatch.setattr(
        flower.FedAvg, "aggregate_train", lambda self, number, mean: (mean, None)
    )
    strategy = flower.FedAvgM(server_learning_rate=0.5, server_momentum=0.8)
    value = np.zeros(2)
    for number, delta in enumerate(ROUNDS, start=1):
        strategy.current_arrays = record(value)
        arrays, _ = strategy.aggregate_train(number, record(value + np.array(delta)))
        value = arrays["w"].numpy()
    ours = two_rounds(
        ROUNDS,
        server_optimizer="momentum",
        server_learning_rate=0.5,
        server_momentum=0.8,
    )
    assert ours == pytest.approx(value.tolist(), rel=1e-12)


def test_of_adam_a_scale_of_the_updates_is_forgotten():
    """As long as tau is small beside them."""
    fields = {"server_optimizer": "adam", "server_epsilon": 1e-9}
    large = two_rounds(((3.0, -6.0), (1.5, 3.0)), **fields)
    small = two_rounds(((1.0, -2.0), (0.5, 1.0)), **fields)
    assert large == pytest.approx(small, rel=1e-6)


@pytest.fixture(scope="module")
def bench(home):
    changes = ["aggregate.server_optimizer=adam", "aggregate.server_learning_rate=0.01"]
    return make_bench(home / "llama", "llama", changes)


def update(server, client, scale):
    trained = trained_parameters(server.template)
    delta = {
        name: torch.full_like(value, scale).detach() for name, value in trained.items()
    }
    return Update(client=client, delta=delta, train_loss=1.0, num_samples=client + 1)


def test_the_order_of_clients_changes_nothing(bench):
    found = []
    for order in ((0, 1, 2), (2, 0, 1)):
        server = make_server(bench, "lora")
        for number in (1, 2):
            server.aggregate([update(server, k, 0.1 * (k - 1)) for k in order], number)
        found.append(trained_parameters(server.template))
    assert all(torch.equal(one, found[1][name]) for name, one in found[0].items())


def test_a_tensor_that_nobody_sent_stays(bench):
    server = make_server(bench, "lora")
    trained = trained_parameters(server.template)
    names = sorted(trained)
    server.aggregate([update(server, 0, 0.1)], 1)
    before = {name: value.detach().clone() for name, value in trained.items()}
    one = update(server, 0, 0.1)
    one.delta.pop(names[0])
    server.aggregate([one], 2)
    moved = [name for name in names if not torch.equal(before[name], trained[name])]
    assert moved == names[1:]


@pytest.mark.parametrize("text", ["lora", "deft", "staged:warm_rounds=2:blocks=2"])
def test_a_resumed_run_is_the_unbroken_one(bench, home, text):
    config = merge_overrides(bench.config, [f'method="{text}"', "rounds=4"])
    whole, broken = home / f"{text}-whole", home / f"{text}-broken"
    records = run_method(bench, config, whole)
    run_method(bench, merge_overrides(config, ["rounds=3"]), broken)
    run_method(bench, config, broken, resume=True)
    name = "rounds.jsonl"
    assert (broken / name).read_bytes() == (whole / name).read_bytes()
    assert records[-1]["loss_full"] != records[0]["loss_full"]


def test_moments_that_are_missing_or_of_another_model_are_told(bench, tmp_path):
    server = make_server(bench, "lora")
    server.aggregate([update(server, 0, 0.1)], 1)
    server.save(tmp_path)
    make_server(bench, "lora").load(tmp_path)
    (tmp_path / "adapter.safetensors").rename(tmp_path / "kept")
    other = make_server(bench, "lora:lora_rank=2")
    other.save(tmp_path)
    with pytest.raises(RunError, match="is missing, so that the server's optimiser"):
        (tmp_path / "server_optimizer.safetensors").unlink()
        other.load(tmp_path)
    server.save(tmp_path)
    other_adapter = tmp_path / "other"
    other_adapter.mkdir()
    other.save(other_adapter)
    (other_adapter / "adapter.safetensors").replace(tmp_path / "adapter.safetensors")
    with pytest.raises(RunError, match="does not fit the model: tensor `first"):
        other.load(tmp_path)


@pytest.mark.parametrize("kept", ["first", "second"])
def test_half_of_the_moments_is_no_state_of_adam(bench, tmp_path, kept):
    """It would go on as a first round does, and be another run without a word."""
    server = make_server(bench, "lora")
    server.aggregate([update(server, 0, 0.1)], 1)
    server.save(tmp_path)
    path = tmp_path / "server_optimizer.safetensors"
    moments = load_file(path)
    save_file({n: v for n, v in moments.items() if n.startswith(kept)}, path)
    with pytest.raises(RunError, match="`aggregate.server_optimizer` = adam: a moment"):
        make_server(bench, "lora").load(tmp_path)


@pytest.mark.parametrize(
    "change",
    ["server_momentum=1", "server_beta2=-0.1", "server_learning_rate=0"],
)
def test_numbers_that_cannot_be(bench, change):
    with pytest.raises(InputError, match=f"`aggregate.{change.partition('=')[0]}`"):
        merge_overrides(bench.config, [f"aggregate.{change}"])


def test_moments_that_are_cut_off_are_told(bench, tmp_path):
    server = make_server(bench, "lora")
    server.aggregate([update(server, 0, 0.1)], 1)
    server.save(tmp_path)
    path = tmp_path / "server_optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunError, match=f"{path} cannot be read"):
        server.load(tmp_path)
