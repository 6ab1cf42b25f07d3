import json
import warnings

import pytest
from cells import HEADER

from trimwave.report.plan_table import MEANINGS

SETTING = [
    "--set=model.name=gpt2-medium",
    "--set=train.num_local_steps=30",
    "--set=train.seq_len=256",
    "--set=cell.total_bandwidth_hz=20e6",
]
DOWN_UP = ("0.5e12,4e9,20.5,10.5\n", "1e12,4e9,25.0,15.0\n", "2e12,8e9,30.5,20.5\n")
TABLE = HEADER + "".join(DOWN_UP)


@pytest.fixture
def planned(trimwave, tmp_path):
    """Write a table, plan it, and return its latency [s]."""

    def _planned(content, name="cell.csv"):
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(data)
        code, out, err = trimwave("plan", name, "--json", *SETTING)
        assert (code, err) == (0, "")
        return json.loads(out)["latency_s"]

    return _planned


@pytest.fixture
def named(refused, tmp_path):
    """Write a table that is refused, and return the line of error."""

    def _named(content, name="cell.csv"):
        (tmp_path / name).write_text(content)
        return refused("plan", name, *SETTING)

    return _named


def test_a_table_is_planned_however_it_is_written(planned):
    assert planned(TABLE) == pytest.approx(62.200627, abs=1e-6)
    written = {
        "bom.csv": TABLE.encode("utf-8-sig"),
        "wide.CSV": TABLE.encode("utf-16"),
        "cell.tsv": TABLE.replace(",", "\t"),
        "cell.TXT": TABLE.replace(",", " ; ").replace("\n", "\r\n"),
        "bars.Tsv": TABLE.replace(",", "|").upper(),
    }
    for name, content in written.items():
        assert planned(content, name) == planned(TABLE)


def test_a_misspelt_column_is_not_passed_over(planned, named):
    rows = ["0.5e12,4e9,20,10", "1e12,4e9,25,15", "2e12,8e9,30,20"]
    bound = HEADER.strip() + ",bandwidth_max_hz\n"
    bound += "".join(f"{row},2e6\n" for row in rows)
    said = named(bound.replace("bandwidth", "bandwith"))
    assert "cell.csv, line 1: unknown column 'bandwith_max_hz'" in said
    assert "did you mean `bandwidth_max_hz`?" in said
    assert planned(bound) == pytest.approx(203.701968, abs=1e-6)


def test_decimal_commas_are_named(named):
    rows = (
        "".join(DOWN_UP).replace(".5e12", "#").replace(".", ",").replace("#", ".5e12")
    )
    said = named(HEADER + rows)
    assert "line 2: 6 cells for 4 columns, in excess: '10', '5'; decimal commas" in said
    said = named(
        (HEADER + "#").replace(",", ";").replace("#", "0,5e12;4e9;20,5;10,5\n")
    )
    assert "line 2, column `speed_flops_per_s`: must be a number in FLOP/s" in said
    assert "got '0,5e12'; a decimal comma is suspected; write a point" in said


def test_a_client_out_of_reach_is_named(named):
    rows = "0.5e12,4e9,50,30\n1e12,4e9,-150,-150\n2e12,8e9,70,50\n"
    said = named(HEADER + rows)
    assert "cell.csv, line 3, column `snr_down_db`: client 1 is out of reach" in said
    assert "correct the value, or take the line out of the file" in said


def test_a_client_that_takes_days_is_warned_of(trimwave, tmp_path):
    warnings.simplefilter("always")  # pytest puts its own filters back
    rows = "0.5e12,4e9,50,30\n1e12,4e9,-45,-65\n2e12,8e9,70,50\n"
    (tmp_path / "cell.csv").write_text(HEADER + rows)
    code, _, err = trimwave("plan", "cell.csv", *SETTING)
    assert code == 0
    assert "warning: client 1 alone, with the whole band, takes " in err
    assert " days for its part of the round" in err


def test_the_table_fits_whatever_its_numbers(trimwave, tmp_path, monkeypatch):
    warnings.simplefilter("ignore")  # pytest puts its own filters back
    monkeypatch.setenv("COLUMNS", "80")
    rows = "0.5e12,4e9,50,30\n1e12,4e9,-65,-60\n2e12,8e9,70,50\n"
    (tmp_path / "cell.csv").write_text(HEADER + rows)
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = trimwave("plan", "cell.csv", *SETTING)
    assert code == 0
    assert "…" not in out
    (header, _, *clients) = out.splitlines()[1:6]
    assert header.split() == " ".join(MEANINGS).replace("up MHz ", "").split()
    assert all(len(line) <= 80 for line in (header, *clients))
    numbers = [line.split()[3] for line in clients]
    assert len(set(numbers)) == 1 and float(numbers[0]) > 1e8


@pytest.mark.parametrize("command", ["run", "compare", "sweep"])
@pytest.mark.parametrize("name", ["cell.csv", "cell.TSV", "none.Txt"])
def test_a_table_is_no_recipe(refused, tmp_path, command, name):
    (tmp_path / "cell.csv").write_text(TABLE)
    said = refused(command, name)
    assert f"{name} is a table by its name, no recipe in TOML" in said


def test_a_recipe_cannot_extend_a_table(refused, tmp_path):
    (tmp_path / "cell.txt").write_text("rounds = 3\n")
    (tmp_path / "my.toml").write_text('extends = "cell.txt"\n')
    assert "cell.txt is a table by its name" in refused("plan", "my.toml")


@pytest.mark.parametrize("name", ["cell.xlsx", "cell.csv", "cell.csv.gz"])
def test_a_workbook_is_named(refused, tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04 and more")
    assert f"{name}: no text but a zip archive, such as an Exc" in refused("plan", name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("cell.base_speed_flops_per_s=1.0", "if it is in TFLOP/s, write 1e12"),
        ("cell.server_speed_flops_per_s=50", "if it is in TFLOP/s, write 5e13"),
        ("cell.speed_factor=[0.5e12,2e12]", "`cell.speed_factor` times"),
        ("cell.memory_bytes=[4,8]", "`cell.memory_bytes` must be in byte, got 4: "),
        ("cell.total_bandwidth_hz=100", "if it is in MHz, write 1e8"),
        ("radio.path_loss_db=-60", "a loss below 0 dB is a gain with the wrong sign"),
        ("radio.path_loss_db=250", "in round 1, client 6 is out of reach: its uplink"),
        ("radio.noise_psd_dbm_per_hz=174", "write -174"),
    ],
)
def test_a_recipes_value_in_another_unit_is_named(refused, change, said):
    assert said in refused("plan", "--set", change)


def test_a_recipes_odd_value_is_warned_of_once(trimwave):
    warnings.simplefilter("default")  # pytest puts its own filters back
    code, _, err = trimwave("plan", "--json", "--set", "radio.client_power_w=23")
    assert code == 0
    expected = "is 23, unusual in W; if it is in dBm, write 0.2."
    assert err == f"warning: `radio.client_power_w` {expected}\n"


def test_a_trace_of_losses_is_refused(trimwave, refused, tmp_path):
    rows = [(at, k, -90.5 - k - at) for at in range(2) for k in range(3)]
    lines = [f"{at},{k},{gain},{gain}" for at, k, gain in rows]
    trace = "\n".join(["round,client,gain_down_db,gain_up_db", *lines])
    (tmp_path / "gain.TXT").write_text(trace)
    (tmp_path / "loss.csv").write_text(trace.replace("-", ""))
    three = ["gpt2-medium", "--solver", "exact", "--set", "cell.num_clients=3"]
    code, _, err = trimwave("plan", *three, "--set", "radio.trace=gain.TXT")
    assert (code, err) == (0, "")
    said = refused("plan", *three, "--set", "radio.trace=loss.csv")
    assert "loss.csv, line 2, column `gain_down_db`: must be in dB, got 90.5" in said
    assert "a gain above 0 dB is a loss with the wrong sign" in said
    lost = trace.replace("-92.5,-92.5\n1,0", "-290,-290\n1,0")
    (tmp_path / "lost.csv").write_text(lost)
    said = refused("plan", *three, "--set", "radio.trace=lost.csv")
    place = "lost.csv, line 4, column `gain_up_db`: round 0, client 2 is out of reach"
    assert place in said
    assert "correct the gain, or take this client out of every round" in said
