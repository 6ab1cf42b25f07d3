import pytest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--points", "1"], "--points must be at least 2, got 1"),
        (["--repeats", "0"], "--repeats must be at least 1, got 0"),
        (["--set", "cell.emulator_time=nowhere.csv"], "nowhere.csv"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_loading(refused, words, said):
    assert said in refused("measure", *words)
