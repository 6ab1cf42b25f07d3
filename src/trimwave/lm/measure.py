"""What a pruned emulator takes and costs: seconds here, loss on public rows."""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from trimwave.base.units import FloatArray
from trimwave.lm.surgery.prune import prune_emulator
from trimwave.lm.surgery.split import SplitModel
from trimwave.lm.train.evaluate import Evaluator
from trimwave.lm.train.tune import precision
from trimwave.lm.workbench import Say, Workbench
from trimwave.recipe.limits import limits_of
from trimwave.recipe.measured import Measured


def measure(
    bench: Workbench, num_points: int, repeats: int, say: Say = lambda line: None
) -> Measured:
    """Measure emulators from the most pruned that C4 allows to the whole one.

    Parameters
    ----------
    bench : Workbench
        Model, ranking and public rows; its recipe's batch size and sequence length.
    num_points : int
        Sizes between `beta_max` and no pruning, both included.
    repeats : int
        Timed passes of each, in turns, so that a machine that slows down does so for
        all; the fastest counts, which other processes held up least.
    say : callable
        Told what is being done.
    """
    split, sizes = bench.split, bench.ranking.sizes
    least = 1 - limits_of(bench.config).beta_max
    wanted = np.linspace(least, 1.0, num_points)
    chosen = np.unique([bench.ranking.size_of(float(kept)) for kept in wanted])
    chosen[-1] = sizes[-1]
    models = [
        split.with_emulator(prune_emulator(split, bench.ranking.kept(int(size))))
        for size in chosen
    ]
    return Measured(
        kept=chosen / sizes[-1],
        time_s=_times(bench, models, repeats, say),
        loss=_losses(bench, models, say),
        flops=float(bench.costs.workload("full").emulator_flops),
    )


def _times(
    bench: Workbench, models: list[SplitModel], repeats: int, say: Say
) -> FloatArray:
    """Return the least time of a forward pass of each emulator, [N] [s]."""
    train, split = bench.config.train, bench.split
    device = split.device
    generator = torch.Generator().manual_seed(bench.config.seed)
    shape = (train.batch_size, train.seq_len)
    ids = torch.randint(0, split.shape.vocab_size, shape, generator=generator)
    ids = ids.to(device)
    with precision(train, device):
        for model in models:
            model.features(ids)  # the first pass allocates
        taken_s = []
        for turn in range(repeats):
            say(f"times, {turn + 1} of {repeats}")
            taken_s.append([_timed(partial(m.features, ids), device) for m in models])
    return np.asarray(np.min(taken_s, axis=0))


def _timed(call: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _losses(bench: Workbench, models: list[SplitModel], say: Say) -> FloatArray:
    """Return the loss on the public rows with each emulator, [N]."""
    evaluator = Evaluator(bench.public_rows, bench.pad_id, bench.config.train)
    found = []
    for number, model in enumerate(models, start=1):
        say(f"losses, {number} of {len(models)}")
        found.append(evaluator.loss(model))
        evaluator.forget(model.emulator)
    return np.array(found)
