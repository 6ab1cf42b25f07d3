"""Features through the cache are the model's own, whatever was kept before."""

import hashlib

import pytest
import torch
from torch import Tensor

from trimwave.lm.data.encode import Encoded, collate
from trimwave.lm.states import cache as caching
from trimwave.lm.states.cache import StateCache
from trimwave.lm.states.files import StateFolder
from trimwave.lm.surgery.split import SplitModel, split_model
from trimwave.lm.wire.ledger import tensors_of
from trimwave.recipe.config import TrainConfig

LENGTHS = (11, 4, 7)


@pytest.fixture(params=["llama", "gpt2"])
def split(request, tiny):
    return split_model(tiny(request.param), 3)


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(5)
    ids = [torch.randint(3, 96, (size,), generator=generator) for size in LENGTHS]
    return [Encoded(one, len(one) // 2) for one in ids]


@pytest.fixture
def forwards(monkeypatch):
    """Return the tokens of every forward through the frozen part, as it goes on."""
    seen, features = [], SplitModel.features

    def watch(self, input_ids):
        seen.append(input_ids)
        return features(self, input_ids)

    monkeypatch.setattr(SplitModel, "features", watch)
    return seen


def under(split, kept_as="fp32", memory_bytes=10**6, folder=None):
    cache = StateCache(kept_as, memory_bytes, folder)
    return cache, cache.under(split, tensors_of(split), 1)


def plain(split, batch, rows) -> Tensor:
    """Return the model's own features of each row alone, zeros where it is padding."""
    features = torch.zeros(*batch.input_ids.shape, split.shape.hidden_size)
    for index, row in enumerate(rows):
        features[index, : len(row.input_ids)] = split.features(row.input_ids[None])[0]
    return features


@pytest.mark.parametrize("pad_id", [0, 2, 95])
def test_features_are_the_models_and_come_once(split, rows, forwards, pad_id):
    _, states = under(split)
    batch = collate(rows, pad_id)
    wanted = plain(split, batch, rows)
    forwards.clear()
    assert torch.equal(states.features(batch), wanted)
    assert torch.equal(states.features(batch), wanted)
    assert len(forwards) == 3 == len(states.computed)
    whole = split.features(batch.input_ids)
    for one, near, row in zip(wanted, whole, rows, strict=True):
        size = len(row.input_ids)
        torch.testing.assert_close(one[:size], near[:size], rtol=1e-5, atol=1e-5)


def test_only_what_is_new_in_a_batch_is_computed(split, rows, forwards):
    _, states = under(split)
    states.features(collate(rows[1:2], 0))
    forwards.clear()
    batch = collate([*rows, rows[0]], 0)  # a row twice, over the end of an epoch
    found = states.features(batch)
    assert [tuple(ids.shape) for ids in forwards] == [(1, 11), (1, 7)]
    wanted = plain(split, batch, [*rows, rows[0]])
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert torch.equal(found[0], found[3])


@pytest.mark.parametrize("kept_as", ["fp32", "bf16", "int8"])
def test_a_hit_has_the_values_of_the_miss(split, rows, kept_as):
    _, states = under(split, kept_as)
    batch = collate(rows, 0)
    first = states.features(batch)
    assert torch.equal(first, states.features(batch))
    other = collate([rows[1]], 0)  # without padding
    assert torch.equal(states.features(other)[0], first[1, :4])
    assert torch.equal(states.features(collate([rows[1], rows[0]], 9))[0], first[1])


def test_memory_is_bounded_and_nothing_is_put_out(split, rows):
    hidden, tokens = split.shape.hidden_size, sum(LENGTHS[:2])
    cache, states = under(split, memory_bytes=tokens * hidden * 4)
    states.features(collate(rows, 0))
    assert cache.used_bytes == tokens * hidden * 4
    kept = [one["values"] for one in cache._parts[states.frozen].memory.values()]
    # None of them holds the batch that it is of.
    assert [one.untyped_storage().nbytes() for one in kept] == [
        size * hidden * 4 for size in LENGTHS[:2]
    ]
    again = cache.under(split, tensors_of(split), 2)
    again.features(collate(rows, 0))
    assert len(again.computed) == 1


@pytest.mark.parametrize("kept_as", ["fp32", "int8"])
def test_what_does_not_fit_goes_to_the_disk(split, rows, forwards, tmp_path, kept_as):
    folder = StateFolder(tmp_path / "states", 10**6)
    _, states = under(split, kept_as, 0, folder)
    batch = collate(rows, 0)
    first = states.features(batch)
    # Another process.
    folder = StateFolder(tmp_path / "states", 10**6)
    cache, later = under(split, kept_as, 10**6, folder)
    forwards.clear()
    assert torch.equal(later.features(batch), first)
    assert not forwards and not later.computed
    assert cache.used_bytes > 0  # so that it is read once
    for file in (tmp_path / "states").iterdir():
        data = file.read_bytes()
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    folder = StateFolder(tmp_path / "states", 10**6)
    _, mended = under(split, kept_as, 0, folder)
    assert torch.equal(mended.features(batch), first)
    assert len(mended.computed) == 3
    assert torch.equal(mended.features(batch), first) and len(forwards) == 3


def test_the_key_has_all_that_a_state_depends_on(split, rows, monkeypatch):
    def key(states, ids, device="cpu"):
        return states._key(ids, device)

    _, states = under(split)
    ids = rows[0].input_ids
    keys = [key(states, ids), key(states, ids[:-1])]
    keys += [key(states, torch.cat([ids, torch.tensor([0])]))]
    keys += [key(states, ids.flip(0)), key(states, ids, "cuda")]
    keys += [key(under(split, kept_as)[1], ids) for kept_as in ("bf16", "int8")]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        keys.append(key(states, ids))
    with torch.no_grad():
        next(split.emulator.parameters()).mul_(1.5)
    keys.append(key(under(split)[1], ids))
    monkeypatch.setattr(caching.torch, "__version__", "0")
    keys.append(key(states, ids))
    assert len({*keys}) == len(keys)
    assert all(len(bytes.fromhex(one)) == hashlib.sha256().digest_size for one in keys)


def test_another_frozen_part_has_other_states(split, rows):
    cache, states = under(split)
    batch = collate(rows, 0)
    first = states.features(batch)
    tensors = tensors_of(split)
    with torch.no_grad():  # as an alignment does
        next(split.emulator.parameters()).mul_(1.5)
    aligned = cache.under(split, tensors, 2)
    found = aligned.features(batch)
    assert len(aligned.computed) == 3
    assert torch.equal(found, plain(split, batch, rows))
    assert not torch.allclose(found, first)


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_what_is_no_more_makes_room(split, rows, tmp_path, where):
    room, folder = sum(LENGTHS) * split.shape.hidden_size * 4, None
    if where == "disk":  # headers take a little more
        room, folder = 0, StateFolder(tmp_path / "states", room + 3 * 300)
    cache, states = under(split, memory_bytes=room, folder=folder)
    batch, tensors = collate(rows, 0), tensors_of(split)
    states.features(batch)
    with torch.no_grad():
        next(split.emulator.parameters()).mul_(1.5)
    fresh = []
    for number in (2, 3, 4):  # only from the third on is the old part known to be gone
        later = cache.under(split, tensors, number)
        later.features(batch)
        fresh.append(len(later.computed))
    assert fresh == [3, 3, 0]
    if where == "disk":
        assert 0 < folder.used_bytes <= folder.quota_bytes
        assert len([*(tmp_path / "states").iterdir()]) == 3
    else:
        assert cache.used_bytes == room


def test_two_frozen_parts_side_by_side_both_stay(split, rows):
    """As where clients have their bases in different numbers of bits."""
    cache, batch = StateCache("fp32", 10**6), collate(rows, 0)
    one = tensors_of(split)
    other = {name: value.clone() for name, value in one.items()}
    other[min(other)].mul_(1.5)
    cache.memory_bytes = sum(LENGTHS) * split.shape.hidden_size * 4  # for one of them
    fresh = []
    for number in (1, 2, 3):
        for tensors in (one, other):
            states = cache.under(split, tensors, number)
            states.features(batch)
            fresh.append(len(states.computed))
    assert fresh == [3, 3, 0, 3, 0, 3]


def test_below_the_border_nothing_is_dropped(tiny, rows):
    model = tiny("gpt2")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    split = split_model(model, 3)
    split.adapter.train()
    split.emulator.train()
    _, states = under(split)
    batch = collate(rows, 0)
    first = states.features(batch)
    assert torch.equal(first, under(split)[1].features(batch))
    hidden = [split.hidden(first) for _ in range(2)]
    assert not torch.equal(*hidden)  # above it is


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({}, False),
        ({"state_cache": "int8"}, True),
        ({"state_cache": "int8", "state_memory_bytes": 0.0}, False),
        ({"state_cache": "off", "state_disk_bytes": 1e9}, False),
    ],
)
def test_no_room_is_no_cache(tmp_path, fields, kept):
    cache = StateCache.of(TrainConfig(**fields), tmp_path / "states")
    assert (cache is not None) == kept
    assert not (tmp_path / "states").exists()
