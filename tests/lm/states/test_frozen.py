"""What is frozen has one digest, whatever else changes; another has another."""

import gc
from dataclasses import replace

import pytest
import torch

from trimwave.lm.states import frozen
from trimwave.lm.states.frozen import Digests
from trimwave.lm.surgery.split import split_model
from trimwave.lm.wire.ledger import tensors_of


@pytest.fixture
def hashed(monkeypatch):
    """Return what was read to be hashed, as it goes on."""
    seen, bytes_of = [], frozen.bytes_of

    def watch(tensor):
        seen.append(tensor)
        return bytes_of(tensor)

    monkeypatch.setattr(frozen, "bytes_of", watch)
    return seen


def test_a_tensor_that_stays_is_read_once(hashed):
    digests, one = Digests(), torch.arange(6.0)
    first = digests.of(one)
    assert digests.of(one) == first and len(hashed) == 1
    # Views of it are other objects each time.
    assert {digests.of(one.narrow(0, 0, 6)) for _ in range(3)} == {first}
    assert len({digests.of(one.narrow(0, 0, 4)) for _ in range(3)}) == 1
    assert len(hashed) == 2
    assert digests.of(one.narrow(0, 1, 4)) != digests.of(one.narrow(0, 0, 4))


def test_a_change_in_place_is_seen():
    digests = Digests()
    one = torch.nn.Parameter(torch.zeros(4))
    whole, part = digests.of(one), digests.of(one.narrow(0, 2, 2))
    with torch.no_grad():
        one[3] = 1.0
    assert digests.of(one) == Digests().of(one) != whole
    assert digests.of(one.narrow(0, 2, 2)) != part


def test_a_new_tensor_at_the_same_place_is_another():
    digests, found = Digests(), set()
    for step in range(50):
        one = torch.full((8,), float(step))
        found.add(digests.of(one))
        del one
    assert len(found) == 50
    gc.collect()
    assert not digests._known  # nothing of what is gone is held


def test_what_is_gone_is_not_taken_for_what_is_there_now():
    class Keeps(dict):
        def pop(self, *_):
            """As if nobody had told that a tensor is gone."""

    digests, found = Digests(), set()
    digests._known = Keeps()
    for step in range(50):
        found.add(digests.of(torch.full((8,), float(step))))
    assert len(found) == 50 > len(digests._known)


def test_type_and_shape_count():
    digests, one = Digests(), torch.zeros(4)
    others = (one.half(), one.view(2, 2), torch.zeros(8), torch.zeros(4).double())
    assert len({digests.of(x) for x in (one, *others)}) == 5


@pytest.fixture(params=["llama", "gpt2"])
def split(request, tiny):
    return split_model(tiny(request.param), 3)


def test_only_what_lies_below_and_the_embeddings_count(split):
    digests, tensors = Digests(), tensors_of(split)
    before = digests.of_frozen(split, tensors)
    base = getattr(split.shell, split.arch.base)
    embedded = {
        f"{name}.{path}": value
        for name in (split.arch.embedding, split.arch.positions)
        if name
        for path, value in base.get_submodule(name).named_parameters()
    }
    for name, value in [*tensors.items(), *embedded.items()]:
        number = name.partition(".")[0]
        flat = value.detach().view(-1)
        with torch.no_grad():
            was = flat[-1].item()
            flat[-1] += 0.5
        changed = digests.of_frozen(split, tensors) != before
        assert changed == (name in embedded or int(number) < 3), name
        with torch.no_grad():
            flat[-1] = was
        assert digests.of_frozen(split, tensors) == before


def test_the_border_and_the_config_count(split):
    digests, tensors = Digests(), tensors_of(split)
    before = digests.of_frozen(split, tensors)
    assert digests.of_frozen(split.split_at(2), tensors) != before
    shell = split.with_head(split.head).shell
    fields = split.shell.config.to_dict()
    for name in ("rms_norm_eps", "layer_norm_epsilon"):
        if name in fields:
            shell.config = type(split.shell.config)(**{**fields, name: 0.5})
    assert digests.of_frozen(replace(split, shell=shell), tensors) != before
    shell.config = type(split.shell.config)(**{**fields, "_name_or_path": "another"})
    assert digests.of_frozen(replace(split, shell=shell), tensors) == before
