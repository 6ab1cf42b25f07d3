"""Cells as people spoil them: as meant, or one error."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sheets import Sheet, rewritten, spoiled

from trimwave.base.errors import InputError
from trimwave.recipe.config import Config
from trimwave.recipe.environment import Environment
from trimwave.recipe.fleet import with_clients
from trimwave.recipe.recipe import config_from_dict

SHEET = Sheet(
    header=("speed_flops_per_s", "memory_bytes", "snr_down_db", "snr_up_db"),
    rows=(("0.5e12", "4e9", "20.5", "10.5"), ("2e12", "8000000000", "-3", "+20")),
)


def read(folder, sheet):
    path = folder / "cell.csv"
    path.write_bytes(sheet.content())
    environment = Environment.from_config(with_clients(Config(), path))
    return environment.cell(0, np.ones(2))


@settings(max_examples=60)
@given(rewritten(SHEET))
def test_a_cell_otherwise_written_is_the_same(tmp_path_factory, sheet):
    cell = read(tmp_path_factory.mktemp("same"), sheet)
    assert cell.speed_flops_per_s.tolist() == [0.5e12, 2e12]
    assert cell.memory_bytes.tolist() == [4e9, 8e9]
    np.testing.assert_allclose(10 * np.log10(cell.snr_down), [20.5, -3])
    np.testing.assert_allclose(10 * np.log10(cell.snr_up), [10.5, 20])


@settings(max_examples=100)
@given(spoiled(SHEET))
@pytest.mark.filterwarnings("ignore:.* has no column `memory_bytes`")
def test_a_spoiled_cell_is_one_error_with_its_line(tmp_path_factory, case):
    sheet, line = case
    if "memory_bytes" not in sheet.header and len(sheet.header) < len(SHEET.header):
        assert np.all(read(tmp_path_factory.mktemp("drawn"), sheet).memory_bytes >= 4e9)
        return
    with pytest.raises(InputError, match=rf"cell\.csv, line {line}\b"):
        read(tmp_path_factory.mktemp("spoiled"), sheet)


@settings(max_examples=60)
@given(
    st.integers(0, 1),
    st.sampled_from(
        [
            *((0, value) for value in ("0.5", "2", "1500", "0", "-1e12", "1e20")),
            *((1, value) for value in ("4", "8", "8000", "0", "-4e9", "1e16")),
            *((2, value) for value in ("2147483647", "-2147483648", "255", "1e5")),
            *((3, value) for value in ("127", "-999", "999", "-180", "316.2")),
        ]
    ),
)
def test_another_unit_is_named(tmp_path_factory, row, fault):
    column, value = fault
    place = rf"cell\.csv, line {row + 2}, column `{SHEET.header[column]}`: "
    with pytest.raises(InputError, match=place):
        read(tmp_path_factory.mktemp("units"), SHEET.with_cell(row, column, value))


def test_an_outage_in_a_trace_is_known_before_the_run(tmp_path):
    path = tmp_path / "trace.csv"
    gains = [-60, -60, -290, -60]
    rows = "".join(f"{at},0,{gain},-70\n" for at, gain in enumerate(gains))
    path.write_text("round,client,gain_down_db,gain_up_db\n" + rows)
    tree = {"radio": {"trace": str(path)}, "cell": {"num_clients": 1}}
    environment = Environment.from_config(config_from_dict(tree, "x"))
    place = r"csv, line 4, column `gain_down_db`: round 2, client 0 is out of reach"
    with pytest.raises(InputError, match=place):
        environment.check_rounds(3)
    environment.check_rounds(2)
    assert environment.cell(3, np.ones(1)).snr_down > 0  # a plan asks for one round
