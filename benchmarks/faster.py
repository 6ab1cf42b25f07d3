"""Is `staged` faster than LoRA at its best? Curves, priced on several cells.

    python benchmarks/faster.py train --task gsm8k --data FOLDER --out runs/faster
    python benchmarks/faster.py clock --out runs/faster
    python benchmarks/faster.py states --data FOLDER
    python benchmarks/faster.py trainer --data FOLDER

`train` runs every variant to its end in a folder of its own; one that is there is not
run again, and one that was broken off goes on. Where nothing is pruned a curve does not
depend on the links: `clock` prices the bits and FLOPs of each round on every cell, with
the best split of the band, and says when a run first has the losses that LoRA at its
best has after 3, 6 and 10 rounds, with and without the one-time download.

`states` counts bytes and hits of kept states. `trainer` times local training beside the
`Trainer` of transformers with PEFT's LoRA, on the same rows, in one process.
"""

import argparse
import json
import math
import statistics
import sys
from datetime import date
from pathlib import Path

import numpy as np
from net_tables import heads, show
from solvers import machine

from trimwave.api.training import new_run, resume_run
from trimwave.api.watch import Watch
from trimwave.decision.bands import best_shares, downlink_alone
from trimwave.problem.latency import RoundLatency
from trimwave.recipe.environment import Environment
from trimwave.recipe.recipe import find_recipe, load_config, merge_overrides
from trimwave.report.console import plain_console
from trimwave.runs.records import Run

BASE = "lora"
AT_ROUNDS = 3, 6, 10
"""Rounds of LoRA at its best whose losses the others are timed to."""

VARIANTS = {
    "lora": ("best/lora", []),
    "lora q,v r8": ("best/lora", ["train.lora_targets=attention", "train.lora_rank=8"]),
    "staged": ("best/staged", []),
    **{
        f"staged {warm}+{depth}": (
            "best/staged",
            [
                f"options.staged={{stages=[{{rounds={warm}}},{{blocks={depth}}}]}}",
            ],
        )
        for warm in (1, 2, 3)
        for depth in (12, 6, 3)
        if (warm, depth) != (2, 12)
    },
    "staged, no cache": ("best/staged", ["train.state_cache=off"]),
    "staged, 16 bits": ("best/staged", ["train.update_bits=16"]),
    "lora, 8 bits": ("best/lora", ["train.update_bits=8"]),
    "lora, FedAdam": (
        "best/lora",
        ["aggregate.server_optimizer=adam", "aggregate.server_learning_rate=1e-2"],
    ),
}
"""What is trained: a recipe and its changes."""

CELLS = {
    "letter": [],
    "phones": [
        "cell.base_speed_flops_per_s=5e11",
        "cell.speed_factor=[0.1, 1.0]",
        "cell.total_bandwidth_hz=1e8",
    ],
    "narrow": [
        "cell.base_speed_flops_per_s=5e11",
        "cell.speed_factor=[0.1, 1.0]",
        "cell.total_bandwidth_hz=5e6",
    ],
}
"""The letter's; phones that share 400 Mbit/s; the same with 20 Mbit/s."""

SHARED = [
    *("radio.max_spectral_efficiency=4", "radio.fading=none", "radio.path_loss_db=60"),
]
"""What makes a band a rate: every link at the cap of 4 bit/s/Hz."""


def config_of(variant, asked, seed):
    recipe, changes = VARIANTS[variant]
    config = load_config(find_recipe(recipe), changes)
    more = [
        f'data.source="{asked.data}"',
        f"data.num_train={asked.rows * asked.clients}",
        f"cell.num_clients={asked.clients}",
        f"rounds={asked.rounds}",
        f"seed={seed}",
        f"train.num_local_steps={asked.steps}",
        *(asked.set or []),
    ]
    return merge_overrides(config, more)


def folder_of(asked, variant, seed):
    name = variant.replace(" ", "-").replace(",", "").replace("+", "-")
    return asked.out / f"{asked.task}-{asked.steps}-steps" / f"{name}-s{seed}"


def train(asked):
    """Run what is not there."""
    console = plain_console(stderr=True)
    for seed in asked.seeds:
        for variant in asked.variants:
            folder, config = (
                folder_of(asked, variant, seed),
                config_of(variant, asked, seed),
            )
            watch = Watch(console=console)
            if not (folder / "manifest.json").exists():
                new_run(config, folder, watch)
            elif len(Run.open(folder).records()) <= asked.rounds:
                resume_run(folder, lambda begun, config=config: config, watch)


def priced(records, config, install):
    """Return the seconds after each round, on a cell.

    Bits and FLOPs are those of the run's own plans; the band is split anew.
    """
    environment, at_s, found = Environment.from_config(config), 0.0, []
    plans = [one["plan"] for one in records[1:]]
    samples = np.ones(config.cell.num_clients)
    if install:
        cell = downlink_alone(environment.cell(0, samples))
        at_s = round_s(cell, 0 * cell.num_samples, plans[0]["install_bits"], None)
    found.append(at_s)
    for number, plan in enumerate(plans):
        cell = environment.cell(number, samples)
        compute_s = np.array(plan["flops"]) / cell.speed_flops_per_s
        at_s += round_s(cell, compute_s, plan["down_bits"], plan["up_bits"])
        found.append(at_s)
    return found


def round_s(cell, compute_s, down_bits, up_bits):
    down = np.array(down_bits, dtype=np.float64)
    zeros = np.zeros_like(down)
    latency = RoundLatency(
        compute_fixed_s=compute_s,
        compute_emulator_s=zeros,
        down_fixed_bits=down,
        down_emulator_bits=zeros,
        up_bits=zeros if up_bits is None else np.array(up_bits, dtype=np.float64),
        down=cell.link("down"),
        up=cell.link("up"),
    )
    shares = best_shares(latency, cell)
    return float(np.max(latency.total_s(zeros, shares.down_hz)))


def reached_s(losses, seconds, target):
    """Return when a loss is first reached, between two rounds by a straight line."""
    for at in range(1, len(losses)):
        if losses[at] <= target:
            fell = losses[at - 1] - losses[at]
            part = 1.0 if fell <= 0 else (losses[at - 1] - target) / fell
            return seconds[at - 1] + min(1.0, max(0.0, part)) * (
                seconds[at] - seconds[at - 1]
            )
    return math.inf


def clock(asked):
    """Print seconds to LoRA's losses, on each cell."""
    ratios = {}
    for kind in sorted(asked.out.iterdir()):
        runs = {path.name: path for path in sorted(kind.iterdir())}
        seeds = sorted({name.rpartition("-s")[2] for name in runs})
        print(f"\n{kind.name}, seeds {', '.join(seeds)}\n")
        heads(
            *("variant", "cell"),
            *("download", "seconds of 1st round", "of the last", "final loss"),
            *(f"times faster to LoRA's loss of round {at}" for at in AT_ROUNDS),
            words=3,
        )
        names = sorted({name.rpartition("-s")[0] for name in runs})
        for name in names:
            for cell, changes in CELLS.items():
                for install in (False, True):
                    found = [
                        compared(runs, name, seed, changes, cell, install)
                        for seed in seeds
                        if f"{name}-s{seed}" in runs and f"{BASE}-s{seed}" in runs
                    ]
                    if not found:
                        continue
                    first, last, final = (
                        statistics.mean(one[at] for one in found) for at in (0, 1, 2)
                    )
                    cells = []
                    for at in range(len(AT_ROUNDS)):
                        values = [one[3][at] for one in found if one[3][at]]
                        cells.append(f"{geometric(values):.2f}" if values else "-")
                        if values:
                            ratios.setdefault(name, []).extend(values)
                    show(
                        *(name, cell, "with" if install else "without"),
                        *(f"{first:.3g}", f"{last:.3g}", f"{final:.4f}", *cells),
                    )
    print("\ngeometric mean over tasks, cells, downloads and targets:")
    for name, values in sorted(ratios.items()):
        print(f"  {name}: {geometric(values):.2f}")


def geometric(values):
    return math.exp(statistics.mean(math.log(max(one, 1e-9)) for one in values))


def compared(runs, name, seed, changes, cell, install):
    """Return first and last round's seconds, final loss, and ratios to LoRA's."""
    one, base = (Run.open(runs[f"{which}-s{seed}"]) for which in (name, BASE))
    curves = []
    for run in (one, base):
        records = run.records()
        shared = SHARED if cell != "letter" else []
        config = merge_overrides(run.config, [*changes, *shared])
        losses = [record["loss_full"] for record in records]
        curves.append((losses, priced(records, config, install)))
    (losses, seconds), (base_losses, base_seconds) = curves
    ratios = []
    for at in AT_ROUNDS:
        if at >= len(base_losses):
            ratios.append(None)
            continue
        target = min(base_losses[: at + 1])
        base_s = reached_s(base_losses, base_seconds, target)
        own_s = reached_s(losses, seconds, target)
        ratios.append(base_s / own_s if own_s < math.inf else 1e-9)
    return seconds[1] - seconds[0], seconds[-1] - seconds[-2], losses[-1], ratios


def states(asked):
    """Count bytes and hits of kept states over three epochs of small rounds."""
    from faster_local import states_table

    states_table(asked)


def trainer(asked):
    """Time local training beside transformers' Trainer with PEFT."""
    from faster_local import trainer_table

    trainer_table(asked)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("train", "clock", "states", "trainer"))
    parser.add_argument("--task", default="gsm8k", help="names the curves")
    parser.add_argument("--data", type=Path, help="rows; generated if left out")
    parser.add_argument("--out", type=Path, default=Path("runs/faster"))
    parser.add_argument("--variants", nargs="*", help="all if left out")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rows", type=int, default=160, help="of each client")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--set", action="append", metavar="KEY=VALUE")
    parser.add_argument("--blocks", nargs="*", type=int, default=[12, 4])
    asked = parser.parse_args()
    if asked.data is None:
        asked.data = "gsm_symbolic"
    asked.variants = asked.variants or [*VARIANTS]
    if unknown := [one for one in asked.variants if one not in VARIANTS]:
        sys.exit(f"no variant {unknown[0]!r}; known: {', '.join(VARIANTS)}")
    globals()[asked.what](asked)
    facts = {**machine(), "date": date.today().isoformat()}
    print(json.dumps(facts), file=sys.stderr)


if __name__ == "__main__":
    main()
