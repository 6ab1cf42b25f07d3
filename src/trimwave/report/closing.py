"""What a run leaves at its end: title, table, picture, summary, where they are."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from trimwave.base.errors import MissingExtraError
from trimwave.base.stored import disk_errors, write_atomic
from trimwave.recipe.config import Config
from trimwave.report.aligned import wrapped
from trimwave.report.console import print_whole
from trimwave.report.phases_report import (
    LEGEND,
    PICTURE,
    error_lines,
    phases_table,
    save_phases_picture,
)
from trimwave.report.picture import save_picture
from trimwave.report.summary import numbers_of, summary_json, table
from trimwave.report.target import Records, choose_target, target_lines
from trimwave.report.task_metrics import task_table
from trimwave.runs.best import LOSS, best_round, why_stopped
from trimwave.runs.folder import quoted
from trimwave.runs.phases import read_phases
from trimwave.runs.records import Run


def close_report(
    results: Mapping[str, Sequence[Records]],
    config: Config,
    folder: Path,
    console: Console,
) -> None:
    """Print the table of finished runs; save it and their picture beside them.

    Parameters
    ----------
    results : mapping
        Label of a method to its runs, one per seed.
    config : Config
        What the runs have in common.
    folder : Path
        Holds the runs, or is the only one.
    console : Console
        Where to print.
    """
    manifest = next(folder.rglob("manifest.json"))
    facts = Run.open(manifest.parent).manifest
    title = _title(config, facts)
    console.print(f"\n{title}", soft_wrap=True)
    target = choose_target(results)
    methods = numbers_of(results, target)
    print_whole(console, table(methods, target))
    for line in target_lines(results, target):
        console.print(line, soft_wrap=True)
    if tasks := task_table(methods):
        console.print()
        print_whole(console, tasks)
    stopped = {label: [*map(why_stopped, runs)] for label, runs in results.items()}
    for label, why in ((one, why) for one in stopped for why in stopped[one] if why):
        console.print(f"{label} {why}.", soft_wrap=True)
    summary = summary_json(methods, target, title) | {"stopped": stopped}
    text = json.dumps(summary, indent=2, allow_nan=False)
    caption = _title(config, facts, local=lambda path: path.name)
    with disk_errors(folder, "the records are whole", "resume, for the summary"):
        write_atomic(folder / "summary.json", f"{text}\n")
        try:
            save_picture(results, caption, folder / "loss.png", target)
        except MissingExtraError as error:
            console.print(f"no picture: {error}", soft_wrap=True)
        else:
            console.print(f"picture  {folder / 'loss.png'}", soft_wrap=True)
    _close_phases(folder, caption, console)
    console.print(f"numbers  {folder / 'summary.json'}", soft_wrap=True)
    console.print(f"records  {folder}", soft_wrap=True)
    if best := _best_run(folder):
        to = f"--to {quoted(best / 'model')}"
        console.print(f"model    trimwave export {quoted(best)} {to}", soft_wrap=True)


def _close_phases(folder: Path, caption: str, console: Console) -> None:
    """Print and draw what a run over shaped links measured, if this is one."""
    rows = read_phases(folder)
    if not rows:
        return
    for line in ["", *phases_table(rows, console.width)]:
        console.print(line, soft_wrap=True)
    for line in wrapped(LEGEND, console.width):
        console.print(line, style="dim", soft_wrap=True)
    for line in error_lines(rows):
        console.print(line, soft_wrap=True)
    with disk_errors(folder, "the records are whole", "resume, for the picture"):
        with suppress(MissingExtraError):  # said of the other picture
            save_phases_picture(rows, caption, folder / PICTURE)
            console.print(f"phases   {folder / PICTURE}", soft_wrap=True)


def _best_run(folder: Path) -> Path | None:
    """Return the run with the least test loss on the full model, if one is begun."""
    losses = {}
    for manifest in sorted(folder.rglob("manifest.json")):
        if records := Run.open(manifest.parent).records():
            losses[manifest.parent] = records[best_round(records)][LOSS]
    return min(losses, key=losses.__getitem__, default=None)


def _title(
    config: Config, facts: Mapping[str, Any], local: Callable[[Path], str] = str
) -> str:
    """Say what the runs are of; `local` shortens names that are paths here."""
    model, data = (
        local(Path(name)) if Path(name).exists() else name
        for name in (config.model.name, config.data.source)
    )
    clients, rounds = config.cell.num_clients, config.rounds
    title = f"{model} on {data}, {clients} clients, {rounds} rounds"
    note = str(facts.get("model", {}).get("note", ""))
    return f"{title} ({note})" if note else title
