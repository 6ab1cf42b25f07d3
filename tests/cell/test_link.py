import numpy as np
import pytest

from trimwave.base.units import db_to_linear, dbm_to_w, linear_to_db
from trimwave.cell.fading import Rayleigh
from trimwave.cell.link import Link

BAND = 100e6
SHARES = BAND * np.geomspace(1e-4, 1, 60)


def link(snr, noise="fixed", cap=np.inf):
    return Link(
        snr=np.asarray(snr, dtype=float),
        total_bandwidth_hz=BAND,
        noise=noise,
        max_spectral_efficiency=cap,
    )


def test_decibels():
    assert db_to_linear(30.0) == pytest.approx(1000)
    assert db_to_linear(-3.0) == pytest.approx(0.501187, rel=1e-6)
    assert linear_to_db(2.0) == pytest.approx(3.0103, rel=1e-5)
    assert dbm_to_w(30.0) == pytest.approx(1.0)
    assert dbm_to_w(-174.0) * BAND == pytest.approx(3.98107e-13, rel=1e-5)  # -94 dBm
    values = np.array([-174.0, 0.0, 12.3])
    np.testing.assert_allclose(linear_to_db(db_to_linear(values)), values, atol=1e-12)


def test_fading_power_is_exponential_with_the_path_loss_as_mean():
    gains = Rayleigh(seed=1, path_loss_db=60).gains(0, 40_000)
    for power in (gains["down"] * 1e6, gains["up"] * 1e6):
        # Five standard errors of the mean, the variance and the tail of Exp(1).
        assert abs(np.mean(power) - 1) < 5 / 200
        assert abs(np.var(power) - 1) < 5 * np.sqrt(8) / 200
        assert abs(np.mean(power > 2) - np.exp(-2)) < 5 * 0.35 / 200
    assert abs(np.corrcoef(gains["down"], gains["up"])[0, 1]) < 5 / 200


def test_fading_depends_on_seed_round_direction_and_client_alone():
    channel = Rayleigh(seed=3, path_loss_db=60)
    first = channel.gains(7, 8)
    channel.gains(0, 100)  # what was drawn in between does not matter
    again = Rayleigh(seed=3, path_loss_db=60).gains(7, 8)
    assert np.array_equal(first["down"], again["down"])
    assert np.array_equal(first["up"], again["up"])
    others = (
        first["up"],
        channel.gains(8, 8)["down"],
        Rayleigh(seed=4, path_loss_db=60).gains(7, 8)["down"],
    )
    for other in others:
        assert not np.any(first["down"] == other)
    assert len(set(first["down"])) == 8


def test_adding_a_client_leaves_the_others_gains():
    channel = Rayleigh(seed=0, path_loss_db=60)
    few, many = channel.gains(2, 3), channel.gains(2, 9)
    assert np.array_equal(few["down"], many["down"][:3])
    assert np.array_equal(few["up"], many["up"][:3])


def test_without_fading_every_gain_is_the_mean():
    gains = Rayleigh(seed=0, path_loss_db=60, fading=False).gains(5, 4)
    np.testing.assert_allclose(gains["down"], np.full(4, 1e-6), rtol=1e-12)
    np.testing.assert_allclose(gains["up"], np.full(4, 1e-6), rtol=1e-12)


def test_rates_by_hand():
    # SNR 3 over the whole band: log2(4) = 2 bit/s/Hz. A quarter of the band under a
    # noise density: SNR 12, log2(13).
    quarter = np.array([BAND / 4])
    assert link([3.0]).rate_bps(quarter)[0] == pytest.approx(2 * BAND / 4)
    assert link([3.0], "psd").rate_bps(quarter)[0] == pytest.approx(
        np.log2(13) * BAND / 4
    )


def test_both_noise_modes_agree_at_the_whole_band():
    snr, band = np.array([1e-3, 1.0, 1e7]), np.full(3, BAND)
    fixed, density = link(snr), link(snr, "psd")
    np.testing.assert_allclose(fixed.rate_bps(band), density.rate_bps(band), rtol=1e-14)


@pytest.mark.parametrize("snr", [0.1, 10.0, 1e6])
def test_psd_rate_is_increasing_concave_and_bounded_by_the_received_power(snr):
    rate = link(np.full(60, snr), "psd").rate_bps(SHARES)
    slopes = np.diff(rate) / np.diff(SHARES)
    assert np.all(slopes > 0)
    assert np.all(np.diff(slopes) < 0)
    ceiling = snr * BAND / np.log(2)
    assert np.all(rate < ceiling)
    far = link([snr], "psd").rate_bps(np.array([BAND * snr * 1e4]))
    assert far[0] == pytest.approx(ceiling, rel=1e-4)


def test_fixed_rate_is_proportional_to_the_share():
    rate = link(np.full(60, 5.0)).rate_bps(SHARES)
    np.testing.assert_allclose(rate / SHARES, np.log2(6), rtol=1e-14)


@pytest.mark.parametrize("noise", ["fixed", "psd"])
def test_a_modems_cap_limits_the_efficiency(noise):
    capped = link(np.full(60, 1e5), noise, cap=7.4)
    assert np.array_equal(capped.spectral_efficiency(SHARES), np.full(60, 7.4))
    assert np.array_equal(capped.rate_slope(SHARES), np.full(60, 7.4))
    weak = link(np.full(60, 1e-3), "fixed", cap=7.4).spectral_efficiency(SHARES)
    np.testing.assert_allclose(weak, np.log2(1.001), rtol=1e-12)


@pytest.mark.parametrize("noise", ["fixed", "psd"])
@pytest.mark.parametrize("cap", [np.inf, 9.0])
def test_rate_slope_is_the_derivative_of_the_rate(noise, cap):
    one = link(np.full(60, 40.0), noise, cap)
    step = 1e-5 * SHARES
    numeric = (one.rate_bps(SHARES + step) - one.rate_bps(SHARES - step)) / (2 * step)
    away_from_kink = np.abs(np.log2(1 + 40 * BAND / SHARES) - 9) > 1e-3
    np.testing.assert_allclose(
        one.rate_slope(SHARES)[away_from_kink], numeric[away_from_kink], rtol=1e-6
    )
