"""What counts of a round's updates: exactly the good ones, whoever else sends."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_run import exchanged, make_bench

from trimwave.lm.admit import admit
from trimwave.lm.train.client import Update
from trimwave.lm.wire.ledger import tensors_of, where

FORMS = {
    "0.a": (torch.Size([3, 4]), torch.float16),
    "1.b": (torch.Size([5]), torch.float16),
}
EXPECTED = dict.fromkeys(range(6), FORMS)
SAMPLES = {client: 10 + client for client in EXPECTED}


def update(client, **fields):
    generator = torch.Generator().manual_seed(client)
    delta = {
        name: torch.randn(shape, generator=generator).to(dtype)
        for name, (shape, dtype) in FORMS.items()
    }
    rows = SAMPLES.get(client, 1)
    whole = Update(client=client, delta=delta, train_loss=2.5, num_samples=rows)
    return replace(whole, **fields)


def put(client, value):
    bad = update(client)
    bad.delta["1.b"][3] = value
    return bad


def without(client, name):
    whole = update(client)
    return replace(whole, delta={n: t for n, t in whole.delta.items() if n != name})


def times(client, factor):
    whole = update(client)
    return replace(whole, delta={n: t * factor for n, t in whole.delta.items()})


BAD = {
    "not asked": (lambda: update(9), "was not asked in this round"),
    "missing": (lambda: without(2, "1.b"), "`1.b` is missing (2 were asked for)"),
    "too many": (
        lambda: replace(update(2), delta={**update(2).delta, "2.c": torch.ones(1)}),
        "tensor '2.c' was not asked for",
    ),
    "shape": (
        lambda: replace(update(2), delta={**update(2).delta, "1.b": torch.ones(5, 1)}),
        "`1.b` is [5, 1], expected [5]",
    ),
    "dtype": (
        lambda: replace(update(2), delta={**update(2).delta, "1.b": torch.ones(5)}),
        "`1.b` is torch.float32, expected torch.float16",
    ),
    "nan": (
        lambda: put(2, float("nan")),
        "tensor `1.b` has values that are not finite",
    ),
    "inf": (lambda: put(2, float("-inf")), "tensor `1.b` has values that are not"),
    "loss nan": (lambda: update(2, train_loss=float("nan")), "not negative, got nan"),
    "loss inf": (lambda: update(2, train_loss=float("inf")), "not negative, got inf"),
    "loss below 0": (lambda: update(2, train_loss=-0.5), "not negative, got -0.5"),
    "loss of text": (lambda: update(2, train_loss="low\n"), "got 'low\\n'"),
    "loss of digits": (lambda: update(2, train_loss=10**400), "not negative, got 1000"),
    "loss of truth": (lambda: update(2, train_loss=True), "not negative, got True"),
    "no loss": (lambda: update(2, train_loss=None), "not negative, got None"),
    "rows": (
        lambda: replace(update(2), num_samples=99),
        "says 99 training rows, registered are 12",
    ),
    "long": (lambda: times(2, 100), "above 4 times the round's median"),
}


def asked(updates, norm_limit=4.0):
    return admit(updates, EXPECTED, norm_limit=norm_limit, num_samples=SAMPLES)


def clients_of(admitted):
    return [one.client for one in admitted.updates]


@pytest.mark.parametrize("kind", BAD)
def test_one_bad_among_good_leaves_exactly_the_good(kind):
    make, reason = BAD[kind]
    bad, good = make(), [update(k) for k in (0, 1, 3, 4)]
    answer = asked([*good[:2], bad, *good[2:]])
    assert answer.updates == good
    assert answer.refused.keys() == {bad.client}
    assert reason in answer.refused[bad.client]
    assert answer.refused[bad.client].isprintable()


@given(
    order=st.permutations(range(6)),
    kinds=st.lists(st.sampled_from([*BAD, "good"]), min_size=2, max_size=2),
)
@settings(max_examples=30, deadline=None)
def test_another_order_changes_only_the_order(order, kinds):
    bad = [BAD[kind][0]() for kind in kinds if kind != "good"]
    updates = [update(k) for k in EXPECTED]
    for place, one in enumerate(bad):
        client = one.client if one.client == 9 else (2, 4)[place]
        updates[(2, 4)[place]] = replace(one, client=client)
    updates = [one for k, one in enumerate(updates) if one.client != 9 or k == 2]
    answer = asked(updates)
    shuffled = asked([updates[k] for k in order if k < len(updates)])
    assert sorted(clients_of(answer)) == sorted(clients_of(shuffled))
    assert answer.refused == shuffled.refused
    assert clients_of(shuffled) == [
        updates[k].client
        for k in order
        if k < len(updates) and updates[k].client not in answer.refused
    ]


def test_all_good_are_all_admitted():
    updates = [update(k) for k in EXPECTED]
    answer = asked(updates)
    assert answer.updates == updates
    assert answer.refused == {}
    assert asked([]).updates == []


def test_nobody_counts_twice():
    first, second = update(1), times(1, 2.0)
    answer = asked([first, update(0), second])
    assert clients_of(answer) == [1, 0]
    assert answer.updates[0] is first
    assert answer.refused == {
        1: "answered twice; the first answer is the one that is judged"
    }
    answer = asked([put(1, float("nan")), update(0), second])
    assert clients_of(answer) == [0]
    assert "not finite; answered twice" in answer.refused[1]


def test_a_norm_is_held_against_three_or_more_and_can_be_off():
    long = times(2, 100)
    assert clients_of(asked([update(0), long])) == [0, 2]
    assert clients_of(asked([update(0), update(1), long], norm_limit=None)) == [0, 1, 2]
    zeros = [times(k, 0.0) for k in (0, 1)]
    assert clients_of(asked([*zeros, long])) == [0, 1, 2]
    # what is refused for another fault says nothing of how long updates are
    faulty = replace(times(3, 1e3), train_loss=-1.0)
    answer = asked([update(0), update(1), long, faulty])
    assert answer.refused.keys() == {2, 3}


@pytest.mark.parametrize("method", ["jcpba", "lora", "fedbiot", "deft"])
def test_what_clients_really_send_is_what_is_expected(tmp_path, method):
    bench = make_bench(tmp_path)
    server, plan, updates = exchanged(bench, method)
    dtype, expected = server.up_wire.dtype, {}
    for client, submodel in enumerate(plan.submodels):
        if submodel is not None:
            sent = where(tensors_of(server.template), submodel.travels_up)
            expected[client] = {n: (one.shape, dtype) for n, one in sent.items()}
    samples = {client: int(server.num_samples[client]) for client in expected}
    answer = admit(updates, expected, norm_limit=None, num_samples=samples)
    assert answer.refused == {}
    assert answer.updates == updates
    assert all(forms for forms in expected.values())
