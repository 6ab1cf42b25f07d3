"""Is `staged` faster than LoRA at its best? Curves, priced on several cells.

    python benchmarks/faster.py train --task gsm8k --data FOLDER --out runs/faster
    python benchmarks/faster.py clock --out runs/faster
    python benchmarks/faster.py states --data FOLDER
    python benchmarks/faster.py trainer --data FOLDER

`train` runs every variant to its end in a folder of its own; one that is there is not
run again, and one that was broken off goes on. Where nothing is pruned a curve does not
depend on the links: `clock` prices the bits and FLOPs of each round on every cell, with
the best split of the band, and says when a run first has the losses that LoRA at its
best has after 3, 6 and 10 rounds, with and without the one-time download. The letter's
methods plan by their cell, so that they are shown on the one that they were trained on.
In `, small` every third client cannot hold the whole model while it trains.

`states` counts bytes and hits of kept states. `trainer` times local training beside the
`Trainer` of transformers with PEFT's LoRA, on the same rows, a process each.
"""

import argparse
import json
import math
import statistics
import sys
from datetime import date
from itertools import product
from pathlib import Path

import numpy as np
from net_tables import heads, show
from solvers import machine

from trimwave.api.training import new_run, resume_run
from trimwave.api.watch import Watch
from trimwave.decision.bands import best_shares, downlink_alone
from trimwave.lm.workbench import build_workbench
from trimwave.methods import ask_stages, parse_method
from trimwave.problem.latency import RoundLatency
from trimwave.problem.limits import Limits
from trimwave.recipe.environment import Environment
from trimwave.recipe.recipe import find_recipe, load_config, merge_overrides
from trimwave.report.console import plain_console
from trimwave.runs.records import Run

BASE, SMALL = "lora", ", small"
AT_ROUNDS = 3, 6, 10
"""Rounds of LoRA at its best whose losses the others are timed to."""

BESIDE = {
    "JCPBA*": "jcpba",
    "JCPBA": "jcpba:solver=bcd",
    "UBFP": "ubfp",
    "FedBiOT": "fedbiot",
    "DEFT": "deft",
    "Split LoRA": "split_lora",
}
"""The letter's methods, with the recipe's step sizes for them."""

VARIANTS = {
    "lora": ("best/lora", []),
    "lora, small": ("best/lora", ["method=staged", "options.staged={stages=[{}]}"]),
    "staged, small": ("best/staged", []),
    "lora q,v r8": (
        "best/lora",
        [
            *("train.lora_targets=attention", "train.lora_rank=8"),
            "train.lora_learning_rate=1e-2",
        ],
    ),
    **{name: ("best/lora", [f"method={text}"]) for name, text in BESIDE.items()},
    "staged": ("best/staged", []),
    **{
        f"staged {warm}+{depth}": (
            "best/staged",
            [
                f"options.staged={{stages=[{{rounds={warm}}},{{blocks={depth}}}]}}",
            ],
        )
        for warm in (1, 2, 3, 4)
        for depth in (12, 6, 3)
        if (warm, depth) != (4, 12)
    },
    "staged, 16 bits": ("best/staged", ["train.update_bits=16"]),
    "top 12": ("best/staged", ["method=lora:blocks=12", "options.staged={}"]),
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
    config = merge_overrides(config, more)
    if variant.endswith(SMALL):
        table = small_clients(asked, config)
        config = merge_overrides(config, [f'cell.clients="{table}"'])
    return config


def small_clients(asked, config):
    """Write a table of clients of which every third holds the top 12 blocks alone.

    `clock` prices their rounds without it, with the speeds of its cells. What a stage
    takes depends on how long the rows' answers are, so that they are read.
    """
    costs = build_workbench(config).costs
    staged = load_config(find_recipe("best/staged"), [])
    rule = parse_method(staged.method, staged.options)
    stages = ask_stages(rule, costs, Limits())
    whole, top = (
        costs.bill(one.scheme.submodel).memory_bytes for one in (stages[0], stages[-1])
    )
    some, all_of_it = (top + whole) / 2, 2 * whole
    rows = [some if k % 3 == 2 else all_of_it for k in range(asked.clients)]
    path = asked.out / f"small-{asked.clients}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    speed = config.cell.base_speed_flops_per_s
    lines = [f"{one:.0f},{speed:g}" for one in rows]
    path.write_text("\n".join(["memory_bytes,speed_flops_per_s", *lines, ""]))
    return path.absolute()


def folder_of(asked, variant, seed):
    kind = f"{asked.task}-{asked.steps}-steps-{asked.clients}-clients"
    return asked.out / kind / f"{slug(variant)}-s{seed}"


def slug(variant):
    return variant.replace(" ", "-").replace(",", "").replace("+", "-")


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


def on_cell(config, cell, num_clients):
    """Return a run's config with the clients of one of the cells."""
    shared = SHARED if cell != "letter" else []
    clients = ['cell.clients=""', f"cell.num_clients={num_clients}"]
    return merge_overrides(config, [*clients, *CELLS[cell], *shared])


def priced(records, config, install, keeps_states):
    """Return the seconds after each round, on a cell.

    Bits and FLOPs are those of the run's own plans; the band is split anew. Without
    states all rows are new in each round, as in the first of a stage.
    """
    environment, at_s, found = Environment.from_config(config), 0.0, []
    samples = np.ones(config.cell.num_clients)
    if install:
        cell = downlink_alone(environment.cell(0, samples))
        bits = records[1]["plan"]["install_bits"]
        at_s = round_s(cell, 0 * cell.num_samples, bits, None)
    found.append(at_s)
    flops_of = {}
    for number, record in enumerate(records[1:]):
        plan, cell = record["plan"], environment.cell(number, samples)
        flops = np.array(plan["flops"])
        if not keeps_states:
            flops = np.maximum(flops, flops_of.get(record.get("stage"), 0.0))
            flops_of[record.get("stage")] = flops
            flops = flops * np.array(plan["scheduled"])
        compute_s = flops / cell.speed_flops_per_s
        at_s += round_s(cell, compute_s, plan["down_bits"], plan["up_bits"])
        found.append(at_s)
    return found


def as_run(records, install):
    """Return the seconds after each round, on the cell that it was run on."""
    begun_s = records[1]["plan"]["install_s"] if install else 0.0
    return [begun_s + record["virtual_s"] for record in records]


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
    for kind in sorted(one for one in asked.out.iterdir() if one.is_dir()):
        runs = Runs(kind)
        print(f"\n{kind.name}, seeds {', '.join(runs.seeds)}\n")
        heads(
            *("variant", "seeds", "cell"),
            *("download", "seconds of 1st round", "of the last", "final loss"),
            *(f"times faster to LoRA's loss of round {at}" for at in AT_ROUNDS),
            words=4,
        )
        for shown in [one for name in runs.names for one in lines_of(name)]:
            for cell, install in product(CELLS, (False, True)):
                if shown[0] in map(slug, BESIDE) and cell != "letter":
                    continue
                found = runs.compared(*shown, cell, install)
                if not found:
                    continue
                first, last, final = (
                    statistics.mean(one[at] for one in found) for at in (0, 1, 2)
                )
                cells = []
                for at in range(len(AT_ROUNDS)):
                    values = [one[3][at] for one in found if one[3][at] is not None]
                    cells.append(said(values))
                    if values and not install:
                        ratios.setdefault(shown, []).append(values)
                label = shown[0] if shown[1] else f"{shown[0]}, no states kept"
                show(
                    *(label, len(found), cell, "with" if install else "without"),
                    *(f"{first:.3g}", f"{last:.3g}", f"{final:.4f}", *cells),
                )
    print("\ngeometric mean over tasks, cells, seeds and targets, without downloads:")
    for (name, keeps_states), groups in sorted(ratios.items()):
        values = [one for group in groups for one in group]
        label = name if keeps_states else f"{name}, no states kept"
        print(f"  {label}: {said(values)} ({len(values)} values)")


def lines_of(name):
    """Return what is shown of a variant: with its states, and as if none were kept."""
    keeps = name.startswith(("staged", "top"))
    return [(name, True), (name, False)] if keeps else [(name, True)]


def said(values):
    """Return a geometric mean; how many never got there comes first."""
    there = [one for one in values if one > 0]
    if not there:
        return "never" if values else "-"
    never = len(values) - len(there)
    mean = math.exp(statistics.mean(math.log(one) for one in there))
    return f"{never} never, {mean:.2f}" if never else f"{mean:.2f}"


class Runs:
    """The runs of a task, by variant and seed."""

    def __init__(self, folder):
        paths = {path.name: path for path in sorted(folder.iterdir())}
        self._paths = {
            name: path
            for name, path in paths.items()
            if (path / "summary.json").exists()
        }
        self.seeds = sorted({name.rpartition("-s")[2] for name in self._paths})
        self.names = sorted({name.rpartition("-s")[0] for name in self._paths})

    def compared(self, name, keeps_states, cell, install):
        """Return first and last round's seconds, final loss and ratios, by seed.

        Times faster than LoRA to its losses; 0 where it never gets there.
        """
        base = slug(BASE + SMALL) if name.endswith(slug(SMALL)) else BASE
        found = []
        for seed in self.seeds:
            own, to = f"{name}-s{seed}", f"{base}-s{seed}"
            if not {own, to} <= self._paths.keys():
                continue
            losses, seconds = self._curve(own, keeps_states, cell, install)
            to_losses, to_seconds = self._curve(to, True, cell, install)
            ratios = [None] * len(AT_ROUNDS)
            for place, at in enumerate(AT_ROUNDS):
                if at < len(to_losses):
                    target = min(to_losses[: at + 1])
                    base_s = reached_s(to_losses, to_seconds, target)
                    ratios[place] = base_s / reached_s(losses, seconds, target)
            first_s, last_s = seconds[1] - seconds[0], seconds[-1] - seconds[-2]
            found.append((first_s, last_s, losses[-1], ratios))
        return found

    def _curve(self, name, keeps_states, cell, install):
        run = Run.open(self._paths[name])
        records = run.records()
        losses = [record["loss_full"] for record in records]
        if name.rpartition("-s")[0] in map(slug, BESIDE):
            return losses, as_run(records, install)
        config = on_cell(run.config, cell, len(records[1]["plan"]["flops"]))
        return losses, priced(records, config, install, keeps_states)


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
