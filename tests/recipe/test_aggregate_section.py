"""What `[aggregate]` may be, and what it may not be together."""

import pytest

from trimwave.base.errors import InputError
from trimwave.recipe.config import AggregateConfig, Config
from trimwave.recipe.recipe import merge_overrides


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["rule=mode"], r"`aggregate\.rule` must be one of mean, median, .* 'mode'"),
        (["trim=0.5"], r"`aggregate\.trim` must be at least 0 and below 0\.5.* 0\.5"),
        (["trim=-0.1"], r"`aggregate\.trim` must be at least 0"),
        (["num_malicious=-1"], r"`aggregate\.num_malicious` must be at least 0"),
        (["norm_limit=0.5"], r"`aggregate\.norm_limit` must be at least 1, or 0"),
        (["norm_limit=inf"], r"`aggregate\.norm_limit` must be .* finite, got inf"),
        (["clip_norm=-1"], r"`aggregate\.clip_norm` must be at least 0"),
        (["noise_seed=-1"], r"`aggregate\.noise_seed` must be at least 0"),
        (["noise_multiplier=1"], r"noise_multiplier` = 1 needs `aggregate\.clip_norm`"),
        (
            ["noise_multiplier=1", "clip_norm=1", "rule=median"],
            r"sized for the mean, and `aggregate\.rule` is median",
        ),
        (
            ["noise_multiplier=1", "clip_norm=1", "norm_limit=3"],
            r"goes with no `aggregate\.norm_limit`",
        ),
    ],
)
def test_what_cannot_be_is_told(changes, words):
    with pytest.raises(InputError, match=words):
        merge_overrides(Config(), [f"aggregate.{one}" for one in changes])


def test_only_the_mean_without_noise_goes_by_rows():
    assert AggregateConfig().is_weighted
    assert AggregateConfig(clip_norm=1.0).is_weighted
    assert not AggregateConfig(clip_norm=1.0, noise_multiplier=1.0).is_weighted
    for rule in ("median", "trimmed_mean", "krum"):
        assert not AggregateConfig(rule=rule).is_weighted
