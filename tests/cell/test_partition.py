import numpy as np
import pytest

from trimwave.base.errors import InputError
from trimwave.cell.partition import partition

LABELS = [str(i % 5) for i in range(1000)]


def rng(seed=0):
    return np.random.default_rng(seed)


def skew(parts):
    """Mean total variation distance between a client's label mix and the whole."""
    codes = np.array([int(label) for label in LABELS])
    mixes = [np.bincount(codes[rows], minlength=5) / len(rows) for rows in parts]
    return float(np.mean([np.abs(mix - 0.2).sum() / 2 for mix in mixes]))


@pytest.mark.parametrize("alpha", [1e-6, 0.1, 1.0, 1e6])
@pytest.mark.parametrize("num_clients", [1, 7, 1000])
def test_dirichlet_uses_every_row_once_in_equal_shards(alpha, num_clients):
    parts = partition(LABELS, num_clients, scheme="dirichlet", alpha=alpha, rng=rng())
    assert sorted(np.concatenate(parts).tolist()) == list(range(1000))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("num_rows", "num_clients"), [(10, 3), (3, 3), (1000, 1)])
def test_iid_uses_every_row_once_in_equal_shards(num_rows, num_clients):
    parts = partition(num_rows, num_clients, rng=rng())
    assert sorted(np.concatenate(parts).tolist()) == list(range(num_rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_iid_shuffles():
    assert partition(100, 1, rng=rng())[0].tolist() != list(range(100))


@pytest.mark.parametrize(
    "how", [{"scheme": "iid"}, {"scheme": "dirichlet", "alpha": 0.3}]
)
def test_given_sizes_are_respected_and_rows_are_disjoint(how):
    parts = partition(LABELS, 3, rng=rng(), sizes=[5, 100, 40], **how)
    assert [len(rows) for rows in parts] == [5, 100, 40]
    assert len(set(np.concatenate(parts).tolist())) == 145


@pytest.mark.parametrize(
    "how", [{"scheme": "iid"}, {"scheme": "dirichlet", "alpha": 0.3}]
)
def test_the_generator_alone_decides(how):
    first = partition(LABELS, 4, rng=rng(3), **how)
    again = partition(LABELS, 4, rng=rng(3), **how)
    other = partition(LABELS, 4, rng=rng(4), **how)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_skew_grows_as_alpha_falls():
    skews = [
        skew(
            partition(
                LABELS, 5, scheme="dirichlet", alpha=alpha, rng=rng(), sizes=[40] * 5
            )
        )
        for alpha in (1e4, 10.0, 0.5, 1e-4)
    ]
    assert skews == sorted(skews)
    assert skews[0] < 0.2
    assert skews[-1] == pytest.approx(0.8)  # one label of five


def test_a_rare_label_that_runs_out_is_replaced_by_the_others():
    labels = ["rare"] + ["common"] * 9
    parts = partition(labels, 2, scheme="dirichlet", alpha=1e-3, rng=rng(), sizes=None)
    assert [len(rows) for rows in parts] == [5, 5]


@pytest.mark.parametrize(
    ("rows", "num_clients", "how", "message"),
    [
        (2, 3, {}, "client 2 would be empty.*fewer clients or give more rows"),
        (9, 2, {"sizes": [3, 0]}, "client 1 would be empty.*`sizes` gives it 0"),
        (9, 2, {"sizes": [5, 5]}, "asks for 10 rows, there are 9"),
        (9, 2, {"sizes": [5]}, "one entry per client, got 1 for 2"),
        (9, 0, {}, "`num_clients` must be at least 1, got 0"),
        (9, 2, {"scheme": "diriclet"}, "did you mean `dirichlet`"),
        (9, 2, {"scheme": "dirichlet", "alpha": 1.0}, "needs a label"),
        ([None] * 9, 2, {"scheme": "dirichlet", "alpha": 1.0}, "rows have none; use"),
        (
            ["a", None, "b", None],
            2,
            {"scheme": "dirichlet", "alpha": 1.0},
            "2 of 4 have none, row 1 the first; leave them out",
        ),
        (LABELS, 2, {"scheme": "dirichlet", "alpha": 0.0}, "positive.*got 0.0"),
        (LABELS, 2, {"scheme": "dirichlet"}, "positive.*got None"),
        (LABELS, 2, {"alpha": 1.0}, "no effect under `iid`"),
    ],
)
def test_bad_input_says_what_to_change(rows, num_clients, how, message):
    with pytest.raises(InputError, match=message):
        partition(rows, num_clients, rng=rng(), **how)
