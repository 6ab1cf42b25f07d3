"""A plan counts the data as a run deals it out."""

import numpy as np
import pytest

from trimwave.base.errors import InputError
from trimwave.cell.partition import partition
from trimwave.recipe.config import Config
from trimwave.recipe.recipe import config_from_dict, merge_overrides
from trimwave.recipe.situation import num_samples_of, situate
from trimwave.sweep.draws import plan_draw

SIZES = "data.client_sizes=[50, 10, 25]"
SMALL = ["model.name=gpt2", "cell.num_clients=3", "train.seq_len=64"]


def test_rows_of_clients_are_counted_over_a_tables_numbers(tmp_path):
    for name, count in (("a", 3), ("b", 5)):
        rows = tmp_path / "rows" / f"{name}.jsonl"
        rows.parent.mkdir(exist_ok=True)
        rows.write_text('{"text": "x"}\n' * count)
    fleet = tmp_path / "fleet.csv"
    fleet.write_text("client,speed_gflops,num_samples\nb,100,70\na,100,90\n")
    data = {"source": str(tmp_path / "rows"), "partition": "files"}
    tree = {"cell": {"clients": str(fleet)}, "data": data}
    config = config_from_dict(tree, "here")
    with pytest.warns(UserWarning, match="column `num_samples` .* are counted"):
        assert num_samples_of(config).tolist() == [5, 3]
    (tmp_path / "rows" / "a.jsonl").write_text("")
    with pytest.raises(InputError, match="a.jsonl` is empty"):
        num_samples_of(config)


def configured(*changes):
    return merge_overrides(Config(), [*SMALL, *changes])


@pytest.mark.parametrize("changes", [[], [SIZES], ["data.num_train=8"]])
@pytest.mark.parametrize("scheme", ["iid", "dirichlet"])
def test_num_samples_are_those_of_the_partition(changes, scheme):
    config = configured(*changes, f"data.partition={scheme}")
    data, skewed = config.data, scheme == "dirichlet"
    num_rows = data.num_train or 1600
    rows = partition(
        [k % 3 for k in range(num_rows)] if skewed else num_rows,
        3,
        scheme=scheme,
        alpha=0.1 if skewed else None,
        rng=np.random.default_rng(0),
        sizes=data.client_sizes or None,
    )
    dealt = [len(one) for one in rows]
    assert num_samples_of(config).tolist() == dealt
    assert situate(config).cell.num_samples.tolist() == dealt


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("data.client_sizes=[1, 2]", "`data.client_sizes`: .* got 2 for 3 clients"),
        ("data.client_sizes=[1, 0, 2]", "client 1 would be empty"),
        ("data.client_sizes=[1000, 1000, 1]", "asks for 2001 rows, there are 1600"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, said):
    with pytest.raises(InputError, match=said):
        situate(configured(change))
    (row,) = plan_draw(configured(change), ["ubfp"], 1)
    assert row["status"].startswith("`data.client_sizes`: ")


def test_a_plan_of_more_clients_than_rows_takes_all_alike():
    assert np.ptp(num_samples_of(configured("data.num_train=2"))) == 0


def test_who_has_the_data_decides_whom_a_sweep_schedules():
    def scheduled(*changes):
        config = configured("options.partial.v=7.0", *changes)
        rows = plan_draw(config, ["partial:tau_bar_s=0.01"], 3)
        return [row["num_scheduled"] for row in rows], rows[-1]["latency_s"]

    assert scheduled() == scheduled("data.num_train=1602")
    skewed = scheduled("data.client_sizes=[1500, 20, 20]")
    assert skewed != scheduled("data.client_sizes=[20, 20, 1500]")
