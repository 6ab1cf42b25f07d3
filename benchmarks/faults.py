"""What happens to a run when its files, its disk or its process fail.

A random model of four blocks trains on 24 sums (the miniature of the tests), through
the same code as any other. Every fault ends in one of three outcomes: use (the result
is the unbroken run's, and nothing had to be said), recovery (the same result, with a
warning), or one error of one line. Anything else counts as wrong, and ends the
benchmark with 1.

    python benchmarks/faults.py                       # the table of docs/reliability.md
    python benchmarks/faults.py --tries 40 --kills 5  # a look
"""

import argparse
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "lm")]

import torch  # noqa: E402
from faults import MUTATIONS, failing_disk, mutate  # noqa: E402
from tiny_run import bytes_of, make_config, write_toml  # noqa: E402

from trimwave.base.errors import InputError  # noqa: E402
from trimwave.base.receipt import RECEIPT, write_receipt  # noqa: E402
from trimwave.lm.session import run_method  # noqa: E402
from trimwave.lm.source.fetch import cache_folder, cached  # noqa: E402
from trimwave.lm.workbench import build_workbench  # noqa: E402
from trimwave.runs.comparison import Comparison  # noqa: E402
from trimwave.sweep.grid import Sweep  # noqa: E402
from trimwave.sweep.sweep import read_rows, run_sweep  # noqa: E402

OUTCOMES = ("use", "recovery", "one error", "wrong", "traceback")
BAD = OUTCOMES[3:]


@dataclass
class Table:
    """Outcomes by fault."""

    rows: dict[str, Counter] = field(default_factory=dict)

    def add(self, fault, outcome, detail=""):
        """Count an outcome, and show what it should not have been."""
        self.rows.setdefault(fault, Counter())[outcome] += 1
        if outcome in BAD:
            print(f"!! {fault}: {outcome}: {detail}", file=sys.stderr)

    def print(self):
        """Print it in Markdown; whether all went well."""
        print(f"| fault | tries | {' | '.join(OUTCOMES)} |")
        print("|---|" + "---:|" * (len(OUTCOMES) + 1))
        total = Counter()
        for fault, counts in self.rows.items():
            self._line(fault, counts)
            total += counts
        self._line("**all**", total)
        return not any(total[bad] for bad in BAD)

    @staticmethod
    def _line(fault, counts):
        cells = (counts[outcome] for outcome in OUTCOMES)
        print(f"| {fault} | {counts.total()} | {' | '.join(map(str, cells))} |")


def outcome_of(act, is_right):
    """Do something after a fault; the outcome, and what was said."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            result = act()
        except InputError as error:
            one_line = "\n" not in str(error)
            return ("one error" if one_line else "wrong"), str(error)
        except Exception:
            return "traceback", traceback.format_exc()
    if not is_right(result):
        return "wrong", "another result"
    return ("recovery" if said else "use"), "; ".join(str(one.message) for one in said)


class Miniature:
    """A run that is begun, and the same one unbroken."""

    def __init__(self, home):
        self.home = home
        self.config = make_config(home / "inputs")
        self.bench = build_workbench(self.config)
        shorter = replace(self.config, rounds=self.config.rounds - 1)
        run_method(self.bench, shorter, home / "begun")
        run_method(self.bench, self.config, home / "whole")
        self.whole = bytes_of(home / "whole")

    def copy(self):
        """Return a copy of the begun run, to be spoilt."""
        folder = Path(tempfile.mkdtemp(dir=self.home)) / "run"
        return shutil.copytree(self.home / "begun", folder)

    def resume(self, folder):
        """Go on to the end; the bytes that it leaves."""
        run_method(self.bench, self.config, folder, resume=True)
        return bytes_of(folder)

    def after(self, table, fault, folder, act=None):
        """Resume a spoilt copy; whatever is refused must have changed no record."""
        records = folder / "rounds.jsonl"
        before = records.read_bytes() if records.exists() else None
        told = outcome_of(
            act or (lambda: self.resume(folder)), lambda found: found == self.whole
        )
        after = records.read_bytes() if records.exists() else None
        if told[0] == "one error" and act is None and after != before:
            told = "wrong", "a record was lost"
        table.add(fault, *told)


def spoil_runs(table, mini, tries):
    files = [
        file.relative_to(mini.home / "begun")
        for file in sorted((mini.home / "begun").rglob("*"))
        if file.is_file()
    ]
    for number in range(tries):
        name = files[number % len(files)]
        folder = mini.copy()
        mutation = MUTATIONS[number // len(files) % len(MUTATIONS)]
        mutate(folder / name, mutation, number)
        kind = name.name if len(name.parts) == 1 else f"checkpoint: {name.name}"
        mini.after(table, f"{kind} spoilt", folder)
        shutil.rmtree(folder.parent)


def spoil_rankings(table, mini, tries):
    (path,) = (cache_folder() / "rankings").glob("*.safetensors")
    sound, digest = path.read_bytes(), mini.bench.ranking.digest()
    for number in range(tries):
        mutate(path, MUTATIONS[number % len(MUTATIONS)], number)
        told = outcome_of(
            lambda: build_workbench(mini.config).ranking.digest(),
            lambda found: found == digest,
        )
        table.add("cached ranking spoilt", *told)
        path.write_bytes(sound)


def spoil_models(table, mini, tries):
    """Spoil a model in the cache: it is whole, or fetched again with a word."""
    sound = cache_folder() / "fetched"
    shutil.copytree(mini.config.model.name, sound)
    files = sorted(one.name for one in sound.iterdir())
    write_receipt(sound, {"source": "benchmark"}, files)
    whole = {name: (sound / name).read_bytes() for name in files}
    for number in range(tries):
        folder = shutil.copytree(sound, cache_folder() / "spoilt")
        name = [*files, RECEIPT][number % (len(files) + 1)]
        mutation = MUTATIONS[number // (len(files) + 1) % len(MUTATIONS)]
        mutate(folder / name, mutation, number)

        def unchanged(found):
            return found is None or whole == {
                name: (found / name).read_bytes() for name in files
            }

        told = outcome_of(lambda: cached("spoilt"), unchanged)
        table.add("cached model spoilt", *told)
        shutil.rmtree(folder)


def spoil_comparisons(table, mini, tries):
    asked = Comparison(config=mini.config, methods=("jcpba", "ubfp"), seeds=(0, 1))
    folder = mini.home / "comparison"
    for number in range(tries):
        asked.create(folder)
        mutate(folder / "compare.json", MUTATIONS[number % len(MUTATIONS)], number)
        told = outcome_of(lambda: Comparison.read(folder), lambda found: found == asked)
        table.add("compare.json spoilt", *told)
        shutil.rmtree(folder)


def spoil_sweeps(table, mini, tries):
    config = replace(mini.config, model=replace(mini.config.model, name="gpt2"))
    asked = Sweep(
        config=config, vary={"cell.num_clients": [2, 3]}, methods=("ubfp",), draws=2
    )

    def sweep(folder):
        return read_rows(run_sweep(asked, folder, jobs=1), ("latency_s", "seed"))

    rows = sweep(mini.home / "sweep")
    files = [one for one in sorted((mini.home / "sweep").rglob("*")) if one.is_file()]
    for number in range(tries):
        folder = shutil.copytree(mini.home / "sweep", mini.home / "spoilt-sweep")
        name = files[number % len(files)].relative_to(mini.home / "sweep")
        mutation = MUTATIONS[number // len(files) % len(MUTATIONS)]
        mutate(folder / name, mutation, number)
        told = outcome_of(
            lambda folder=folder: sweep(folder), lambda found: found == rows
        )
        kind = "part of a sweep" if name.suffix == ".parquet" else name.name
        table.add(f"{kind} spoilt", *told)
        shutil.rmtree(folder)


def fail_disks(table, mini, step):
    """Every operation on the run's folder in turn is the first that fails."""
    for code, reads_fail, fault in (
        (errno.ENOSPC, False, "full disk, at each write in turn"),
        (errno.EROFS, False, "read-only disk, from each write on"),
        (errno.EIO, True, "disk that is gone, from each read or write on"),
    ):
        after, ended = 0, False
        while not ended:
            folder = mini.copy()

            def act(folder=folder, after=after, code=code, reads_fail=reads_fail):
                with failing_disk(folder, code, after, reads_fail):
                    run_method(mini.bench, mini.config, folder, resume=True)
                return bytes_of(folder)

            kind, detail = outcome_of(act, lambda found: found == mini.whole)
            ended = kind in ("use", "recovery") or kind in BAD
            healed = outcome_of(
                lambda folder=folder: mini.resume(folder), lambda f: f == mini.whole
            )
            if healed[0] not in ("use", "recovery"):
                kind, detail = "wrong", f"after it was mended: {healed[1]}"
            table.add(fault, kind, detail)
            shutil.rmtree(folder.parent)
            after += step


COMMAND = [sys.executable, "-W", "ignore", "-c"]
MAIN = (
    "import torch; torch.set_num_threads(1)\nfrom trimwave.cli.app import main; main()"
)


def signals(table, mini, recipe, tries):
    for number in range(tries):
        which = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)[number % 3]
        folder = mini.home / f"signal-{number}"
        arguments = [MAIN, "run", str(recipe), "--out", str(folder)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen([*COMMAND, *arguments], **pipes) as process:
            for line in process.stdout:
                if f"round   {1 + number % 2}/" in line:
                    process.send_signal(which)
                    break
            out, err = process.communicate()
        fault = f"{which.name} in a round, then resumed"
        if "Traceback" in out + err:
            table.add(fault, "traceback", err)
            continue
        if process.returncode != 128 + which or "go on with" not in out:
            table.add(fault, "wrong", f"{process.returncode} {out} {err}")
            continue
        told = outcome_of(
            lambda folder=folder: mini.resume(folder), lambda f: f == mini.whole
        )
        table.add(fault, "recovery" if told[0] == "use" else told[0], told[1])


def two_processes(table, mini, recipe, tries):
    """Two commands on one folder at once; one ends, the other is told."""
    for _ in range(tries):
        folder = mini.copy()
        arguments = [MAIN, "run", "--resume", str(folder)]
        arguments += ["--rounds", str(mini.config.rounds)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        both = [subprocess.Popen([*COMMAND, *arguments], **pipes) for _ in range(2)]
        told = [(*one.communicate(), one.returncode) for one in both]
        codes = sorted(code for _, _, code in told)
        refused = [err for _, err, code in told if code == 2]
        right = bytes_of(folder) == mini.whole and codes in ([0, 2], [0, 0])
        right = right and all(err.count("\n") == 1 for err in refused)
        kind = "one error" if refused else "use"
        table.add("two processes on one folder", kind if right else "wrong", str(told))


def kill(table, mini, recipe, kills):
    folder = mini.home / "kills"
    script = "from kills import main; main()"
    command = [*COMMAND, script, str(recipe), str(folder), str(kills)]
    done = subprocess.run(command, cwd=TESTS / "lm", capture_output=True, text=True)
    fault = "kill -9 at a random moment, then resumed"
    if done.returncode:
        table.add(fault, "traceback", done.stderr)
        return
    told = json.loads(done.stdout)
    for number in range(told["runs"]):
        right = bytes_of(folder / f"killed-{number}") == mini.whole
        if not right:
            table.add(fault, "wrong", f"run {number}")
    for _ in range(told["kills"]):
        table.add(fault, "recovery")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tries", type=int, default=560, help="files spoilt")
    parser.add_argument("--kills", type=int, default=50)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    table = Table()
    with tempfile.TemporaryDirectory() as home:
        os.environ["TRIMWAVE_CACHE"] = f"{home}/cache"
        mini = Miniature(Path(home))
        recipe = write_toml(Path(home) / "tiny.toml", mini.config)
        share = chosen.tries // 6
        spoil_runs(table, mini, 2 * share)
        spoil_rankings(table, mini, share)
        spoil_models(table, mini, share)
        spoil_comparisons(table, mini, share)
        spoil_sweeps(table, mini, share)
        fail_disks(table, mini, step=1 if share >= 90 else 8)
        signals(table, mini, recipe, 6 if share >= 90 else 3)
        two_processes(table, mini, recipe, 4 if share >= 90 else 1)
        kill(table, mini, recipe, chosen.kills)
        return 0 if table.print() else 1


if __name__ == "__main__":
    sys.exit(main())
