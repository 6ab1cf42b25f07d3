"""`cell.clients`: one meaning of a table of clients, whatever asks for it."""

import json

import numpy as np
import pytest

from trimwave.base.errors import InputError
from trimwave.cell.path_loss import path_loss_db
from trimwave.methods import parse_method
from trimwave.recipe.config import CellConfig, Config
from trimwave.recipe.environment import Environment
from trimwave.recipe.fleet import with_clients
from trimwave.recipe.recipe import load_config, merge_overrides
from trimwave.recipe.situation import files_of, situate

PLAIN = "client,speed_gflops,memory_gb\npixel,500,4\njetson,2000,8\npi,100,3\n"


@pytest.fixture
def fleet(tmp_path):
    def written(text, name="fleet.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return written


def environment_of(path, **radio):
    changes = [f"radio.{key}={value}" for key, value in radio.items()]
    config = with_clients(merge_overrides(Config(), changes), path)
    return Environment.from_config(config)


@pytest.mark.parametrize(
    ("column", "value", "name", "si"),
    [
        ("speed_flops_per_s", "5e11", "speed_flops_per_s", 5e11),
        ("speed_gflops", "500", "speed_flops_per_s", 5e11),
        ("speed_tflops", "0.5", "speed_flops_per_s", 5e11),
        ("memory_bytes", "4e9", "memory_bytes", 4e9),
        ("memory_mb", "4000", "memory_bytes", 4e9),
        ("memory_gb", "4", "memory_bytes", 4e9),
        ("memory_mib", "1024", "memory_bytes", 2**30),
        ("memory_gib", "4", "memory_bytes", 2**32),
        ("bandwidth_min_hz", "1e6", "bandwidth_min_hz", 1e6),
        ("bandwidth_min_khz", "1000", "bandwidth_min_hz", 1e6),
        ("bandwidth_max_mhz", "1", "bandwidth_max_hz", 1e6),
        ("rate_kbps", "5000", "rate_up_bps", 5e6),
        ("rate_mbps", "5", "rate_down_bps", 5e6),
        ("bandwidth_max_mhz", "inf", "bandwidth_max_hz", np.inf),
    ],
)
def test_units_by_suffix(fleet, column, value, name, si):
    others = {"speed_tflops": "1", "memory_gb": "4"}
    stem = column.split("_")[0]
    table = {key: one for key, one in others.items() if not key.startswith(stem)}
    table[column] = value
    path = fleet(",".join(table) + "\n" + ",".join(table.values()))
    cell = environment_of(path).cell(0, np.ones(1))
    assert getattr(cell, name).tolist() == [pytest.approx(si)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("speed_tflops,memory_gb\n1e12,4", "TFLOP/s, got 1e12: .*FLOP/s, write 1"),
        ("speed_tflops,memory_gb\n1,4e9", "must be in GB, got 4e9: .*byte, write 4"),
        ("speed_gflops,memory_gb\n1e-4,4", "must be in GFLOP/s, got 0.0001: a micro"),
        ("speed_gflops,speed_tflops\n1,1", "`speed_gflops` and `speed_tflops` give"),
        ("speed_gflops,compute_ms_per_sample\n1,1", "both give the speed"),
        ("memory_gb\n1", "line 1: no column `speed_flops_per_s`"),
        ("speed_gflop,memory_gb\n1,1", "did you mean `speed_gflops`"),
        ("client,speed_gflops\na,100\nb,100\na,100", "line 4.*'a' is the id of line 2"),
        ("client,speed_gflops\na,100\n,100", "line 3, column `client`: is empty"),
        ("speed_gflops,snr_up_db\n100,3", "no column `snr_down_db`, but `snr_up_db`"),
        ("speed_gflops,rate_kbps,snr_up_db\n1,1,1", "both give the uplink"),
        ("speed_gflops,distance_m,rate_bps\n1,1,1", "both give the downlink"),
        ("speed_gflops,rate_down_mbps\n1,1", "no column `rate_up_bps`, but"),
        ("speed_gflops,memory_gb,distance_m\n1,4,100", "set `radio.path_loss_model`"),
        ("compute_ms_per_sample\n100", "needs `cell.flops_per_sample`"),
    ],
)
def test_a_fleet_that_contradicts_itself_is_refused(fleet, text, said):
    path = fleet(text)
    with pytest.raises(InputError, match=f"{path.name}.*{said}"):
        environment_of(path)


def test_the_recipes_radio_acts_on_clients_without_links(fleet):
    path = fleet(PLAIN)
    drawn = Environment.from_config(merge_overrides(Config(), ["cell.num_clients=3"]))
    given = environment_of(path)
    ones = np.ones(3)
    for index in range(2):
        cell, other = given.cell(index, ones), drawn.cell(index, ones)
        assert np.array_equal(cell.snr_down, other.snr_down)
        assert np.array_equal(cell.snr_up, other.snr_up)
    assert cell.speed_flops_per_s.tolist() == [5e11, 2e12, 1e11]
    assert cell.memory_bytes.tolist() == [4e9, 8e9, 3e9]
    assert cell.client_ids == ("pixel", "jetson", "pi")


def test_given_snrs_are_the_same_in_every_round(fleet):
    path = fleet("speed_tflops,memory_gb,snr_down_db,snr_up_db\n1,4,30,20\n")
    environment = environment_of(path, path_loss_db=90)
    for index in range(3):
        cell = environment.cell(index, np.ones(1))
        assert cell.snr_down == pytest.approx(1000)
        assert cell.snr_up == pytest.approx(100)


def test_a_client_sends_with_its_own_power(fleet):
    # 60 dB of loss, noise -94 dBm over 100 MHz: 57.01 dB at 0.2 W.
    path = fleet("speed_tflops,memory_gb,power_tx_w\n1,4,0.2\n1,4,0.02\n")
    cell = environment_of(path, fading="none").cell(0, np.ones(2))
    np.testing.assert_allclose(10 * np.log10(cell.snr_up), [57.0103, 47.0103], 1e-5)


def test_memory_that_is_not_given_is_drawn_and_said(fleet):
    path = fleet("speed_tflops\n1\n2\n")
    with pytest.warns(UserWarning, match="no column `memory_bytes`: drawn from"):
        cell = environment_of(path).cell(0, np.ones(2))
    assert np.all((cell.memory_bytes >= 4e9) & (cell.memory_bytes <= 8e9))
    config = merge_overrides(Config(), ["cell.memory_bytes=[5e9,5e9]"])
    config = with_clients(config, path)
    assert Environment.from_config(config).memory_bytes.tolist() == [5e9, 5e9]


def test_a_time_per_sample_is_a_speed_of_known_work(fleet):
    path = fleet("compute_ms_per_sample,memory_gb\n160,4\n80,4\n")
    config = merge_overrides(Config(), ["cell.flops_per_sample=0.8e9"])
    config = with_clients(config, path)
    speeds = Environment.from_config(config).speed_flops_per_s
    np.testing.assert_allclose(speeds, [5e9, 1e10])


def test_the_number_of_clients_is_the_tables(fleet, tmp_path):
    path = fleet(PLAIN)
    recipe = tmp_path / "mine.toml"
    recipe.write_text('extends = "gpt2-medium"\n[cell]\nclients = "fleet.csv"\n')
    config = load_config(recipe)  # gpt2-medium writes 8
    assert (config.cell.num_clients, config.cell.clients) == (3, str(path))
    assert load_config(recipe, ["cell.num_clients=3"]) == config
    with pytest.raises(InputError, match="`cell.num_clients` is 4, but .* with 3"):
        load_config(recipe, ["cell.num_clients=4"])
    recipe.write_text('[cell]\nclients = "fleet.csv"\nnum_clients = 8\n')
    with pytest.raises(InputError, match=r"mine.toml: `cell.num_clients` is 8"):
        load_config(recipe)
    other = fleet(PLAIN + "four,100,4\n", "other.csv")
    recipe.write_text('[cell]\nclients = "fleet.csv"\n')
    assert load_config(recipe, [f"cell.clients={other}"]).cell.num_clients == 4
    # As a run's manifest holds it.
    assert merge_overrides(config, ["rounds=3"]).cell == config.cell
    with pytest.raises(InputError, match="is 8, but"):
        Environment.from_config(Config(cell=CellConfig(clients=str(path))))


def test_the_digest_and_ids_are_facts(fleet):
    path = fleet(PLAIN)
    before = environment_of(path)
    assert before.facts["client_ids"] == ["pixel", "jetson", "pi"]
    assert files_of(before.config) == [path]
    path.write_text(PLAIN.replace("500", "501"))  # as long, and at once
    after = environment_of(path)
    assert after.facts["clients"] != before.facts["clients"]
    assert after.speed_flops_per_s[0] == 501e9


def test_a_trace_beside_given_links_is_refused(fleet, tmp_path):
    path = fleet("speed_tflops,memory_gb,snr_down_db,snr_up_db\n1,4,30,20\n")
    with pytest.raises(InputError, match="`snr_down_db` and `radio.trace` gives"):
        environment_of(path, trace=str(tmp_path / "x.csv"))


def test_ids_are_in_plans_and_messages(fleet):
    config = with_clients(Config(), fleet(PLAIN))
    plan = parse_method("jcpba").plan(situate(config))
    assert json.loads(json.dumps(plan.record()))["client_ids"][1] == "jetson"
    path = fleet(PLAIN.replace("100,3", "100,0.3"))
    config = with_clients(Config(), path)
    with pytest.raises(InputError, match=r"C3: client 2 \(pi\) has 0.300 GB"):
        parse_method("jcpba").plan(situate(config))


def test_lines_in_another_order_are_the_same_clients(fleet):
    table = "client,speed_tflops,memory_gb,snr_down_db,snr_up_db\n"
    rows = ["a,1,4,40,30", "b,2,8,50,40", "c,0.5,4,60,20"]
    plans = []
    for order in ([0, 1, 2], [2, 0, 1]):
        path = fleet(table + "\n".join(rows[k] for k in order))
        plan = parse_method("jcpba").plan(situate(with_clients(Config(), path)))
        plans.append(dict(zip(plan.client_ids, plan.bandwidth_hz, strict=True)))
    assert plans[0] == pytest.approx(plans[1], rel=1e-9)


def test_the_fading_acts_around_a_loss_of_ones_own(fleet):
    text = "speed_tflops,memory_gb,path_loss_db\n1,4,60\n2,4,80\n"
    still = environment_of(fleet(text), fading="none").cell(0, np.ones(2))
    np.testing.assert_allclose(10 * np.log10(still.snr_down), [74, 54], atol=1e-3)
    environment = environment_of(fleet(text))
    plain = Environment.from_config(merge_overrides(Config(), ["cell.num_clients=2"]))
    for index in range(2):
        cell, other = (one.cell(index, np.ones(2)) for one in (environment, plain))
        np.testing.assert_allclose(cell.snr_up, other.snr_up * [1, 0.01], rtol=1e-12)
    apart = text.replace("path_loss_db", "path_loss_down_db,path_loss_up_db")
    apart = apart.replace("60", "60,70").replace("80", "80,80")
    cell = environment_of(fleet(apart), fading="none").cell(0, np.ones(2))
    np.testing.assert_allclose(10 * np.log10(cell.snr_down), [74, 54], atol=1e-3)
    np.testing.assert_allclose(10 * np.log10(cell.snr_up), [47, 37], atol=0.02)


def test_distances_are_losses_by_the_recipes_model(fleet):
    # UMi without a line of sight, 3.5 GHz, 500 m: 129.26 dB.
    path = fleet("speed_tflops,memory_gb,distance_km\n1,4,0.5\n")
    radio = {"path_loss_model": "UMi", "fading": "none"}
    cell = environment_of(path, **radio).cell(0, np.ones(1))
    loss_db = 22.4 + 95.2758561 + 11.5886493
    assert 10 * np.log10(cell.snr_down) == pytest.approx(134 - loss_db, abs=1e-3)
    sight = environment_of(path, **radio, line_of_sight="los").cell(0, np.ones(1))
    assert sight.snr_down > cell.snr_down
    near = fleet("speed_tflops,memory_gb,distance_m\n1,4,50\n1,4,9\n", "near.csv")
    place = r"near.csv, line 3, column `distance_m`: 9 m is out of the range of UMi"
    with pytest.raises(InputError, match=place):
        environment_of(near, **radio)


def test_distances_are_drawn_where_the_recipe_says_so():
    drawn = ["radio.path_loss_model=UMa", "radio.fading=none", "cell.num_clients=50"]
    with pytest.raises(InputError, match="needs distances: `radio.distance_m`"):
        Environment.from_config(merge_overrides(Config(), drawn))
    config = merge_overrides(Config(), [*drawn, "radio.distance_m=[50,500]"])
    snr_db = 10 * np.log10(Environment.from_config(config).cell(0, np.ones(50)).snr_up)
    for distance_m, bound in ((50.0, np.max), (500.0, np.min)):
        loss_db = path_loss_db("UMa", "nlos", np.array([distance_m]), 3.5e9)[0]
        assert bound(snr_db) == pytest.approx(117.0103 - loss_db, abs=2)
    assert np.ptp(snr_db) > 20
    config = merge_overrides(config, ["radio.distance_m=[1,500]"])
    with pytest.raises(InputError, match=r"`radio.distance_m`: .* out of the range"):
        Environment.from_config(merge_overrides(config, ["cell.num_clients=900"]))


def test_measured_rates_need_no_band(fleet):
    text = "client_id,compute_ms_per_sample,memory_gb,rate_kbps\n0,160,4,29851\n"
    config = merge_overrides(Config(), ["cell.flops_per_sample=1e9"])
    config = with_clients(config, fleet(text + "1,137,4,20891\n"))
    plan = parse_method("jcpba").plan(situate(config))
    assert plan.bandwidth_hz.tolist() == [0, 0]
    np.testing.assert_allclose(plan.up_s, plan.up_bits / np.array([29851e3, 20891e3]))
    assert plan.client_ids == ("0", "1")


def test_energy_is_that_of_sending_and_of_computing(fleet):
    path = fleet(
        "speed_tflops,memory_gb,snr_down_db,snr_up_db,power_tx_mw,joule_per_flop\n"
        "1,4,40,30,200,1e-11\n2,8,50,40,100,0\n"
    )
    plan = parse_method("jcpba").plan(situate(with_clients(Config(), path)))
    sending_j = np.array([0.2, 0.1]) * plan.up_s
    computing_j = np.array([1e-11, 0]) * plan.flops
    np.testing.assert_allclose(plan.energy_j, sending_j + computing_j, rtol=1e-12)
    assert plan.record()["energy_j"] == plan.energy_j.tolist()
    # Without a price of computing it is left out; a recipe's powers are its own.
    config = merge_overrides(Config(), ["cell.num_clients=3"])
    plan = parse_method("jcpba").plan(situate(config))
    np.testing.assert_allclose(plan.energy_j, 0.2 * plan.up_s)
    priced = merge_overrides(config, ["cell.joule_per_flop=1e-12"])
    plan = parse_method("lora").plan(situate(priced))
    np.testing.assert_allclose(plan.energy_j, 0.2 * plan.up_s + 1e-12 * plan.flops)
