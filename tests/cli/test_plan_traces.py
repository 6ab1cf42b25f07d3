"""`trimwave plan` over traces."""

import json
import warnings

import pytest

HEAD = "time_s,client,snr_down_db,snr_up_db"
ROWS = ["0,ue2,20,10", "0,ue10,30,20", "1,ue2,10,0", "2,ue2,15,5", "2,ue10,12,2"]
TWO = ("--set", "cell.num_clients=2", "--set", "radio.trace=phones.csv")
ABSENT = (*TWO, "--set", "radio.trace_holes=absent")


@pytest.fixture
def phones(tmp_path):
    def write(rows=ROWS, head=HEAD):
        (tmp_path / "phones.csv").write_text("\n".join([head, *rows]))

    write()
    return write


def planned(trimwave, *arguments):
    code, out, err = trimwave("plan", "--json", *arguments)
    assert (code, err) == (0, "")
    return json.loads(out)


def test_the_second_that_is_planned(trimwave, refused, phones):
    first = planned(trimwave, *ABSENT)
    assert first["client_ids"] == ["ue2", "ue10"]
    assert planned(trimwave, *ABSENT, "--time", "3.7") == first  # it starts again
    second = planned(trimwave, *ABSENT, "--time", "1.5")
    assert second["scheduled"] == [True, False]
    assert second["binding"][1] == "absent"
    assert "`--time`" not in refused("plan", *ABSENT, "--time", "-1")
    assert "when a round begins depends" in refused("plan", *ABSENT, "--round", "2")
    assert "--time is a second of a trace" in refused("plan", "--time", "1")
    code, out, _ = trimwave("plan", *ABSENT, "--time", "1")
    assert code == 0 and "1 of 2 clients scheduled" in out


@pytest.mark.parametrize(
    ("rows", "head", "said"),
    [
        (ROWS, HEAD, "no SNR for second 1, client ue10; it begins in line 4"),
        (ROWS, HEAD.replace("time_s", "clock"), "unknown column 'clock'"),
        (ROWS, HEAD.replace("time_s", "_t"), "no column `round` or `time_s`"),
        (["0,1,2"], "time_s,round,client", "both `round` and `time_s`; keep one"),
        (["0,1"], "round,client", "no column of links; expected a gain, an SNR or"),
        (["0,1,2"], "round,client,snr_down_db", "no column `snr_up_db`, but"),
        (
            ["0,1,2,3"],
            "round,client,gain_down_db,snr_up_db",
            "links in two ways (`gain_down_db`, `snr_up_db`)",
        ),
        (
            ["0,a,2,3", "0,1,2,3", "1,a,2,3"],
            HEAD,
            "line 3, column `client`: the id '1'",
        ),
        (["0,a,2,3,yes"], f"{HEAD},available", "a whole number, got 'yes'"),
        (["0,a,2,3,2"], f"{HEAD},available", "must be 0 or 1, got 2"),
        (["0,a,,3"], HEAD, "line 2, column `snr_down_db`: no value; fill it in"),
        (["0,a,1,3", "1,a,1,3", "2,a,1,3", "7,a,1,1"], HEAD, "after second 2 comes"),
        (["-1,a,1,3"], HEAD, "column `time_s`: must be in s, got -1"),
        (
            ["0,a,20,3"],
            "time_s,client,rate_down_mbps,rate_up_kbps",
            "the trace has 1 clients, the cell 2",
        ),
        (
            ["0,a,2e7,3"],
            "time_s,client,rate_down_mbps,rate_up_kbps",
            "must be in Mbit/s, got 2e7",
        ),
    ],
)
def test_what_is_wrong_is_one_line(refused, phones, rows, head, said):
    phones(rows, head)
    error = refused("plan", *TWO)
    assert said in error and "phones.csv" in error or "the trace has" in error


def test_keys_that_the_trace_leaves_without_effect(trimwave, phones):
    rows = [f"{row},1e12" for row in ROWS]
    phones(rows, f"{HEAD},speed_flops_per_s")
    named = ("cell.base_speed_flops_per_s=2e12",)
    asked = [part for one in named for part in ("--set", one)]
    warnings.simplefilter("default")  # pytest puts its own filters back
    code, _, err = trimwave("plan", *ABSENT, *asked)
    assert code == 0
    assert "gives that: `cell.base_speed_flops_per_s`" in err
    _, _, err = trimwave("plan", "--set", "radio.trace_holes=hold")
    assert "without `radio.trace`: `radio.trace_holes`" in err


def test_a_fleets_ids_are_matched(trimwave, refused, phones, tmp_path):
    (tmp_path / "fleet.csv").write_text(
        "client,speed_tflops,memory_gb\nue10,1,8\nue3,1,8\nue2,2,8\n"
    )
    fleet = ("--set", "cell.clients=fleet.csv", "--set", "radio.trace=phones.csv")
    asked = (*fleet, "--set", "radio.trace_holes=absent")
    assert "nothing of client ue3" in refused("plan", *fleet)
    warnings.simplefilter("default")  # pytest puts its own filters back
    code, out, err = trimwave("plan", "--json", *asked)
    assert "phones.csv: client ue3 is never there" in err
    plan = json.loads(out)
    assert code == 0
    assert plan["client_ids"] == ["ue10", "ue3", "ue2"]
    assert plan["scheduled"] == [True, False, True]
    phones([row.replace("ue10", "ue11") for row in ROWS])
    said = refused("plan", *asked)
    assert (
        "line 3, column `client`: the cell has no client 'ue11'; did you mean" in said
    )


def test_what_is_held(trimwave, refused, phones):
    held = (*TWO, "--set", "radio.trace_holes=hold")
    phones([*ROWS, "7,ue2,1,1"])
    assert planned(trimwave, *held, "--time", "1.5")["scheduled"] == [True, True]
    phones(["0,ue2,1,1", *ROWS[3:]])
    said = refused("plan", *held)
    assert "nothing to hold for client ue10 at second 0, before its first value" in said
