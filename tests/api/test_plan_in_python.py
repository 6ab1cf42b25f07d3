import io

import numpy as np
import pytest
from helpers import make_situation
from rich.console import Console

import trimwave as tw
from trimwave.report import sheet
from trimwave.sweep.one_round import plan_cell

CHANGES = {"cell.num_clients": 3, "seed": 5}


@pytest.fixture(scope="module")
def planned():
    return tw.plan("gpt2-medium", method="ubfp", **CHANGES)


def test_a_plan_is_the_commands(planned, monkeypatch, capsys):
    from trimwave.cli import app as cli

    words = ["plan", "gpt2-medium", "--method", "ubfp", "--seed", "5"]
    words += ["--set", "cell.num_clients=3"]
    monkeypatch.setattr("sys.argv", ["trimwave", *words])
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("warnings.showwarning", None)
    with pytest.raises(SystemExit):
        cli.main()
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert str(planned).splitlines() == printed
    assert str(planned.table()) == repr(planned.table()) == str(planned)


def test_nothing_is_printed(capsys):
    tw.plan("gpt2-medium", **CHANGES)
    assert capsys.readouterr() == ("", "")


def test_rows_are_one_per_client(planned):
    rows = planned.to_rows()
    assert [row["client"] for row in rows] == [0, 1, 2]
    assert [row["total_s"] for row in rows] == planned.plan.total_s.tolist()
    assert max(row["total_s"] for row in rows) == planned.latency_s
    assert planned.record["latency_s"] == planned.latency_s
    frame = pytest.importorskip("pandas") and planned.to_pandas()
    assert frame["bandwidth_hz"].sum() == pytest.approx(100e6)


def test_a_plot_shows_every_clients_seconds(planned):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    given = Figure().subplots()
    axes = planned.plot(ax=given)
    assert axes is given
    widths = [sum(bar[k].get_width() for bar in axes.containers) for k in range(3)]
    assert widths == pytest.approx(planned.plan.total_s.tolist())
    assert "UBFP" in axes.get_title()


def test_a_notebook_shows_the_table(planned):
    assert planned._repr_html_() == f"<pre>{planned}</pre>"
    console = Console(file=io.StringIO(), width=90)
    console.print(planned.table())
    assert "round" in console.file.getvalue()
    many = sheet.Sheet(content=planned.table().content, lines=("a <b> & c",))
    assert "a &lt;b&gt; &amp; c" in many._repr_html_()


def test_methods_are_named_or_given():
    same = [
        tw.plan(method=one, **CHANGES).plan.record()
        for one in ("jcpba:solver=bcd", tw.Jcpba(solver="bcd"))
    ]
    assert same[0] == same[1]
    assert tw.plan(method=tw.Lora, **CHANGES).label == "LoRA"


def test_a_cell_or_a_table_of_clients_in_place_of_a_recipe(tmp_path):
    situation = make_situation(0, num_clients=3)
    planned = tw.plan(situation.cell, model={"name": "gpt2-medium"})
    assert planned.situation.cell is situation.cell
    assert planned.plan.num_clients == 3
    table = tmp_path / "fleet.csv"
    table.write_text(
        "speed_flops_per_s,memory_bytes,snr_down_db,snr_up_db\n"
        "0.5e12,4e9,50,30\n2e12,8e9,70,50\n"
    )
    assert tw.plan(table).plan.num_clients == 2
    two = tw.plan(str(table), method="ubfp", limits={"beta_bar": 0.4})
    assert np.allclose(two.plan.prune_rate, 0.4)


def test_rows_name_the_clients(tmp_path):
    table = tmp_path / "fleet.csv"
    lines = "b 1,500,8,20,0.2\na,900,8,50,0.1\n"
    table.write_text(f"client,speed_gflops,memory_gb,rate_mbps,power_tx_w\n{lines}")
    rows = tw.plan(table, cell={"joule_per_flop": 1e-10}).to_rows()
    assert [row["client"] for row in rows] == ["b 1", "a"]
    assert all(row["energy_j"] > 0 for row in rows)


def test_errors_are_exceptions_and_idle_keys_warnings():
    with pytest.raises(tw.InputError, match="no method `jcbpa`; did you mean `jcpba`"):
        tw.plan(method="jcbpa")
    with pytest.raises(tw.InfeasibleError, match="C5"):
        tw.plan("gpt2-medium", limits={"beta_bar": 0.01})
    with pytest.warns(UserWarning, match="trains nothing: `train.learning_rate`"):
        tw.plan("gpt2-medium", train={"learning_rate": 1e-4})
    with pytest.warns(UserWarning, match="while `radio.fading` is none: --round"):
        tw.plan("gpt2-medium", round_=2, radio={"fading": "none"})


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"cell": {"num_clients": 5}}, "`cell.num_clients`"),
        ({"radio.path_loss_db": 90}, "`radio.path_loss_db`"),
        ({"seed": 3}, "`seed`"),
        ({"round_": 2}, "`round_`"),
        ({"time_s": 1.5}, "`time_s`"),
    ],
)
def test_beside_a_cell_nothing_else_says_who_is_there(changes, key):
    cell = make_situation(0, num_clients=3).cell
    with pytest.raises(tw.InputError, match=f"{key}: a `Cell` has its own clients"):
        tw.plan(cell, **changes)


def test_beside_a_cell_what_has_no_effect_is_said():
    cell = make_situation(0, num_clients=3).cell
    with pytest.warns(UserWarning, match="trains nothing: `train.learning_rate`"):
        tw.plan(cell, train={"learning_rate": 1e-4})
    with pytest.raises(tw.InputError, match=r"none.csv: cannot be read"):
        tw.plan(cell, limits={"damage": "none.csv"})


@pytest.mark.parametrize(
    "changes", [{"cell.clients": "b.csv"}, {"cell": {"clients": "b.csv"}}]
)
def test_two_tables_are_refused(changes):
    with pytest.raises(tw.InputError, match=r"a.csv gives the clients; leave `cell.cl"):
        tw.plan("a.csv", **changes)


def test_a_trace_in_seconds_is_asked_at_one(tmp_path):
    lines = ["time_s,client,gain_down_db,gain_up_db"]
    lines += [f"{at},{k},{db},{db}" for at, db in ((0, -70), (10, -90)) for k in (0, 1)]
    (tmp_path / "trace.csv").write_text("\n".join(lines) + "\n")
    trace = {"cell.num_clients": 2, "radio.trace": str(tmp_path / "trace.csv")}
    early, late = (
        tw.plan("gpt2-medium", **trace, time_s=at).plan.latency_s for at in (0.0, 10.0)
    )
    assert early < late


def test_the_command_and_the_call_plan_alike(planned):
    from trimwave.api.recipes import read_recipe

    config = read_recipe("gpt2-medium", CHANGES).config
    _, plan = plan_cell(config, "ubfp")
    assert plan.record() == planned.plan.record()
