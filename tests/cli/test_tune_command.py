import pytest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rounds", 0), "--rounds must be at least 1, got 0"),
        *(
            (("--ranks", text), "--ranks must be whole numbers from 1")
            for text in ("0", "-1", "nan", "two", "1,", "1,1", "", "1.5")
        ),
        (("--learning-rates", "1e-3,-1"), "--learning-rates must be positive numbers"),
        (("--method", "lorra"), "lora"),
        (("--set", "train.learning_rates=1"), "learning_rate"),
    ],
)
def test_what_cannot_be_tuned(refused, arguments, words):
    assert words in refused("tune", "best/lora", *arguments)


def test_nothing_is_written_over(refused, tmp_path):
    (tmp_path / "mine.toml").write_text("")
    said = refused("tune", "best/lora", "--write", "mine.toml")
    assert "mine.toml is there already" in said
    said = refused("tune", "best/lora", "--write", "none/mine.toml")
    assert "there is no folder none" in said
    assert "is not empty" in refused("tune", "best/lora", "--out", tmp_path)
