"""One test question, answered before training and after: the end of `make demo`.

::

    python examples/before_and_after.py runs/default-compare
    python examples/before_and_after.py runs/default-jcpba-s0 --row 3

FOLDER is a run, or a comparison, of which the first run is taken. Both answers are
decoded greedily, the second one by the whole model of the run's best round.
"""

import argparse
from pathlib import Path

from trimwave.base.errors import InputError, MissingExtraError
from trimwave.lm.before_after import before_and_after
from trimwave.runs.chosen import choose_round


def main(arguments: list[str] | None = None) -> None:
    """Read the run, answer, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--row", type=int, default=0, help="which test row")
    given = parser.parse_args(arguments)
    try:
        show(given.folder, given.row)
    except (InputError, MissingExtraError) as error:
        parser.exit(2, f"error: {error}\n")


def show(given: Path, row: int) -> None:
    """Answer a row and print both answers."""
    folder = next(iter(sorted(given.glob("*/manifest.json"))), None)
    chosen = choose_round(folder.parent if folder else given, "best")
    answers = before_and_after(chosen, row)
    for title, text in (
        ("question", answers.question),
        ("expected", answers.expected),
        ("untrained", answers.before),
        (f"round {chosen.number}", answers.after),
    ):
        print(f"{title:<10} {' '.join(text.split())}")


if __name__ == "__main__":
    main()
