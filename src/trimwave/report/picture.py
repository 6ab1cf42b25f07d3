"""Loss against virtual time, as the letter's Fig. 2."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trimwave.errors import MissingExtraError
from trimwave.report.summary import Records

PANELS = {
    "loss_emulator": "adapter on the emulator pruned at beta_bar",
    "loss_full": "adapter plugged into the full model",
}


def save_picture(
    results: Mapping[str, Sequence[Records]], title: str, path: Path
) -> None:
    """Draw test loss over virtual time, one line per method and seed.

    Parameters
    ----------
    results : mapping
        Label of a method to its runs, one per seed.
    title : str
        What it was made with: model, data, clients.
    path : Path
        A PNG, SVG or PDF.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as missing:
        raise MissingExtraError("report", str(missing.name)) from missing

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes: list[Any] = list(figure.subplots(1, len(PANELS)))
    for axis, (name, panel) in zip(axes, PANELS.items(), strict=True):
        for number, (label, runs) in enumerate(results.items()):
            for seed, records in enumerate(runs):
                axis.plot(
                    [record["virtual_s"] for record in records],
                    [record[name] for record in records],
                    color=f"C{number}",
                    marker="o",
                    markersize=3,
                    alpha=1.0 if len(runs) == 1 else 0.6,
                    label=label if seed == 0 else None,
                )
        axis.set_title(panel, fontsize=10)
        axis.set_xlabel("virtual time [s]")
        axis.set_ylabel("test loss [nat/answer token]")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle(title, fontsize=11, parse_math=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name in the title
        figure.savefig(path, dpi=150)
