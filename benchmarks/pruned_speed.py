"""Does pruning make a step faster by (1 - beta)? Measured on a real model.

    python benchmarks/pruned_speed.py [--model smollm2-135m] [--repeats 5] [--json out]

For each beta: bytes of the emulator, seconds of an emulator forward, seconds of a
whole local step (emulator forward, adapter forward and backward, head, optimiser), each
beside what the linear model of eqs. (5) and (8) says, all in one run. Heads and neurons
are ordered by weight magnitude: time depends on how many are kept, not on which.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from trimwave.base.provenance import hardware_and_versions
from trimwave.lm import prune_emulator, rank_units, score, split_model
from trimwave.lm.data.encode import IGNORED, Batch
from trimwave.lm.source.models import load_model
from trimwave.lm.train.tune import fine_tune
from trimwave.model.workload_of import workload_of
from trimwave.recipe.config import TrainConfig

BETAS = (0.0, 0.25, 0.5, 0.75)


def median_seconds(function, repeats):
    function()  # warm-up
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--adapter-blocks", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    model, _, _ = load_model(args.model)
    split_index = model.config.num_hidden_layers - args.adapter_blocks
    split = split_model(model, split_index)
    ranking = rank_units(score(split, "magnitude"), split.shape)
    work = workload_of(
        split.shape,
        split_index=split_index,
        batch_size=args.batch_size,
        seq_len=args.seq_len,
        num_local_steps=1,
    )
    generator = torch.Generator().manual_seed(0)
    shape = (args.batch_size, args.seq_len)
    input_ids = torch.randint(0, split.shape.vocab_size, shape, generator=generator)
    labels = input_ids.clone()
    labels[:, : args.seq_len // 2] = IGNORED  # half prompt, half answer
    batch = Batch(input_ids, labels, int((labels != IGNORED).sum()))
    config = TrainConfig()

    rows = []
    for beta in BETAS:
        target = (1 - beta) * ranking.sizes[-1]
        size = int(ranking.sizes[abs(ranking.sizes - target).argmin()])
        pruned = split.with_emulator(prune_emulator(split, ranking.kept(size)))
        kept = size / work.emulator_params
        rows.append(
            {
                "beta": beta,
                "kept": kept,
                "mib": 2 * size / 2**20,
                "forward_s": median_seconds(
                    lambda pruned=pruned: pruned.features(input_ids), args.repeats
                ),
                "step_s": median_seconds(
                    lambda pruned=pruned: fine_tune(pruned, [batch], config, 0),
                    args.repeats,
                ),
                "model_step": (work.adapter_flops + kept * work.emulator_flops)
                / (work.adapter_flops + work.emulator_flops),
            }
        )
    facts = hardware_and_versions(("torch", "transformers", "trimwave"))
    print(
        f"{args.model}, {split_index} + {args.adapter_blocks} blocks, "
        f"{args.batch_size} x {args.seq_len} tokens, median of {args.repeats}, "
        f"{torch.get_num_threads()} threads"
    )
    print(f"{facts['hardware']['system']}, torch {facts['versions']['torch']}")
    print(
        f"{'beta':>5} {'kept':>7} {'MiB fp16':>9} {'forward s':>10} {'ratio':>6} "
        f"{'1-beta':>7} {'step s':>8} {'ratio':>6} {'by (5)':>7}"
    )
    full = rows[0]
    for row in rows:
        print(
            f"{row['beta']:>5.2f} {row['kept']:>7.4f} {row['mib']:>9.2f} "
            f"{row['forward_s']:>10.3f} {row['forward_s'] / full['forward_s']:>6.3f} "
            f"{1 - row['beta']:>7.2f} {row['step_s']:>8.3f} "
            f"{row['step_s'] / full['step_s']:>6.3f} {row['model_step']:>7.3f}"
        )
    if args.json:
        args.json.write_text(json.dumps({**facts, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
