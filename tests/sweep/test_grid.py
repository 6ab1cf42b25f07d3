from dataclasses import replace

import pytest
from small import make_sweep

from trimwave.base.errors import InputError
from trimwave.sweep import sweep
from trimwave.sweep.grid import parse_vary


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a.b=1,2", [1, 2]),
        ("a.b = 1e6, 2.5", [1e6, 2.5]),
        ("a.b=3", [3]),
        ("a.b=[1, 2]", [1, 2]),
        ("a.b=[[1,1.5],[0.5,2]]", [[1, 1.5], [0.5, 2]]),
        ("a.b=[1,1.5],[0.5,2]", [[1, 1.5], [0.5, 2]]),
        ("a.b=[[1, 2]]", [[1, 2]]),
        ("a.b=rayleigh,none", ["rayleigh", "none"]),
        ("a.b='x,y',z", ["'x", "y'", "z"]),
        ("a.b='x,y',\"z\"", ["x,y", "z"]),
        ("a.b=true,false", [True, False]),
    ],
)
def test_values_that_vary(text, values):
    assert parse_vary([text, "c=0"]) == {"a.b": values, "c": [0]}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["a.b"], "--vary takes key=value,value,..., got 'a.b'"),
        (["a.b="], "--vary takes key=value,value,..., got 'a.b='"),
        (["a.b=[]"], "--vary takes"),
        (["=1"], "--vary takes"),
        (["a.b=1", "c=1", "a.b=2"], "--vary names `a.b` twice"),
    ],
)
def test_a_vary_that_says_nothing(texts, said):
    with pytest.raises(InputError) as refused:
        parse_vary(texts)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ({"cell.num_client": [2]}, "`cell.num_client`; did you mean `num_clients`?"),
        (
            {"cell.num_clients": [2, 2.5]},
            "`cell.num_clients` must be a whole number, got 2.5",
        ),
        ({"cell.num_clients": [2, 0]}, "`cell.num_clients` must be at least 1, got 0"),
        ({"cell.speed_factor": [1, 2]}, "`cell.speed_factor` must be a list, got 1"),
        ({"cell.total_bandwidth_hz": [1e6, 1000000]}, "gives a value twice"),
        ({"model.name": ["gpt2", "gpt-2"]}, "shape of model `gpt-2` is not known"),
        ({"options.ubfp.adapter": ["lora", "x"]}, "must be one of full, lora, got 'x'"),
        ({"seed": [1, 2]}, "`seed` is varied by --seed and --draws, not --vary"),
        ({"method": ["ubfp"]}, "`method` is varied by --methods, not --vary"),
    ],
)
def test_a_grid_that_cannot_be(tmp_path, vary, said):
    with pytest.raises(InputError) as refused:
        sweep.run_sweep(make_sweep(vary=vary), tmp_path / "none", jobs=1)
    assert said in str(refused.value)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["draws", "rounds", "jobs"])
def test_counts_are_at_least_one(tmp_path, name):
    with pytest.raises(InputError, match=f"--{name} must be at least 1, got 0"):
        jobs = 0 if name == "jobs" else 1
        counts = {} if name == "jobs" else {name: 0}
        sweep.run_sweep(make_sweep(**counts), tmp_path, jobs)


def test_keys_become_columns():
    vary = {
        "options.jcpba.adapter": ["lora", "full"],
        "cell.total_bandwidth_hz": [10000000, 2e7],
        "data.client_sizes": [[1, 2], []],
    }
    points = make_sweep(vary=vary).points()
    assert [dict(point.varied) for point in points[:4]] == [
        {**dict.fromkeys(vary), **dict(zip(vary, values, strict=True))}
        for values in (
            ("lora", 1e7, "[1, 2]"),
            ("lora", 1e7, "[]"),
            ("lora", 2e7, "[1, 2]"),
            ("lora", 2e7, "[]"),
        )
    ]
    assert points[4].config.options == {"jcpba": {"adapter": "full"}}
    one = make_sweep(vary={})
    assert [point.varied for point in one.points()] == [{}]
    named = {point.file for point in (*points, *one.points())}
    assert len(named) == len(points) + 1
    more = (
        replace(one, draws=3),
        replace(one, rounds=3),
        replace(one, methods=("ubfp",)),
    )
    assert len({two.points()[0].file for two in (one, *more)}) == 4
