import numpy as np
import pytest

from trimwave.base.errors import InputError
from trimwave.recipe.config import Config
from trimwave.recipe.environment import Environment
from trimwave.recipe.fleet import with_clients
from trimwave.recipe.limits import limits_of
from trimwave.recipe.recipe import config_from_dict
from trimwave.recipe.situation import num_samples_of

ONES = np.ones(8)


def config_of(**tree):
    return config_from_dict(tree, "test")


def cell_from_csv(path, config):
    config = with_clients(config, path)
    environment = Environment.from_config(config)
    return environment.cell(0, num_samples_of(config))


def test_clients_are_drawn_once_and_channels_every_round():
    environment = Environment.from_config(Config())
    first, second = environment.cell(0, ONES), environment.cell(1, ONES)
    assert np.array_equal(first.speed_flops_per_s, second.speed_flops_per_s)
    assert np.array_equal(first.memory_bytes, second.memory_bytes)
    assert not np.any(first.snr_down == second.snr_down)
    assert not np.any(first.snr_up == second.snr_up)
    again = Environment.from_config(Config()).cell(1, ONES)
    for name, value in vars(second).items():
        assert np.array_equal(getattr(again, name), value)


def test_clients_are_drawn_from_their_ranges():
    tree = {"num_clients": 2000, "speed_factor": [0.5, 2], "memory_bytes": [4e9, 8e9]}
    environment = Environment.from_config(config_of(cell=tree))
    for values, low, high in (
        (environment.speed_flops_per_s, 0.5e12, 2e12),
        (environment.memory_bytes, 4e9, 8e9),
    ):
        assert low <= np.min(values) < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < np.max(values) <= high
        assert np.mean(values) == pytest.approx((low + high) / 2, rel=0.03)


def test_all_methods_see_the_same_draws_and_other_seeds_do_not():
    def cell(**tree):
        return Environment.from_config(config_of(**tree)).cell(4, ONES)

    here = cell(method="ubfp")
    same = cell(method="jcpba", rounds=99, limits={"beta_bar": 0.3})
    assert np.array_equal(here.speed_flops_per_s, same.speed_flops_per_s)
    assert np.array_equal(here.snr_down, same.snr_down)
    other = cell(method="ubfp", seed=1)
    assert not np.any(here.speed_flops_per_s == other.speed_flops_per_s)
    assert not np.any(here.snr_down == other.snr_down)


def test_the_link_budget():
    # 10 W and 0.2 W over 60 dB, -174 dBm/Hz over 100 MHz = -94 dBm: 74 and 57 dB.
    radio = {"fading": "none"}
    cell = Environment.from_config(config_of(radio=radio)).cell(0, ONES)
    np.testing.assert_allclose(10 * np.log10(cell.snr_down), np.full(8, 74.0))
    np.testing.assert_allclose(
        10 * np.log10(cell.snr_up), np.full(8, 57.0103), atol=1e-4
    )
    assert cell.server_speed_flops_per_s == 50e12
    noisier = {"fading": "none", "noise_figure_db": 9.0, "noise": "psd"}
    noisier["max_spectral_efficiency"] = 7.4
    cell = Environment.from_config(config_of(radio=noisier)).cell(0, ONES)
    np.testing.assert_allclose(10 * np.log10(cell.snr_down), np.full(8, 65.0))
    assert (cell.noise, cell.max_spectral_efficiency) == ("psd", 7.4)


def test_a_trace_takes_the_place_of_the_model(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("round,client,gain_down_db,gain_up_db\n0,0,-60,-70\n1,0,-80,-90\n")
    config = config_of(radio={"trace": str(path)}, cell={"num_clients": 1})
    environment = Environment.from_config(config)
    for index, down_db in ((0, 74), (1, 54), (2, 74)):
        cell = environment.cell(index, np.ones(1))
        assert 10 * np.log10(cell.snr_down[0]) == pytest.approx(down_db)
        assert 10 * np.log10(cell.snr_up[0]) == pytest.approx(down_db - 10 - 16.9897)
    with pytest.raises(InputError, match="trace has 1 clients, the cell 8"):
        Environment.from_config(config_of(radio={"trace": str(path)})).cell(0, ONES)
    with pytest.raises(InputError, match="cannot be read"):
        Environment.from_config(config_of(radio={"trace": "nowhere.csv"}))


C5 = {"c5_xi": 0.1, "c5_phi": 0.8, "c5_psi": 1.0, "gamma_min": 0.7}


def test_limits_from_beta_bar_or_from_c5():
    assert limits_of(Config()).beta_bar == 0.5
    assert limits_of(config_of(limits={"beta_bar": 0.3})).beta_bar == 0.3
    # 0.7 - 0.1 - 0.8 / (8 x 2) = 0.55
    config = config_of(limits=C5, train={"batch_size": 2})
    assert limits_of(config).beta_bar == pytest.approx(0.55)
    bounds = limits_of(config_of(limits={"beta_min": 0.1, "beta_max": 0.9}))
    assert (bounds.beta_min, bounds.beta_max) == (0.1, 0.9)


def test_limits_given_twice_or_half_are_refused():
    with pytest.raises(
        InputError, match="`limits.beta_bar` or C5's constants, not both"
    ):
        limits_of(config_of(limits=C5 | {"beta_bar": 0.5}))
    with pytest.raises(InputError, match="needs c5_phi, gamma_min too"):
        limits_of(config_of(limits={"c5_xi": 0.1, "c5_psi": 1.0}))
    with pytest.raises(InputError, match="C5 is infeasible"):
        limits_of(config_of(limits=C5 | {"gamma_min": 0.1}))
    with pytest.raises(InputError, match="C4 needs"):
        limits_of(config_of(limits={"beta_min": 0.9}))


HEADER = "speed_flops_per_s,memory_bytes,snr_down_db,snr_up_db\n"


def test_a_cell_from_a_file(tmp_path):
    path = tmp_path / "cell.csv"
    path.write_text(HEADER + "1e12,4e9,30,20\n2e12,8e9,-10,0\n")
    config = config_of(
        cell={"total_bandwidth_hz": 5e6, "server_speed_flops_per_s": 7e12},
        radio={"noise": "psd", "max_spectral_efficiency": 6.0},
    )
    cell = cell_from_csv(path, config)
    assert cell.num_clients == 2
    assert cell.speed_flops_per_s.tolist() == [1e12, 2e12]
    np.testing.assert_allclose(cell.snr_down, [1000, 0.1])
    np.testing.assert_allclose(cell.snr_up, [100, 1])
    assert cell.total_bandwidth_hz == 5e6
    assert cell.server_speed_flops_per_s == 7e12
    assert (cell.noise, cell.max_spectral_efficiency) == ("psd", 6.0)


OPTIONAL = "num_samples,held,bandwidth_min_hz,bandwidth_max_hz"
FULL_HEADER = HEADER.strip() + f",{OPTIONAL}\n"


def test_a_cell_from_a_file_with_optional_columns(tmp_path):
    path = tmp_path / "cell.csv"
    path.write_text(
        FULL_HEADER + "1e12,4e9,30,20,7,0,0,inf\n1e12,4e9,3,2,9,1,1e6,2e6\n"
    )
    cell = cell_from_csv(path, Config())
    assert cell.num_samples.tolist() == [7, 9]
    assert cell.held.tolist() == [0, 1]
    assert cell.bandwidth_min_hz.tolist() == [0, 1e6]
    assert cell.bandwidth_max_hz.tolist() == [np.inf, 2e6]
    # Each may be there without the others, anywhere, and `_name` is not read.
    path.write_text("_name,held," + HEADER + "phone,0.25,1e12,4e9,30,20\n")
    cell = cell_from_csv(path, Config())
    assert cell.held.tolist() == [0.25]
    assert cell.num_samples.tolist() == [1600]
    assert cell.bandwidth_min_hz is cell.bandwidth_max_hz is None
    path.write_text(HEADER + "1e12,4e9,30,20\n")
    assert cell_from_csv(path, Config()).held is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("0,0,0,1e6", "column `num_samples`: must be in rows, got 0"),
        ("1,1.5,0,1e6", "column `held`: must be in parts of one, got 1.5"),
        ("1,50,0,1e6", "column `held`: .* if it is in percent, write 0.5"),
        ("1,-0.1,0,1e6", "column `held`: must be in parts of one, got -0.1"),
        ("1,nan,0,1e6", "column `held`: must be a number in parts of one, got 'nan'"),
        ("1,0,-1,1e6", "column `bandwidth_min_hz`: must be in Hz, got -1"),
        ("1,0,inf,1e6", "column `bandwidth_min_hz`: must be a number in Hz, got 'inf'"),
        ("1,0,0,0", "column `bandwidth_max_hz`: must be in Hz, got 0"),
        ("1,0,0,20", "`bandwidth_max_hz`: .* if it is in MHz, write 2e7"),
        ("1,0,0,nan", "column `bandwidth_max_hz`: must be a number in Hz, got 'nan'"),
        ("1,0,2e6,1e6", "`bandwidth_min_hz`: 2e6 Hz is more than `bandwidth_max_hz`"),
        ("1,,0,1e6", "column `held`: must be a number in parts of one, got ''"),
        ("1,0,0", "7 cells for 8 columns; `bandwidth_max_hz` has none"),
    ],
)
def test_a_bad_optional_value_is_named(tmp_path, values, message):
    path = tmp_path / "cell.csv"
    first = "1e12,4e9,30,20,1,0,0,1e6\n"
    path.write_text(FULL_HEADER + first + f"1e12,4e9,30,20,{values}\n")
    with pytest.raises(InputError, match=f"csv, line 3.*{message}"):
        cell_from_csv(path, Config())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed_flops_per_s,memory_bytes,snr_down_db\n1,2,3\n", "column `snr_up_db`"),
        (HEADER, "no rows below the header"),
        ("", "is empty; expected a header and rows"),
        (HEADER + "1e12,4e9,30,20\n1e12,lots,30,20\n", "line 3, column `memory_bytes`"),
        (HEADER + "1e12,4e9,30\n", "line 2: 3 cells for 4 columns; `snr_up_db`"),
        (HEADER + "1e12,4e9,30,20\n-1e12,4e9,30,20\n", "line 3, .*got -1e12: "),
        (HEADER + "nan,4e9,30,20\n", "`speed_flops_per_s`: .* got 'nan', which is no"),
        (HEADER + "1e12,4e9,30,20\n1e12,4e9,-150,20\n", "client 1 is out of reach"),
        (HEADER + "1e12,4e9,30,2147483647\n", "`snr_up_db`: .* have no measurement"),
        (HEADER + "1e12,4e9,1000,20\n", "`snr_down_db`: .* linear ratio, write 30"),
        (HEADER + "0.5,4e9,30,20\n", "if it is in TFLOP/s, write 5e11"),
    ],
)
def test_a_broken_cell_file_is_named(tmp_path, text, message):
    path = tmp_path / "cell.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        cell_from_csv(path, Config())


def test_a_missing_cell_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: cannot be read"):
        cell_from_csv(tmp_path / "none.csv", Config())
