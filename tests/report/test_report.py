import builtins
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from trimwave.base.errors import MissingExtraError
from trimwave.recipe.config import Config
from trimwave.report.closing import close_report
from trimwave.report.picture import draw, save_picture
from trimwave.report.progress import RoundProgress
from trimwave.report.summary import numbers_of, summarise, summary_json, table
from trimwave.report.target import choose_target, first_at_or_below, target_lines

MIB = 2**20
LABELS = (
    "JCPBA*",
    "JCPBA",
    "UBFP",
    "FedBiOT",
    "DEFT",
    "Split LoRA",
    "LoRA",
    "LoRA uniform",
    "FedQLoRA",
    "Budget",
    "Personalised",
)


def record(number, virtual_s, emulator, full):
    """Two clients, both in the round."""
    return {
        "round": number,
        "virtual_s": virtual_s,
        "round_s": 2.0 * number,
        "loss_emulator": emulator,
        "loss_full": full,
        "train_loss": 1.0,
        "client_train_loss": [1.0, 1.0],
        "down_bytes": 8 * number * MIB,
        "up_bytes": 2 * number * MIB,
        "total_flops": number * 6 * 10**9,
        "plan": {
            "scheduled": [True, True],
            "prune_rate": [0.1 * number, 0.3 * number],
            "memory_bytes": [10**9 * number, 5 * 10**8],
            "install_s": 7.5,
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


def run_with(losses, step_s=1.0, untrained=2.5, emulator_shift=0.5):
    """Losses of the full model per round; every round takes `step_s`."""
    start = {"round": 0, "virtual_s": 0.0, "loss_full": untrained}
    start["loss_emulator"] = untrained + emulator_shift
    return [start] + [
        record(number, step_s * number, loss + emulator_shift, loss)
        for number, loss in enumerate(losses, start=1)
    ]


def cells_of(results):
    """Return a table as label to title to cell, numbers without white space."""
    target = choose_target(results)
    shown = table(numbers_of(results, target), target)
    methods, *others = [[str(one.header), *one.cells] for one in shown.columns]
    columns = [methods, *(["".join(cell.split()) for cell in one] for one in others)]
    (_, *titles), *rows = zip(*columns, strict=True)
    return {label: dict(zip(titles, row, strict=True)) for label, *row in rows}


def printed(results, width=80):
    console = Console(file=io.StringIO(), width=width, markup=False, emoji=False)
    target = choose_target(results)
    console.print(table(numbers_of(results, target), target))
    return console.file.getvalue()


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
            "install_s": 7.5,
            "prune_rate": 0.3,  # of 0.1, 0.3, 0.2, 0.6
            "down_mib": 6.0,  # 8 + 16, two clients, two rounds
            "up_mib": 1.5,
            "gflops": 4.5,
            "memory_gb": 2.0,  # client 0 in round 2
        }
    )


def test_who_is_not_scheduled_does_not_count():
    records = run()
    records[1]["client_train_loss"] = [None, 1.0]
    records[1]["plan"] |= {
        "scheduled": [False, True],
        "prune_rate": [None, 0.3],
        "memory_bytes": [0, 3 * 10**9],
    }
    summary = summarise(records)
    assert summary["down_mib"] == 8.0  # 8 + 16 over one and two clients
    assert summary["up_mib"] == 2.0
    assert summary["gflops"] == 6.0
    assert summary["memory_gb"] == 3.0
    assert summary["prune_rate"] == pytest.approx((0.3 + 0.2 + 0.6) / 3)


def test_a_run_without_a_round_in_numbers():
    summary = summarise(run()[:1])
    assert summary["rounds"] == 0
    assert summary["virtual_s"] == 0.0
    assert summary["loss_full"] == summary["loss_full_start"] == 2.5
    assert "round_s" not in summary


# The best of the first four of five rounds: 1.5 (round 3) and 1.9 (round 4).
FAST = [2.0, 1.9, 1.5, 1.6, 1.2]
SLOW = [2.4, 2.2, 2.0, 1.9, 1.1]


def test_the_target_of_one_seed_by_hand():
    results = {"fast": [run_with(FAST)], "slow": [run_with(SLOW, step_s=10.0)]}
    target = choose_target(results)
    assert target.loss_full == (1.9,)
    assert target.set_by == ("slow",)
    assert target.left_out == ()
    numbers = numbers_of(results, target)
    for label, number, time_s in (("fast", 2, 2.0), ("slow", 4, 40.0)):
        assert numbers[label]["target_rounds"].per_seed == (number,)
        assert numbers[label]["target_s"].per_seed == (time_s,)
    (line,) = target_lines(results, target)
    assert "loss, full 1.9000;" in line and "80 %" in line and "(slow)" in line


@pytest.mark.parametrize(
    ("num_rounds", "early"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (6, 5), (10, 8)]
)
def test_early_is_four_fifths_rounded_up(num_rounds, early):
    losses = [2.0 - 0.1 * number for number in range(num_rounds)]
    target = choose_target({"a": [run_with(losses)], "b": [run_with(losses)]})
    assert target.loss_full == (losses[early - 1],)


def test_every_seed_has_its_own_target():
    """Test rows differ by seed: 1.9 is easy in seed 0, out of reach in seed 1."""
    harder = [loss + 1.0 for loss in FAST]
    results = {
        "fast": [run_with(FAST), run_with(harder, untrained=3.5)],
        "slow": [run_with(SLOW), run_with([3.2, 3.1, 2.45, 2.4, 2.3], 3.0, 3.5)],
    }
    target = choose_target(results)
    assert target.loss_full == (1.9, 2.5)
    assert target.set_by == ("slow", "fast")
    assert target.mean_loss_full == pytest.approx(2.2)
    numbers = numbers_of(results, target)
    assert numbers["fast"]["target_rounds"].per_seed == (2, 3)
    assert numbers["slow"]["target_s"].per_seed == (4.0, 9.0)
    assert numbers["slow"]["target_s"].mean == 6.5
    assert numbers["slow"]["target_s"].deviation == pytest.approx(5 / np.sqrt(2))
    rows = cells_of(results)
    assert rows["fast"]["targetround"] == "2.50+-0.71"
    assert rows["slow"]["targets"] == "6.50+-3.54"
    (line,) = target_lines(results, target)
    assert "2.2000, mean of 2 seeds" in line and "(slow, fast)" in line


def test_a_target_is_met_with_equality_and_once():
    records = run_with([2.0, 1.5, 1.8, 1.5])
    assert first_at_or_below(records, 1.5)["round"] == 2
    assert first_at_or_below(records, 1.49) is None


def test_a_method_that_never_gets_there_shows_a_bound():
    stuck = run_with([2.6, 2.5, 2.7, 2.6, 2.6], step_s=3.0)
    results = {"fast": [run_with(FAST)], "stuck": [stuck]}
    target = choose_target(results)
    assert target.loss_full == (1.5,)
    assert target.left_out == ("stuck",)  # 2.5 is the untrained loss
    measure = numbers_of(results, target)["stuck"]["target_s"]
    assert measure.per_seed == (None,)
    assert (measure.mean, measure.is_exceeded) == (15.0, True)
    rows = cells_of(results)
    assert rows["stuck"]["targetround"] == ">5"
    assert rows["stuck"]["targets"] == ">15.0"
    assert "no say in the target: stuck" in target_lines(results, target)[1]


def test_one_seed_that_never_gets_there_makes_the_mean_a_bound():
    stuck = [run_with([2.0, 1.4, 1.3, 1.2, 1.2]), run_with([2.6] * 5)]
    results = {"fast": [run_with(FAST)] * 2, "half": stuck}
    target = choose_target(results)
    assert target.loss_full == (1.5, 1.5)
    assert target.left_out == ("half",)
    measure = numbers_of(results, target)["half"]["target_rounds"]
    assert measure.per_seed == (2.0, None)
    assert measure.mean == 3.5 and measure.deviation is None
    assert cells_of(results)["half"]["targetround"] == ">3.50"
    assert "of some seed" in target_lines(results, target)[1]


def test_without_any_progress_there_is_no_target():
    results = {"a": [run_with([2.5, 2.6])], "b": [run_with([2.7, 2.8])]}
    assert choose_target(results) is None
    (line,) = target_lines(results, None)
    assert line.startswith("no common target: the first 80 % of the rounds")
    rows = cells_of(results)
    assert "targets" not in rows["a"]
    assert rows["a"]["virtuals"] == "2.00"


def test_a_single_method_has_no_target():
    results = {"fast": [run_with(FAST), run_with(SLOW)]}
    assert choose_target(results) is None
    assert target_lines(results, None) == []
    assert list(cells_of(results)["fast"])[:2] == ["virtuals", "meanbeta"]


def test_the_target_does_not_depend_on_the_order_of_methods_or_seeds():
    slow = [3.2, 3.1, 2.45, 2.4, 2.3]
    results = {
        "fast": [run_with(FAST), run_with(SLOW)],
        "slow": [run_with(SLOW), run_with(slow, untrained=2.5)],
        "stuck": [run_with([2.6] * 5), run_with(FAST)],
    }
    swapped = {label: results[label][::-1] for label in reversed(results)}
    one, other = choose_target(results), choose_target(swapped)
    assert one.loss_full == other.loss_full[::-1]
    assert one.set_by == other.set_by[::-1]
    assert one.left_out == other.left_out == ("stuck",)


def test_the_table_of_one_seed():
    rows = cells_of({"JCPBA*": [run()], "UBFP": [run(0.25)]})
    assert list(rows) == ["untrained", "JCPBA*", "UBFP"]
    assert rows["JCPBA*"] == {
        "targetround": "2",
        "targets": "6.00",
        "sperround": "3.00",
        "set-ups": "7.50",
        "downMiB": "6.00",
        "upMiB": "1.50",
        "GFLOPs": "4.50",
        "peakGB": "2.00",
        "loss,emul.": "1.500",
        "loss,full": "1.250",
    }
    assert rows["UBFP"] == rows["JCPBA*"] | {"loss,emul.": "1.750"}
    assert rows["untrained"] == dict.fromkeys(rows["UBFP"], "") | {
        "loss,emul.": "3.000",
        "loss,full": "2.500",
    }


def test_an_untrained_loss_on_which_methods_differ_is_not_shown():
    results = {
        "UBFP": [run_with(FAST)],
        "FedBiOT": [run_with(FAST, emulator_shift=2.0)],
    }
    untrained = cells_of(results)["untrained"]
    assert untrained["loss,emul."] == ""
    assert untrained["loss,full"] == "2.500"


def test_the_table_of_several_seeds():
    rows = cells_of({"JCPBA*": [run(), run(0.1), run(0.5)]})
    deviation = np.std([1.5, 1.6, 2.0], ddof=1)
    assert rows["JCPBA*"]["loss,emul."] == f"1.700+-{deviation:.3f}"
    assert rows["JCPBA*"]["loss,full"] == "1.250"  # the seeds agree
    assert rows["JCPBA*"]["meanbeta"] == "0.30"


def test_the_table_of_a_run_that_has_just_begun():
    row = cells_of({"UBFP": [run()[:1]]})["UBFP"]
    shown = {title: cell for title, cell in row.items() if cell}
    assert shown == {"virtuals": "0", "loss,emul.": "3.000", "loss,full": "2.500"}


def full_set(num_seeds, num_rounds=20):
    """Return every method with numbers as wide as they come."""
    rng = np.random.default_rng(0)
    results = {}
    for place, label in enumerate(LABELS):
        runs = results.setdefault(label, [])
        for seed in range(num_seeds):
            noise = rng.uniform(0, 0.05, num_rounds)
            losses = 2.4 + 0.2 * seed - np.linspace(0.1, 1.0, num_rounds) - noise
            step_s = 97.31 * (1 + 0.1 * seed) * (1 + place)
            runs.append(run_with(losses.tolist(), step_s, untrained=2.5 + 0.2 * seed))
            for entry in runs[-1][1:]:
                entry |= {"round_s": 123.4, "down_bytes": 2 * 1234 * MIB}
                entry |= {"up_bytes": 2 * 123 * MIB, "total_flops": 10**13}
                entry["plan"] |= {"install_s": 1234.5, "memory_bytes": [12 * 10**9, 0]}
    return results


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_the_full_set_fits_a_narrow_terminal(num_seeds):
    results = full_set(num_seeds)
    text = printed(results)
    assert max(map(len, text.splitlines())) <= 80
    assert "..." not in text and "\u2026" not in text
    for label, row in cells_of(results).items():
        assert f"\n{label} " in text  # not folded
        # A number that is broken over two lines cannot be read.
        numbers = {part for cell in row.values() for part in cell.split("+-") if part}
        assert numbers <= set(text.replace("+-", " ").split())


def test_a_long_label_is_folded_rather_than_a_number():
    text = printed({"UBFP": [run()], "JCPBA* beta_min=0.1 beta_max=0.9": [run()]})
    assert max(map(len, text.splitlines())) <= 80
    assert text.split().count("1.500") == 2


def test_the_json_holds_the_numbers_of_the_table():
    results = full_set(3) | {"stuck": [run_with([9.0] * 20)] * 3}
    target = choose_target(results)
    numbers = numbers_of(results, target)
    said = json.loads(
        json.dumps(summary_json(numbers, target, "title"), allow_nan=False)
    )
    assert said["title"] == "title"
    assert said["target"]["loss_full"] == list(target.loss_full)
    assert said["target"]["mean_loss_full"] == target.mean_loss_full
    assert said["target"]["left_out"] == ["stuck"]
    rows = cells_of(results)
    assert [*said["methods"]] == [*rows][1:] == [*results]
    titles = {
        "target_s": "targets",
        "round_s": "sperround",
        "install_s": "set-ups",
        "down_mib": "downMiB",
        "up_mib": "upMiB",
        "gflops": "GFLOPs",
        "memory_gb": "peakGB",
        "loss_emulator": "loss,emul.",
        "loss_full": "loss,full",
    }
    for label, measures in said["methods"].items():
        for name, title in titles.items():
            mean, *deviation = rows[label][title].split("+-")
            assert mean.startswith(">") == measures[name]["is_exceeded"]
            close = {"rel": 5e-3, "abs": 5e-4}
            assert float(mean.strip(">")) == pytest.approx(
                measures[name]["mean"], **close
            )
            if deviation:
                assert float(deviation[0]) == pytest.approx(
                    measures[name]["deviation"], **close
                )
        losses = [records[-1]["loss_full"] for records in results[label]]
        assert measures["loss_full"]["per_seed"] == losses
        assert measures["loss_full"]["mean"] == pytest.approx(np.mean(losses))
    assert said["methods"]["stuck"]["target_s"]["per_seed"] == [None] * 3


def test_the_json_of_a_single_method_has_no_target():
    numbers = numbers_of({"UBFP": [run()]}, None)
    said = summary_json(numbers, None, "title")
    assert said["target"] is None
    assert "target_s" not in said["methods"]["UBFP"]


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_a_picture_is_saved(tmp_path, suffix, magic):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"loss.{suffix}"
    results = {"JCPBA*": [run(), run(0.1)], "UBFP": [run(0.2), run(0.3)]}
    save_picture(results, "gpt2 on $rows_1$.jsonl", path, choose_target(results))
    assert path.read_bytes().startswith(magic)
    assert path.stat().st_size > 5000


def lines_of(axis):
    """Return the methods' lines, by label."""
    lines = {line.get_label(): line for line in axis.lines}
    return {label: line for label, line in lines.items() if not label.startswith("_")}


def test_a_line_is_the_mean_over_seeds_and_the_band_their_range():
    pytest.importorskip("matplotlib")
    two = [run_with([2.0, 1.0], 2.0), run_with([1.0, 0.5], 4.0)]
    figure = draw({"UBFP": two, "LoRA": [run_with([2.0, 1.5])] * 2}, "title")
    emulator, full = figure.axes
    line = lines_of(full)["UBFP"]
    assert line.get_xdata().tolist() == [0.0, 3.0, 6.0]
    assert line.get_ydata().tolist() == [2.5, 1.5, 0.75]
    assert lines_of(emulator)["UBFP"].get_ydata().tolist() == [3.0, 2.0, 1.25]
    corners = {tuple(xy) for xy in full.collections[0].get_paths()[0].vertices}
    assert {(3.0, 1.0), (3.0, 2.0), (6.0, 0.5), (6.0, 1.0)} <= corners
    assert full.get_xlabel() == "virtual time [s]"


def test_one_seed_has_no_band():
    pytest.importorskip("matplotlib")
    figure = draw({"UBFP": [run()], "LoRA": [run()]}, "title")
    assert [len(axis.collections) for axis in figure.axes] == [0, 0]


def test_every_method_is_one_line_that_looks_like_no_other():
    pytest.importorskip("matplotlib")
    results = full_set(3)
    target = choose_target(results)
    figure = draw(results, "title", target)
    emulator, full = figure.axes
    for axis in figure.axes:
        lines = lines_of(axis)
        assert list(lines) == list(LABELS)
        looks = {(line.get_color(), line.get_linestyle()) for line in lines.values()}
        assert len(looks) == len(LABELS)
        assert len({line.get_marker() for line in lines.values()}) == len(LABELS)
        assert axis.get_legend() is None
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(LABELS)
    (dotted,) = (line for line in full.lines if line.get_linestyle() == ":")
    assert set(dotted.get_ydata()) == {target.mean_loss_full}
    assert not [line for line in emulator.lines if line.get_linestyle() == ":"]


def test_a_method_without_an_emulator_is_drawn_once():
    pytest.importorskip("matplotlib")
    whole = [run_with(FAST, emulator_shift=0.0)]
    figure = draw({"LoRA": whole, "UBFP": [run_with(FAST)]}, "title")
    emulator, full = map(lines_of, figure.axes)
    assert (list(emulator), list(full)) == (["UBFP"], ["LoRA", "UBFP"])
    assert emulator["UBFP"].get_color() == full["UBFP"].get_color()
    assert len(draw({"LoRA": whole}, "title").axes) == 1


@pytest.mark.parametrize(("ratio", "scale"), [(19.0, "linear"), (21.0, "symlog")])
def test_the_time_axis_is_logarithmic_if_times_differ_much(ratio, scale):
    pytest.importorskip("matplotlib")
    results = {"fast": [run_with(FAST, 3.0)], "slow": [run_with(SLOW, 3.0 * ratio)]}
    for axis in draw(results, "title").axes:
        assert axis.get_xscale() == scale
        assert ("logarithmic from 1 s on" in axis.get_xlabel()) == (scale == "symlog")
        assert axis.get_xlim()[0] == 0
        assert axis.get_xlim()[1] > 15.0 * ratio


def test_a_picture_of_runs_that_have_just_begun():
    pytest.importorskip("matplotlib")
    figure = draw({"UBFP": [run()[:1]], "JCPBA*": [run()[:1]]}, "title")
    assert list(lines_of(figure.axes[1])) == ["UBFP", "JCPBA*"]


def no_matplotlib(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError("No module", name="matplotlib")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    no_matplotlib(monkeypatch)
    said = r"pip install 'trimwave\[report\]'"
    with pytest.raises(MissingExtraError, match=said):
        save_picture({"UBFP": [run()]}, "title", tmp_path / "loss.png")
    assert not (tmp_path / "loss.png").exists()


def closed(folder, results):
    """Close a comparison in a folder; return what it printed."""
    run_folder = folder / "jcpba-s0"
    run_folder.mkdir()
    manifest = {"config": {}, "model": {"note": "quantised"}}
    (run_folder / "manifest.json").write_text(json.dumps(manifest))
    console = Console(file=io.StringIO(), width=80, markup=False, emoji=False)
    close_report(results, replace(Config(), rounds=20), folder, console)
    return console.file.getvalue()


def test_the_end_of_a_comparison(tmp_path):
    pytest.importorskip("matplotlib")
    results = full_set(2)
    text = closed(tmp_path, results)
    paths = [tmp_path / name for name in ("loss.png", "summary.json")]
    assert all(str(path) in text for path in paths)
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    target = choose_target(results)
    title = text.splitlines()[1]
    assert title.endswith("20 rounds (quantised)")
    expected = summary_json(numbers_of(results, target), target, title)
    said = json.loads(paths[1].read_text())
    assert said == json.loads(json.dumps(expected))
    order = ["20 rounds", "method", "Personalised", "target: loss, full", "loss.png"]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_the_end_without_matplotlib_still_leaves_the_numbers(tmp_path, monkeypatch):
    no_matplotlib(monkeypatch)
    text = closed(tmp_path, {"JCPBA*": [run()]})
    assert "no picture: " in text and "target" not in text
    assert json.loads((tmp_path / "summary.json").read_text())["target"] is None


def shown_rounds(console, records):
    with RoundProgress(console, "JCPBA*", num_rounds=2, num_clients=2) as progress:
        for entry in records:
            progress.on_client(0)
            progress.on_client(1)
            progress.on_record(entry)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_round_is_one_line_where_there_is_no_terminal(width):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    lines = shown_rounds(console, run())
    assert len(lines) == 3
    assert lines[0].split()[:3] == ["JCPBA*", "round", "0/2"]
    assert "loss 1.5000 emulator, 1.2500 full" in lines[2]
    assert lines[2].endswith("last: client 1, beta 0.60")


def test_a_round_of_a_method_that_prunes_nothing():
    records = run()
    records[1]["plan"]["prune_rate"] = [None, 0.0]
    lines = shown_rounds(Console(file=io.StringIO(), width=80), records)
    assert lines[1].endswith("last: client 1")


def test_a_terminal_shows_who_is_at_work():
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with RoundProgress(console, "UBFP", num_rounds=2, num_clients=2) as progress:
        progress.on_record(run()[0])
        progress.on_client(1)
        progress._bar.refresh()
        progress.on_record(run()[1])
    assert "UBFP round 1/2 client 1" in console.file.getvalue()
