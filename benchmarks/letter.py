"""The letter's Fig. 3, Fig. 4 and claims, ours beside theirs; no training, no torch.

Run one of::

    python benchmarks/letter.py fig3 [--draws 40]
    trimwave sweep letter/fig4 --draws 40 --methods METHODS --out runs/fig4 \
        --vary 'cell.speed_factor=[[1,1.5],[0.5,2],[0.2,2.5]]'
    python benchmarks/letter.py fig4 runs/fig4 [--rounds runs/X [--without METHOD]]
    python benchmarks/letter.py claims runs/fig4 [--rounds runs/X [--without METHOD]]

``fig3`` prints bytes and GFLOPs per client under two conventions, which it names.
``fig4`` multiplies the round times of a sweep by the rounds to the common target that a
comparison measured in training (all 1 without one). ``claims`` puts both against what
the letter says. docs/reproduction.md holds the results.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from trimwave.base.errors import InputError
from trimwave.base.units import BITS_PER_BYTE, MIB_BYTES
from trimwave.decision.plan import Situation
from trimwave.methods import label_of, parse_method
from trimwave.recipe.config import Config
from trimwave.recipe.environment import Environment
from trimwave.recipe.limits import limits_of
from trimwave.recipe.recipe import find_recipe, load_config
from trimwave.recipe.situation import costs_from, shape_named
from trimwave.report.summary import numbers_of
from trimwave.report.target import choose_target
from trimwave.runs.comparison import Comparison

LETTER_FIG3 = {
    "JCPBA": (364.7, 126.5, "96.5", "23.7"),
    "UBFP": (361.0, 125.6, "", ""),
    "FedBiOT": (680.1, 167.9, "", ""),
    "DEFT": (779.9, 351.3, "", "120.0"),
}
"""MB and GFLOPs, their deviations where given, as printed in Sec. IV-B.2."""

LETTER_FIG4 = {
    "JCPBA": (75.2, 80.1),
    "UBFP": (96.2, 141.3),
    "FedBiOT": (152.2, 250.1),
    "DEFT": (224.9, 279.8),
    "Split LoRA": (208.3, 574.0),
}
"""Seconds at low and high heterogeneity as printed in Sec. IV-B.3."""

FIG3_METHODS = (
    "jcpba:solver=bcd",
    "jcpba",
    "ubfp",
    "fedbiot",
    "fedbiot:adapter=full",
    "deft",
    "split_lora",
    "lora",
    "jcpba:adapter=lora",
)
RANGES = ("[1.0, 1.5]", "[0.5, 2.0]", "[0.2, 2.5]")
COMPARED = ("UBFP", "FedBiOT", "DEFT", "Split LoRA", "LoRA")


@dataclass(frozen=True, kw_only=True)
class Convention:
    """How FLOPs are counted."""

    name: str
    seq_len: int
    head_passes: int
    deft: str
    """Accounting of DEFT's backward pass."""

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.seq_len} tokens per iteration with the attention "
            f"term, LM head counted {self.head_passes}x (DEFT {self.deft}), fp16 both "
            "ways, MiB = 2^20, embeddings and head pre-installed, beta_bar 0.5"
        )


CONVENTIONS = (
    Convention(name="physics", seq_len=256, head_passes=2, deft="proper"),
    Convention(name="fig3", seq_len=230, head_passes=1, deft="fig3"),
)


def overheads(
    method: str, convention: Convention, draws: int
) -> tuple[np.ndarray, np.ndarray]:
    """MiB down and up, and GFLOPs of an iteration, both [draws, scheduled clients]."""
    if method == "deft":
        method = f"deft:accounting={convention.deft}"
    mib, gflops = [], []
    for seed in range(draws):
        changes = (
            f"seed={seed}",
            f"train.seq_len={convention.seq_len}",
            f"model.head_passes={convention.head_passes}",
        )
        config = load_config(find_recipe("gpt2-medium"), changes)
        cell = Environment.from_config(config).cell(0, np.ones(config.cell.num_clients))
        costs = costs_from(config, shape_named(config.model.name))
        situation = Situation(cell=cell, costs=costs, limits=limits_of(config))
        plan = parse_method(method).plan(situation)
        taking_part = plan.scheduled
        bits = (plan.down_bits + plan.up_bits)[taking_part]
        mib.append(bits / BITS_PER_BYTE / MIB_BYTES)
        gflops.append(plan.flops[taking_part] / costs.num_local_steps / 1e9)
    return np.array(mib), np.array(gflops)


def spread(values: np.ndarray) -> str:
    """Mean over everything; deviation over clients with its 5-95 % over draws.

    The mean itself does not vary over draws where C5 fixes it.
    """
    deviations = values.std(axis=1)
    low, high = np.quantile(deviations, (0.05, 0.95))
    text = f"{values.mean():.1f} +- {deviations.mean():.1f}"
    return text if high - low < 0.05 else f"{text} [{low:.1f}, {high:.1f}]"


def fig3(draws: int) -> None:
    """Print the table of Fig. 3 under each convention."""
    for convention in CONVENTIONS:
        print(f"\n{convention}; {draws} draws of 8 clients\n")
        print("| method | MiB: ours | letter | ratio | GFLOPs: ours | letter | ratio |")
        print("|---|---|---|---|---|---|---|")
        for text in FIG3_METHODS:
            mib, gflops = overheads(text, convention, draws)
            label = label_of(text)
            theirs = LETTER_FIG3.get(label.rstrip("*").removesuffix(" full"))
            cells = [label, spread(mib), "-", "-", spread(gflops), "-", "-"]
            if theirs:
                for at, ours in ((0, mib), (1, gflops)):
                    printed = f"{theirs[at]}"
                    printed += f" +- {theirs[at + 2]}" if theirs[at + 2] else ""
                    ratio = f"{ours.mean() / theirs[at]:.4f}"
                    cells[3 * at + 2 : 3 * at + 4] = printed, ratio
            print("| " + " | ".join(cells) + " |")


def read_sweep(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Round times of a sweep [s]: label, then range, to one value per seed."""
    import pyarrow.parquet as parquet

    found: dict[str, dict[str, dict[int, float]]] = {}
    parts = sorted((folder / "parts").glob("*.parquet"))
    if not parts:
        raise SystemExit(f"{folder} holds no sweep; run the command of the docstring.")
    for path in parts:
        for row in parquet.read_table(path).to_pylist():
            if row["status"] != "ok":
                raise SystemExit(f"{path}: {row['status']}")
            if "cell.speed_factor" not in row:
                raise SystemExit(f"{folder} does not vary `cell.speed_factor`.")
            by_range = found.setdefault(row["method"], {})
            speeds = str(json.loads(row["cell.speed_factor"]))
            by_range.setdefault(speeds, {})[row["seed"]] = row["latency_s"]
    return {
        label: {
            speeds: np.array([by_seed[seed] for seed in sorted(by_seed)])
            for speeds, by_seed in by_range.items()
        }
        for label, by_range in found.items()
    }


def read_rounds(folder: Path | None, without: Sequence[str]) -> dict[str, float]:
    """Return rounds to the target by label, means over seeds; empty without a folder.

    A method that missed the target in some seed has none, and neither have those left
    out, which have no say in the target.
    """
    if folder is None:
        return {}
    try:
        results = Comparison.read(folder).results(folder, refuse, read_finished=True)
    except InputError as error:
        raise SystemExit(f"{error}") from None
    unknown = set(without) - set(results)
    if unknown:
        raise SystemExit(f"--without {unknown}: {folder} has {', '.join(results)}.")
    compared = {label: results[label] for label in results if label not in without}
    target = choose_target(compared)
    if target is None:
        raise SystemExit(f"{folder}: no method comes below the untrained loss.")
    seeds = len(target.loss_full)
    print(f"rounds to a loss of {target.mean_loss_full:.4f}, mean of {seeds} seeds")
    return {
        label: numbers["target_rounds"].mean
        for label, numbers in numbers_of(compared, target).items()
        if not numbers["target_rounds"].is_exceeded
    }


def refuse(runs: Mapping[Path, Config]) -> NoReturn:
    """Stop at a comparison that has not ended."""
    raise SystemExit(f"not finished: {', '.join(map(str, runs))}")


def quantiles(values: np.ndarray, digits: int = 1) -> str:
    """Median and 5-95 % interval."""
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def fig4(folder: Path, rounds: dict[str, float]) -> None:
    """Print seconds to the target by heterogeneity, and their growth."""
    times = read_sweep(folder)
    draws = len(next(iter(next(iter(times.values())).values())))
    print(f"\nmedian [5 %, 95 %] over {draws} draws; seconds = rounds x round time\n")
    heads = " | ".join(f"s at U{one}" for one in RANGES)
    print(f"| method | rounds | {heads} | high / low | letter's |")
    print("|---|---|---|---|---|---|---|")
    for label, by_range in times.items():
        number = rounds.get(label, 1.0 if not rounds else np.nan)
        cells = ["-"] * len(RANGES)
        if not np.isnan(number):
            cells = [quantiles(number * by_range[one]) for one in RANGES]
        growth = by_range[RANGES[-1]] / by_range[RANGES[0]]
        theirs = LETTER_FIG4.get(label.rstrip("*"))
        ratio = f"{theirs[1] / theirs[0]:.2f}" if theirs else "-"
        shown = "-" if np.isnan(number) else f"{number:.1f}"
        row = [label, shown, *cells, quantiles(growth, 2), ratio]
        print("| " + " | ".join(row) + " |")


def claims(folder: Path, rounds: dict[str, float], draws: int) -> None:
    """Print what JCPBA saves against every method, the letter's claims beside it."""
    times = read_sweep(folder)
    print("\nbytes saved by JCPBA per client and round (letter: at least 46 %)\n")
    ours, lean = (
        overheads(text, CONVENTIONS[0], draws)[0].mean()
        for text in ("jcpba:solver=bcd", "jcpba:solver=bcd:adapter=lora")
    )
    print("| against | letter | ours | ours with a LoRA adapter |\n|---|---|---|---|")
    for text in FIG3_METHODS[2:-1]:
        label = label_of(text)
        theirs = LETTER_FIG3.get(label.removesuffix(" full"))
        printed = f"{1 - LETTER_FIG3['JCPBA'][0] / theirs[0]:.1%}" if theirs else "-"
        mib = overheads(text, CONVENTIONS[0], draws)[0].mean()
        print(f"| {label} | {printed} | {1 - ours / mib:.1%} | {1 - lean / mib:.1%} |")
    print(
        "\ntime saved by JCPBA (letter: at least 40 %), median [5 %, 95 %] of draws\n"
    )
    heads = " | ".join(f"U{one}" for one in RANGES)
    print(
        f"| against | letter: low, high | a round: {heads} | to the target: {heads} |"
    )
    print("|---|---|" + "---|" * 2 * len(RANGES))
    for label in COMPARED:
        ratio = rounds.get("JCPBA", np.nan) / rounds.get(label, np.nan)
        cells = [_letters_saving(label)]
        for factor in (1.0, ratio):
            for one in RANGES:
                saved = 1 - factor * times["JCPBA"][one] / times[label][one]
                cells.append("-" if np.isnan(factor) else percents(saved))
        print(f"| {label} | " + " | ".join(cells) + " |")


def _letters_saving(label: str) -> str:
    """Return what Fig. 4 says that JCPBA saves, at both ends."""
    if label not in LETTER_FIG4:
        return "-"
    pairs = zip(LETTER_FIG4["JCPBA"], LETTER_FIG4[label], strict=True)
    return ", ".join(f"{1 - ours / theirs:.1%}" for ours, theirs in pairs)


def percents(values: np.ndarray) -> str:
    """Median and 5-95 % interval in percent."""
    low, middle, high = np.quantile(100 * values, (0.05, 0.5, 0.95))
    return f"{middle:.0f} [{low:.0f}, {high:.0f}] %"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fig3").add_argument("--draws", type=int, default=40)
    for name in ("fig4", "claims"):
        command = commands.add_parser(name)
        command.add_argument("sweep", type=Path, help="folder of `trimwave sweep`")
        command.add_argument("--rounds", type=Path, help="folder of a comparison")
        command.add_argument("--without", nargs="*", default=[], help="labels left out")
        if name == "claims":
            command.add_argument("--draws", type=int, default=40)
    given = parser.parse_args(arguments)
    if given.command == "fig3":
        fig3(given.draws)
        return
    rounds = read_rounds(given.rounds, given.without)
    if given.command == "fig4":
        fig4(given.sweep, rounds)
    else:
        claims(given.sweep, rounds, given.draws)


if __name__ == "__main__":
    main()
