import builtins
import io

import numpy as np
import pytest
from rich.console import Console

from trimwave.errors import MissingExtraError
from trimwave.report.picture import save_picture
from trimwave.report.progress import RoundProgress
from trimwave.report.summary import summarise, table

MIB = 2**20


def record(number, virtual_s, emulator, full):
    return {
        "round": number,
        "virtual_s": virtual_s,
        "round_s": 2.0 * number,
        "loss_emulator": emulator,
        "loss_full": full,
        "down_bytes": 8 * number * MIB,
        "up_bytes": 2 * number * MIB,
        "total_flops": number * 6 * 10**9,
        "plan": {
            "prune_rate": [0.1 * number, 0.3 * number],
            "straggler": 1,
        },
    }


def run(shift=0.0):
    """Two rounds of two clients, and the state before them."""
    start = {"round": 0, "virtual_s": 0.0, "loss_emulator": 3.0, "loss_full": 2.5}
    return [
        start,
        record(1, 2.0, 2.0 + shift, 1.75),
        record(2, 6.0, 1.5 + shift, 1.25),
    ]


def cells_of(results):
    """Return a table as label to cells, without the white space of the layout."""
    columns = [list(column.cells) for column in table(results).columns]
    rows = [
        ["".join(str(cell).split()) for cell in row]
        for row in zip(*columns, strict=True)
    ]
    return {label: cells for label, *cells in rows}


def test_a_run_in_numbers():
    assert summarise(run()) == pytest.approx(
        {
            "rounds": 2.0,
            "virtual_s": 6.0,
            "loss_emulator_start": 3.0,
            "loss_full_start": 2.5,
            "loss_emulator": 1.5,
            "loss_full": 1.25,
            "round_s": 3.0,  # of 2 and 4
            "prune_rate": 0.3,  # of 0.2 and 0.4
            "down_mib": 6.0,  # of 8 and 16, over two clients
            "up_mib": 1.5,
            "gflops": 4.5,  # of 6 and 12, over two clients
        }
    )


def test_a_run_without_a_round_in_numbers():
    summary = summarise(run()[:1])
    assert summary["rounds"] == 0
    assert summary["virtual_s"] == 0.0
    assert summary["loss_full"] == summary["loss_full_start"] == 2.5
    assert "round_s" not in summary


def test_the_table_of_one_seed():
    rows = cells_of({"JCPBA*": [run()], "UBFP": [run(0.25)]})
    assert list(rows) == ["untrained", "JCPBA*", "UBFP"]
    assert rows["untrained"] == [""] * 7 + ["3.000", "2.500"]
    numbers = ["2", "6.0", "3.0", "0.300", "6.0", "1.5", "4.5"]
    assert rows["JCPBA*"] == [*numbers, "1.500", "1.250"]
    assert rows["UBFP"] == [*numbers, "1.750", "1.250"]


def test_the_table_of_several_seeds():
    rows = cells_of({"JCPBA*": [run(), run(0.1), run(0.5)]})
    deviation = np.std([1.5, 1.6, 2.0], ddof=1)
    assert rows["JCPBA*"][-2] == f"1.700+-{deviation:.3f}"
    assert rows["JCPBA*"][-1] == "1.250"  # the seeds agree


def test_the_table_of_a_run_that_has_just_begun():
    rows = cells_of({"UBFP": [run()[:1]]})
    assert rows["UBFP"] == ["0", "0.0", *[""] * 5, "3.000", "2.500"]


def test_the_table_fits_a_narrow_terminal():
    console = Console(file=io.StringIO(), width=80)
    console.print(table({"JCPBA*": [run(), run(0.125)]}))
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "..." not in text and "\u2026" not in text
    # A number that is broken over two lines cannot be read.
    numbers = text.split()
    assert {"1.562", "1.250", "0.300", "3.000", "2.500"} <= set(numbers)


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_a_picture_is_drawn(tmp_path, suffix, magic):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"loss.{suffix}"
    results = {"JCPBA*": [run(), run(0.1)], "UBFP": [run(0.2)]}
    save_picture(results, "gpt2 on rows_1.jsonl, 2 clients", path)
    assert path.read_bytes().startswith(magic)
    assert path.stat().st_size > 5000


def test_every_method_has_one_colour_and_one_label(tmp_path, monkeypatch):
    figure_module = pytest.importorskip("matplotlib.figure")
    seen = []
    monkeypatch.setattr(
        figure_module.Figure, "savefig", lambda self, *a, **k: seen.append(self)
    )
    results = {"JCPBA*": [run(), run(0.1)], "UBFP": [run(0.2)]}
    save_picture(results, "title", tmp_path / "loss.png")
    (figure,) = seen
    assert len(figure.axes) == 2
    for axis, name in zip(figure.axes, ("loss_emulator", "loss_full"), strict=True):
        assert len({line.get_color() for line in axis.lines}) == 2
        labels = [text.get_text() for text in axis.get_legend().get_texts()]
        assert labels == ["JCPBA*", "UBFP"]
        assert axis.lines[0].get_xdata().tolist() == [0.0, 2.0, 6.0]
        drawn = axis.lines[0].get_ydata().tolist()
        assert drawn == [entry[name] for entry in run()]


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError("No module", name="matplotlib")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    said = r"pip install 'trimwave\[report\]'"
    with pytest.raises(MissingExtraError, match=said):
        save_picture({"UBFP": [run()]}, "title", tmp_path / "loss.png")
    assert not (tmp_path / "loss.png").exists()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_round_is_one_line_where_there_is_no_terminal(width):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    with RoundProgress(console, "JCPBA*", num_rounds=2, num_clients=2) as progress:
        for entry in run():
            progress.on_client(0)
            progress.on_client(1)
            progress.on_record(entry)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].split()[:3] == ["JCPBA*", "round", "0/2"]
    assert "loss 1.5000 emulator, 1.2500 full" in lines[2]
    assert lines[2].endswith("last: client 1, beta 0.60")


def test_a_terminal_shows_who_is_at_work():
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with RoundProgress(console, "UBFP", num_rounds=2, num_clients=2) as progress:
        progress.on_record(run()[0])
        progress.on_client(1)
        progress._bar.refresh()
        progress.on_record(run()[1])
    assert "UBFP round 1/2 client 1" in console.file.getvalue()
