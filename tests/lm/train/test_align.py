import copy

import pytest
import torch
from tiny_run import bytes_of, make_server

from trimwave.base.errors import InputError
from trimwave.lm import prune_emulator
from trimwave.lm.data.encode import collate
from trimwave.lm.session import run_method
from trimwave.lm.train.align import Aligner, distillation_loss
from trimwave.recipe.config import AlignConfig

ON = ("align.initial_steps=3", "align.every_rounds=2", "align.steps=2", "rounds=3")
FAST = AlignConfig(initial_steps=1, learning_rate=3e-3, batch_size=6)


def student_of(bench):
    return bench.split.with_emulator(copy.deepcopy(bench.split.emulator))


def align(bench, student, config=FAST, steps=20, sizes=None, first_step=0):
    aligner = Aligner(
        rows=bench.public_rows,
        config=config,
        ranking=bench.ranking,
        sizes=sizes or bench.ranking.sizes.tolist(),
        steps_done=first_step,
        seed=0,
        pad_id=bench.pad_id,
    )
    return aligner.align(student, bench.split, steps)


def loss_at(bench, student, size, kl_weight=0.9):
    """Distance to the full model on all public rows, of one physical size."""
    batch = collate(bench.public_rows, bench.pad_id)
    blocks = prune_emulator(student, bench.ranking.kept(size))
    features = student.with_emulator(blocks).features(batch.input_ids)
    bench.split.adapter.eval()
    with torch.no_grad():
        inputs = (features, batch.input_ids, batch.labels)
        return float(distillation_loss(student, bench.split, *inputs, kl_weight))


def copied(module):
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def same(module, before):
    now = dict(module.named_parameters())
    return all(torch.equal(now[name], before[name]) for name in before)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_equal_emulators_are_at_no_distance(make, kind):
    bench = make(kind=kind)
    assert loss_at(bench, student_of(bench), int(bench.ranking.sizes[-1])) == 0.0
    assert loss_at(bench, student_of(bench), int(bench.ranking.sizes[0])) > 1e-4


def test_the_distance_by_hand(make):
    bench = make()
    size = int(bench.ranking.sizes[3])
    batch = collate(bench.public_rows, bench.pad_id)
    pruned = prune_emulator(bench.split, bench.ranking.kept(size))
    bench.split.adapter.eval()
    with torch.no_grad():
        # Near each other, both directions of the divergence are the same.
        getattr(bench.split.shell, bench.split.arch.head).weight.mul_(30.0)
        target = bench.split.features(batch.input_ids)
        student = bench.split.with_emulator(pruned)
        features = student.features(batch.input_ids)
        logs = [
            bench.split.logits(bench.split.hidden(x)).log_softmax(-1)
            for x in (target, features)
        ]
    error = float((features - target).pow(2).sum() / target.pow(2).sum())
    divergences = [
        float((logs[0][r, p - 1].exp() * (logs[0] - logs[1])[r, p - 1]).sum())
        for r, p in torch.nonzero(batch.labels >= 0).tolist()
    ]
    divergence = sum(divergences) / len(divergences)
    for weight in (0.0, 0.9):
        got = loss_at(bench, bench.split, size, weight)
        assert got == pytest.approx(error + weight * divergence, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("criterion", ["magnitude", "layer_drop"])
def test_alignment_comes_nearer(make, kind, criterion):
    bench = make(f"prune.criterion={criterion}", kind=kind)
    student, size = student_of(bench), int(bench.ranking.sizes[1])
    before = loss_at(bench, student, size)
    losses = align(bench, student, sizes=[size])
    assert len(losses) == 20
    # What a step trains through masks is what the pruned blocks compute.
    assert losses[0] == pytest.approx(before, rel=1e-4)
    assert loss_at(bench, student, size) < 0.7 * before
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_alignment_moves_nothing_but_the_emulator(make, kind):
    bench = make(kind=kind)
    bench.split.adapter.requires_grad_(True)  # as a server's own
    student = student_of(bench)
    parts = (bench.split.emulator, bench.split.adapter, bench.split.shell)
    before = [copied(part) for part in parts]
    own = copied(student.emulator)
    wanting = [v.requires_grad for v in bench.split.adapter.parameters()]
    align(bench, student, steps=3)
    assert all(same(part, one) for part, one in zip(parts, before, strict=True))
    assert not same(student.emulator, own)
    assert [v.requires_grad for v in bench.split.adapter.parameters()] == wanting
    assert all(v.grad is None for part in parts for v in part.parameters())


def test_the_emulator_is_frozen_afterwards(make):
    bench = make()
    student = student_of(bench)
    align(bench, student, steps=1)
    assert not any(value.requires_grad for value in student.emulator.parameters())


def test_the_emulator_is_frozen_after_an_error_too(make, monkeypatch):
    bench = make()
    student = student_of(bench)

    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.AdamW, "step", fail)
    with pytest.raises(KeyboardInterrupt):
        align(bench, student, steps=1)
    assert not any(value.requires_grad for value in student.emulator.parameters())


def test_alignment_goes_by_the_step_not_by_the_call(make):
    bench = make()
    one, other = student_of(bench), student_of(bench)
    losses = align(bench, one, steps=4)
    first = align(bench, other, steps=1)
    assert first == losses[:1]
    # A later step draws other rows and sizes than the first one would.
    fresh = student_of(bench)
    assert align(bench, fresh, steps=1, first_step=3) != first


@pytest.mark.slow
@pytest.mark.parametrize("criterion", ["magnitude", "layer_drop"])
def test_a_run_with_alignment_resumes_to_the_same_bits(make, tmp_path, criterion):
    changes = [*ON, f"prune.criterion={criterion}"]
    if criterion == "layer_drop":
        changes += ["limits.beta_max=0.66"]
    bench = make(*changes)
    whole = run_method(bench, bench.config, tmp_path / "whole")

    def stop(record):
        if record["round"] == 2:
            raise KeyboardInterrupt

    folder = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        run_method(bench, bench.config, folder, on_record=stop)
    assert run_method(make(*changes), bench.config, folder, resume=True) == whole
    assert bytes_of(folder) == bytes_of(tmp_path / "whole")
    assert set(bytes_of(folder)) >= {"emulator.safetensors", "adapter.safetensors"}


def test_alignment_shows_in_the_losses_and_not_in_the_bench(make):
    bench = make(*ON)
    before = copied(bench.split.emulator)
    server = make_server(bench)
    plain = server.evaluate()
    server.align(0)
    aligned = server.evaluate()
    assert aligned["loss_emulator"] != plain["loss_emulator"]
    # Plugging in goes to the original model, which alignment does not touch.
    assert aligned["loss_full"] == plain["loss_full"]
    assert same(bench.split.emulator, before)
    assert make_server(bench).evaluate() == plain


def test_only_sizes_within_c4_are_aligned(make, monkeypatch):
    bench = make(*ON)
    seen = []

    def watched(self, student, teacher, num_steps):
        seen.append((self.sizes, (self.steps_done, num_steps)))
        return align(self, student, teacher, num_steps)

    align = Aligner.align
    monkeypatch.setattr(Aligner, "align", watched)
    server = make_server(bench)
    for number in range(5):
        server.align(number)
    limits, full = bench.config.limits, bench.ranking.sizes[-1]
    for sizes, _ in seen:
        assert 1 - limits.beta_max - 0.03 <= min(sizes) / full
        assert max(sizes) / full <= 1 - limits.beta_min
    steps = [how for _, how in seen]
    assert steps == [(0, 3), (3, 2), (5, 2)]  # before round 1, after rounds 2 and 4


@pytest.mark.parametrize("name", ["initial_steps", "every_rounds", "kl_weight"])
def test_negative_settings_are_refused(name):
    with pytest.raises(InputError, match=name):
        AlignConfig(**{name: -1})
