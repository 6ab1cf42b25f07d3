"""How updates become one: by hand, against Flower's functions, and in a run."""

import shutil
import stat
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import letter_costs
from tiny_run import make_bench, make_server

from trimwave.base.errors import InputError, RunError
from trimwave.lm.aggregate import aggregate, check_senders, delta_norm, dp_stream
from trimwave.lm.kit import Kit
from trimwave.lm.session import check_runs, run_method
from trimwave.lm.train.client import Update
from trimwave.recipe.config import AggregateConfig
from trimwave.recipe.recipe import merge_overrides
from trimwave.runs.records import Run

SHAPES = {"0.a": (3, 4), "1.b": (5,)}
NOISY = ("aggregate.clip_norm=0.01", "aggregate.noise_multiplier=0.1")
ROBUST = ("median", "trimmed_mean", "krum")


def update(client, seed=None, scale=1.0, names=tuple(SHAPES)):
    generator = torch.Generator().manual_seed(client if seed is None else seed)
    delta = {
        name: (scale * torch.randn(SHAPES[name], generator=generator)).half()
        for name in names
    }
    return Update(client=client, delta=delta, train_loss=1.0, num_samples=1)


def of(client, value, rows=1):
    """Return an update of one tensor."""
    delta = {"0.a": value}
    return Update(client=client, delta=delta, train_loss=1.0, num_samples=rows)


def numbers(*values, rows=None):
    """Return updates of one number each, in the order of the clients."""
    rows = rows or [1] * len(values)
    return [of(k, torch.tensor([one]), rows[k]) for k, one in enumerate(values)]


def combined(updates, rng=None, **config):
    """Return what updates come to, by name, and what a record says of it."""
    into = {
        name: torch.zeros(value.shape)
        for one in updates
        for name, value in one.delta.items()
    }
    done = aggregate(updates, into, AggregateConfig(**config), rng)
    return into, done


def one_number(updates, **config):
    (value,) = combined(updates, **config)[0].values()
    return round(value.item(), 6)


@pytest.mark.parametrize(
    ("values", "config", "expected"),
    [
        ((1.0, 2.0, 6.0), {}, 3.0),
        ((1.0, 2.0, 100.0), {"rule": "median"}, 2.0),
        ((1.0, 2.0, 4.0, 100.0), {"rule": "median"}, 3.0),
        ((7.0,), {"rule": "median"}, 7.0),
        ((3.0, -100.0, 2.0, 1.0, 100.0), {"rule": "trimmed_mean"}, 2.0),
        ((1.0, 2.0, 9.0), {"rule": "trimmed_mean"}, 4.0),  # cuts off 0.6 clients: none
        ((1.0, 2.0, 9.0), {"rule": "trimmed_mean", "trim": 0.34}, 2.0),
        # of four, n - f - 2 = 2 neighbours: 0.1 is nearest to its two
        ((0.0, 0.1, 0.25, 5.0, -90.0), {"rule": "krum"}, 0.1),
        ((5.0, 3.0, -4.0), {"clip_norm": 3.0}, 1.0),
    ],
)
def test_known_answers(values, config, expected):
    assert one_number(numbers(*values), **config) == expected


def test_the_mean_weighs_by_rows_and_the_others_do_not():
    updates = numbers(1.0, 2.0, 6.0, rows=[1, 2, 5])
    assert one_number(updates) == 35 / 8
    assert one_number(updates, rule="median") == 2.0
    assert one_number(updates, rule="trimmed_mean") == 3.0


@pytest.mark.parametrize("num_clients", [5, 6, 9])
@pytest.mark.parametrize("rule", ROBUST)
def test_the_rules_are_flowers(rule, num_clients):
    flower = pytest.importorskip("flwr.server.strategy.aggregate")
    updates = [update(k) for k in range(num_clients)]
    arrays = [([v.float().numpy() for v in u.delta.values()], 1) for u in updates]
    theirs = {
        "median": lambda: flower.aggregate_median(arrays),
        "trimmed_mean": lambda: flower.aggregate_trimmed_avg(arrays, 0.2),
        "krum": lambda: flower.aggregate_krum(arrays, num_malicious=1, to_keep=0),
    }[rule]()
    ours, _ = combined(updates, rule=rule)
    for mine, other in zip(ours.values(), theirs, strict=True):
        np.testing.assert_allclose(mine.numpy(), other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rule", ["mean", *ROBUST])
def test_an_order_of_arrival_changes_no_bit(rule):
    updates = [replace(update(k), num_samples=k + 1) for k in range(7)]
    config = {"rule": rule, "clip_norm": 3.5}
    before, done = combined(updates, **config)
    after, also = combined(updates[3:] + updates[2::-1], **config)
    assert done == also
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("rule", ROBUST)
def test_a_bad_one_moves_nothing_out_of_the_good_ones_range(rule):
    good = [update(k) for k in range(6)]
    bad = update(6, scale=1e4)
    ours, done = combined([bad, *good], rule=rule, trim=0.2)
    for name, value in ours.items():
        stacked = torch.stack([one.delta[name].float() for one in good])
        assert (value >= stacked.amin(0) - 1e-6).all()
        assert (value <= stacked.amax(0) + 1e-6).all()
    assert done == ({"chosen": done["chosen"]} if rule == "krum" else {})
    assert 6 not in done.get("chosen", [])


@pytest.mark.parametrize("rule", ["mean", "median", "trimmed_mean"])
def test_a_tensor_of_one_sender_is_that_senders(rule):
    updates = [update(0, names=["0.a"]), update(1, names=["1.b"])]
    ours, _ = combined(updates, rule=rule)
    for one in updates:
        for name, value in one.delta.items():
            assert torch.equal(ours[name], value.float())


def test_krum_takes_the_whole_update_of_one_of_those_who_sent_the_same():
    five = [update(k, names=["0.a"]) for k in range(5)]
    others = [update(k, names=["1.b"]) for k in range(5, 10)]
    ours, done = combined([*five, *others], rule="krum")
    first, second = done["chosen"]
    assert first < 5 <= second
    assert torch.equal(ours["0.a"], five[first].delta["0.a"].float())
    assert torch.equal(ours["1.b"], others[second - 5].delta["1.b"].float())
    with pytest.raises(RunError, match=r"needs 5 updates .* and 4 came of `0\.a`"):
        combined(five[:4], rule="krum")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "config", [*({"rule": rule} for rule in ROBUST), {"clip_norm": 1.0}]
)
def test_what_is_not_finite_does_not_pass(value, config):
    updates = [update(k) for k in range(5)]
    updates[3].delta["1.b"][2] = value
    with pytest.raises(RunError, match=r"client 3 .* not finite \(tensor `1\.b`\)"):
        combined(updates, **config)


def test_clipping_is_flowers_and_says_whose():
    flower = pytest.importorskip("flwr.supercore.differential_privacy")
    updates = [update(0, scale=0.1), update(1), update(2)]
    bound = delta_norm(updates[1].delta) * 0.6
    ours, done = combined(updates, clip_norm=bound)
    assert done == {"clipped": [1, 2]}
    arrays = [[v.double().numpy() for v in u.delta.values()] for u in updates]
    for one in arrays:
        flower.clip_inputs_inplace(one, bound)
    for place, mine in enumerate(ours.values()):
        expected = sum(one[place] for one in arrays) / 3
        np.testing.assert_allclose(mine.numpy(), expected, rtol=0, atol=1e-6)
    alone, _ = combined([updates[1]], clip_norm=bound)
    assert delta_norm(alone) == pytest.approx(bound, rel=1e-6)
    assert combined(updates[:1], clip_norm=bound)[1] == {"clipped": []}


def noise_of(senders, round_index, seed=0, size=40_000):
    updates = [of(k, torch.zeros(size)) for k in range(senders)]
    rng = dp_stream(seed, round_index)
    return combined(updates, rng=rng, clip_norm=2.0, noise_multiplier=0.5)


def test_the_noise_has_the_size_that_flowers_has_and_is_the_rounds_own():
    flower = pytest.importorskip("flwr.supercore.differential_privacy")
    first, done = noise_of(senders=4, round_index=1)
    std = flower.compute_stdv(0.5, 2.0, 4)
    assert done == {"clipped": [], "noise_std": std}
    assert first["0.a"].std().item() == pytest.approx(std, rel=0.02)
    assert abs(first["0.a"].mean().item()) < 5 * std / 200
    again, other = noise_of(4, 1)[0], noise_of(4, 2)[0]
    assert torch.equal(first["0.a"], again["0.a"])
    assert abs(np.corrcoef(first["0.a"], other["0.a"])[0, 1]) < 0.03
    assert noise_of(senders=2, round_index=1)[1]["noise_std"] == 0.5


def test_with_noise_clients_count_alike():
    updates = numbers(1.0, 2.0, 6.0, rows=[1, 2, 5])
    config = {"clip_norm": 10.0, "noise_multiplier": 1e-9}
    ours, _ = combined(updates, dp_stream(0, 1), **config)
    assert ours["0.a"].item() == pytest.approx(3.0, abs=1e-6)


def everyone(num_clients, blocks=(22, 23)):
    return [letter_costs().whole(blocks, "full") for _ in range(num_clients)]


def test_a_rule_that_cannot_work_is_told_before_the_run():
    krum = AggregateConfig(rule="krum")
    check_senders(krum, everyone(5))
    with pytest.raises(InputError, match=r"needs 5 updates .* 4 of the clients train"):
        check_senders(krum, [*everyone(4), None])
    owners = [letter_costs().whole((block,), "full") for block in range(24)]
    with pytest.raises(InputError, match="1 of the clients trains block 0"):
        check_senders(krum, owners)
    check_senders(AggregateConfig(), owners)
    with pytest.warns(UserWarning, match="cuts off none of the 1 updates of block 0"):
        check_senders(AggregateConfig(rule="median"), owners)
    trimmed = AggregateConfig(rule="trimmed_mean")
    check_senders(trimmed, everyone(5))
    with pytest.warns(
        UserWarning, match=r"none of the 4 .* a larger `aggregate\.trim`"
    ):
        check_senders(trimmed, everyone(4))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("aggregate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMWAVE_CACHE", str(folder / "cache"))
        yield make_bench(folder / "inputs", changes=["rounds=2"])


def test_krum_with_three_clients_is_refused_at_the_start(bench):
    config = merge_overrides(bench.config, ["aggregate.rule=krum"])
    with pytest.raises(InputError, match=r"^method `jcpba`: `aggregate\.rule` = krum"):
        check_runs(bench, [config])


def test_a_run_records_what_was_done_and_resumes_to_the_bit(bench, tmp_path):
    config = merge_overrides(bench.config, NOISY)
    whole = run_method(bench, config, tmp_path / "whole")
    secret = tmp_path / "whole" / "noise.json"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert "aggregate" not in whole[0]
    for record in whole[1:]:
        done = record["aggregate"]
        assert done.keys() == {"clipped", "noise_std"}
        assert done["clipped"] == [0, 1, 2]
        assert done["noise_std"] == pytest.approx(0.001 / 3)
    one = merge_overrides(config, ["rounds=1"])
    begun = run_method(bench, one, tmp_path / "parts")
    assert begun[0] == whole[0] and begun[1]["loss_full"] != whole[1]["loss_full"]
    shutil.copytree(tmp_path / "parts", tmp_path / "again")
    parts = run_method(bench, config, tmp_path / "parts", resume=True)
    assert run_method(bench, config, tmp_path / "again", resume=True) == parts
    assert Run.open(tmp_path / "parts").records() == parts
    secret.unlink()
    with pytest.raises(RunError, match=r"noise\.json is gone.* put it back"):
        run_method(bench, config, tmp_path / "whole", resume=True)
    median = merge_overrides(bench.config, ["aggregate.rule=median", "rounds=1"])
    plain = run_method(bench, median, tmp_path / "median")
    assert (
        "aggregate" not in plain[1] and plain[1]["loss_full"] != whole[1]["loss_full"]
    )


def test_a_seed_for_the_noise_repeats_a_run_and_says_what_that_means(bench, tmp_path):
    config = merge_overrides(
        bench.config, [*NOISY, "aggregate.noise_seed=7", "rounds=1"]
    )
    runs = []
    for name in ("one", "other"):
        with pytest.warns(UserWarning, match="protects from nobody who has this"):
            runs.append(run_method(bench, config, tmp_path / name))
    assert runs[0] == runs[1]
    assert not (tmp_path / "one" / "noise.json").exists()
    bench = replace(bench, config=config)
    kit = Kit.of(bench, make_server(bench).scheme)
    assert kit.to_dict()["config"]["aggregate"] == {
        **config.to_dict()["aggregate"],
        "noise_seed": 0,
    }
