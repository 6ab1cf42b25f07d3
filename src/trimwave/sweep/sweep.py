"""Plan a grid without training: over the cores, resumable, to Parquet.

::

    runs/<name>-sweep/
    ├── sweep.json                           what was asked for, versions, hardware
    ├── SHA256SUMS                           of the parts, for ``sha256sum -c``
    └── parts/point-00000-<digest>.parquet   a finished grid point each

``parts/`` is one data set: ``pandas.read_parquet("runs/<name>-sweep/parts")``.
"""

import io
import os
import signal
import warnings
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from trimwave.base.errors import InputError, MissingExtraError, RunError
from trimwave.base.provenance import hardware_and_versions
from trimwave.base.receipt import file_sha256
from trimwave.base.stored import disk_errors, read_sealed, write_sealed
from trimwave.methods import inputs_of_rules
from trimwave.recipe.config import Config
from trimwave.recipe.recipe import differences
from trimwave.recipe.situation import files_of
from trimwave.runs.folder import locked
from trimwave.sweep.draws import COLUMNS, Row, plan_draw
from trimwave.sweep.grid import Point, Sweep
from trimwave.sweep.parts import Parts

Draw = tuple[int, int]
"""A point's place in the grid, and a seed."""

KEY_TYPES = {bool: "bool", int: "int64", float: "float64", str: "string"}

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def run_sweep(
    sweep: Sweep,
    folder: Path,
    jobs: int,
    on_draw: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Plan what the folder does not hold yet; write each point as it is finished.

    Parameters
    ----------
    sweep : Sweep
        What to plan.
    folder : Path
        New, or this sweep's own.
    jobs : int
        Processes; 1 = this one. A script that asks for more needs the usual
        ``if __name__ == "__main__"``.
    on_draw : callable
        Told after each draw how many of how many are done.

    Returns
    -------
    list of Path
        The parts, in the grid's order.

    Raises
    ------
    InputError
        If the sweep is wrong; a point that has no plan is no error, it has a status.
    RunError
        If the folder is another sweep's, or cannot be written.
    MissingExtraError
        If pyarrow is not installed.
    """
    if jobs < 1:
        raise InputError(f"--jobs must be at least 1, got {jobs}.")
    points = sweep.points()
    _arrow()
    with locked(folder):
        return _run(sweep, points, folder, jobs, on_draw)


def _run(
    sweep: Sweep,
    points: Sequence[Point],
    folder: Path,
    jobs: int,
    on_draw: Callable[[int, int], None],
) -> list[Path]:
    rules = inputs_of_rules(sweep.methods)
    _claim(sweep, {**_inputs(points), **rules}, folder)
    held = Parts(folder)
    parts = [held.path_of(point.file) for point in points]
    seeds = range(sweep.config.seed, sweep.config.seed + sweep.draws)
    configs = {
        (place, seed): replace(points[place].config, seed=seed)
        for place, part in enumerate(parts)
        if not held.has(part)
        for seed in seeds
    }
    found: dict[int, dict[int, list[Row]]] = defaultdict(dict)
    with closing(_each_draw(configs, sweep.methods, sweep.rounds, jobs)) as results:
        for done, ((place, seed), rows) in enumerate(results, start=1):
            found[place][seed] = rows
            if len(found[place]) == sweep.draws:
                of_seed = found.pop(place)
                ordered = [row for one in seeds for row in of_seed[one]]
                held.add(parts[place], _parquet(points[place], ordered))
            on_draw(done, len(configs))
    return parts


def read_rows(parts: Sequence[Path], columns: Sequence[str]) -> list[Row]:
    """Read some columns of a sweep's parts.

    Raises
    ------
    RunError
        If a part is damaged.
    """
    _, parquet = _arrow()
    rows: list[Row] = []
    held = {folder: Parts(folder) for folder in {part.parents[1] for part in parts}}
    for part in parts:
        content = io.BytesIO(held[part.parents[1]].content(part))
        rows += parquet.read_table(content, columns=list(columns)).to_pylist()
    return rows


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as missing:
        raise MissingExtraError("sweep", str(missing.name)) from missing
    return pyarrow, pyarrow.parquet


def _inputs(points: Sequence[Point]) -> dict[str, str]:
    """Return what traces and models' folders hold, by file."""
    files = {file for point in points for file in files_of(point.config)}
    try:
        return {str(file): f"sha256:{file_sha256(file)}" for file in sorted(files)}
    except (OSError, ValueError) as error:
        raise InputError(f"a file of the sweep cannot be read: {error}.") from None


def _claim(sweep: Sweep, inputs: Mapping[str, str], folder: Path) -> None:
    """Write sweep.json, or check that the one there asks for the same."""
    facts = hardware_and_versions(("trimwave", "numpy", "scipy", "pyarrow"))
    path, asked = folder / "sweep.json", {**sweep.to_dict(), "inputs": dict(inputs)}
    if not path.exists():
        with disk_errors(folder, "nothing was planned", "sweep again"):
            (folder / "parts").mkdir(parents=True, exist_ok=True)
            write_sealed(path, {**asked, **facts})
        return
    before = read_sealed(path, "versions", *asked)
    changed = differences({name: before.get(name) for name in asked}, asked)
    if changed:
        raise RunError(
            f"{folder} holds another sweep: {'; '.join(changed)}. Put these back, or "
            "choose another --out."
        )
    changed = differences(before["versions"], facts["versions"])
    if changed:
        warnings.warn(
            f"{folder} was begun with other versions, and what it holds is kept: "
            f"{'; '.join(changed)}.",
            stacklevel=3,
        )


def _parquet(point: Point, rows: Sequence[Row]) -> bytes:
    """Return a finished point as a Parquet file."""
    arrow, parquet = _arrow()
    types = {key: KEY_TYPES[type(value)] for key, value in point.varied.items()}
    schema = arrow.schema(
        [(name, arrow.type_for_alias(kind)) for name, kind in (types | COLUMNS).items()]
    )
    content = io.BytesIO()
    table = arrow.Table.from_pylist([{**point.varied, **row} for row in rows], schema)
    parquet.write_table(table, content)
    return content.getvalue()


def _each_draw(
    configs: Mapping[Draw, Config], methods: Sequence[str], rounds: int, jobs: int
) -> Generator[tuple[Draw, list[Row]], None, None]:
    """Yield the rows of every draw as they come."""
    if jobs == 1 or not configs:
        for draw, config in configs.items():
            yield draw, plan_draw(config, methods, rounds)
        return
    pool = ProcessPoolExecutor(
        max_workers=min(jobs, len(configs)),
        # Not a fork, which would keep the threads that NumPy has already.
        mp_context=get_context("spawn"),
        initializer=_hear_ctrl_c,
    )
    try:
        with _quiet_start():
            futures = {
                pool.submit(_plan_and_tell, config, methods, rounds): draw
                for draw, config in configs.items()
            }
        for future in as_completed(futures):
            rows, said = future.result()
            for warning in said:
                warnings.warn(warning, stacklevel=5)
            yield futures.pop(future), rows
    except BrokenProcessPool:
        raise RunError(
            "a process of the sweep was ended from outside, as the system does where "
            "memory runs out; finished points are saved; sweep again with fewer --jobs."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _plan_and_tell(
    config: Config, methods: Sequence[str], rounds: int
) -> tuple[list[Row], list[Warning]]:
    """Plan in a process that has no terminal of its own; return its warnings too."""
    with warnings.catch_warnings(record=True) as said:
        rows = plan_draw(config, methods, rounds)
    return rows, [one.message for one in said if isinstance(one.message, Warning)]


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Start processes that run NumPy on one core and hold Ctrl-C back.

    A process that is interrupted while it imports would print its traceback.
    """
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _hear_ctrl_c() -> None:
    """Have Ctrl-C end this process at once and without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
