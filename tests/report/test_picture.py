import itertools

import pytest
from made_up import FAST, LABELS, SLOW, full_set, no_matplotlib, run, run_with

from trimwave.base.errors import MissingExtraError
from trimwave.report.line_labels import places
from trimwave.report.picture import draw, save_picture
from trimwave.report.target import choose_target


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
        assert set(LABELS) <= {text.get_text() for text in axis.texts}
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


def test_a_panel_names_who_is_not_on_it():
    pytest.importorskip("matplotlib")
    whole = [run_with(FAST, emulator_shift=0.0)]
    emulator, full = draw({"LoRA": whole, "UBFP": [run_with(FAST)]}, "title").axes
    texts = [text.get_text() for text in emulator.texts]
    assert texts == ["not here, the full model being theirs: LoRA", "UBFP"]
    assert [text.get_text() for text in full.texts] == ["LoRA", "UBFP"]


def test_a_line_under_others_is_wider_than_they():
    pytest.importorskip("matplotlib")
    alike = {"A": [run_with(FAST)], "B": [run_with(FAST)], "C": [run_with(SLOW)]}
    lines = lines_of(draw(alike, "title").axes[1])
    assert lines["A"].get_linewidth() > lines["B"].get_linewidth()
    assert lines["B"].get_linewidth() == lines["C"].get_linewidth()
    assert lines["A"].get_zorder() == lines["B"].get_zorder()  # drawn in this order


def test_no_name_lies_upon_another():
    ends = [(0.0, 0.0), (0.0, 0.0), (10.0, 3.0), (500.0, 0.0), (2.0, -4.0)]
    boxes = places(ends, ["JCPBA*", "JCPBA", "Split LoRA", "UBFP", "personalised"])
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    assert [box.bottom + box.height / 2 for box in boxes[::3]] == [0.0, 0.0]


@pytest.mark.parametrize("ratio", [1.0, 21.0])
def test_every_name_ends_inside_its_panel(ratio):
    pytest.importorskip("matplotlib")
    results = {
        "a method of a long name": [run_with(SLOW, 3.0 * ratio)],
        "fast": [run_with(FAST, 3.0)],
    }
    figure = draw(results, "title", choose_target(results))
    figure.draw_without_rendering()
    for axis in figure.axes:
        for name in axis.texts:
            box = name.get_window_extent()
            assert axis.bbox.x0 <= box.x0 < box.x1 <= axis.bbox.x1


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


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    no_matplotlib(monkeypatch)
    said = r"pip install 'trimwave\[report\]'"
    with pytest.raises(MissingExtraError, match=said):
        save_picture({"UBFP": [run()]}, "title", tmp_path / "loss.png")
    assert not (tmp_path / "loss.png").exists()
