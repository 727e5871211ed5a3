"""The polyphase resampler against its own definition, on any ratio, length and edge."""

from fractions import Fraction

import numpy as np
import pytest

from ecgtwin.signals.resampling import STOP_BAND_DB, TRANSITION_SHARE, polyphase

RATIOS = [(500, 102.4), (1000, 102.4), (100, 102.4), (360, 250), (102.4, 512), (257, 102.4)]


def ratio_of(from_hz, to_hz):
    return Fraction(to_hz).limit_denominator(10_000) / Fraction(from_hz).limit_denominator(10_000)


def by_definition(one, ratio, num_samples):
    """Sum each output by itself: Kaiser-windowed sinc around input k / ratio, odd reflection."""
    lower = 0.5 * min(1.0, float(ratio))
    half = 0.5 * (STOP_BAND_DB - 7.95) / (2.285 * 2 * np.pi * 2 * TRANSITION_SHARE * lower)
    reach = int(np.ceil(half)) + 2
    padded = np.pad(one, reach, "reflect", reflect_type="odd")
    made = np.empty(num_samples)
    for k in range(num_samples):
        away = np.arange(len(padded)) - reach - float(k / ratio)
        near = np.abs(away) < half
        window = np.i0(0.1102 * (STOP_BAND_DB - 8.7) * np.sqrt(1 - (away[near] / half) ** 2))
        weights = np.sinc(2 * lower * away[near]) * window
        made[k] = padded[near] @ weights / weights.sum()
    return made


@pytest.mark.parametrize(("from_hz", "to_hz"), RATIOS)
@pytest.mark.parametrize("seconds", [0.1, 0.73, 3.0])
def test_it_is_what_it_says(rng, from_hz, to_hz, seconds):
    ratio = ratio_of(from_hz, to_hz)
    samples = rng.standard_normal((2, max(2, round(seconds * from_hz)))).cumsum(axis=1)
    num_samples = round(samples.shape[1] * to_hz / from_hz)
    found = polyphase(samples, ratio=ratio, num_samples=num_samples)
    for row in range(2):
        wanted = by_definition(samples[row], ratio, num_samples)
        np.testing.assert_allclose(found[row], wanted, atol=1e-9 * np.abs(samples).max())


def test_a_measured_rate_far_from_any_simple_ratio(rng):
    ratio = ratio_of(499.8761, 102.4)
    assert ratio.numerator > 1000
    samples = rng.standard_normal(4999).cumsum()
    found = polyphase(samples, ratio=ratio, num_samples=1024)
    np.testing.assert_allclose(found, by_definition(samples, ratio, 1024), atol=1e-7)


@pytest.mark.parametrize("num", [1, 2, 3, 40])
def test_very_short_input_keeps_a_constant(num):
    found = polyphase(np.full((3, num), 2.5), ratio=Fraction(128, 125), num_samples=num)
    np.testing.assert_allclose(found, 2.5, rtol=1e-12)


@pytest.mark.parametrize(("from_hz", "to_hz"), RATIOS)
def test_a_large_offset_gets_no_ripple(from_hz, to_hz):
    ratio = ratio_of(from_hz, to_hz)
    num_samples = round(10 * to_hz)
    found = polyphase(np.full(round(10 * from_hz), 300.0), ratio=ratio, num_samples=num_samples)
    np.testing.assert_allclose(found, 300.0, rtol=1e-13)


def test_single_precision_is_kept_and_is_enough(rng):
    samples = rng.standard_normal((12, 5000)).cumsum(axis=1).astype(np.float32) * 0.01
    ratio = ratio_of(500, 102.4)
    found = polyphase(samples, ratio=ratio, num_samples=1024)
    exact = polyphase(samples.astype(np.float64), ratio=ratio, num_samples=1024)
    assert (found.dtype, exact.dtype) == (np.float32, np.float64)
    assert np.abs(found - exact).max() < 2e-6 * np.abs(samples).max()


def test_the_order_in_memory_and_the_other_axes_do_not_matter(rng):
    samples = rng.standard_normal((3, 4, 1000))
    ratio = Fraction(128, 625)
    found = polyphase(samples, ratio=ratio, num_samples=205)
    turned = np.asfortranarray(samples)
    np.testing.assert_array_equal(polyphase(turned, ratio=ratio, num_samples=205), found)
    one = polyphase(samples[1, 2], ratio=ratio, num_samples=205)
    np.testing.assert_allclose(one, found[1, 2], atol=1e-12)


@pytest.mark.parametrize("from_hz", [500, 1000])
def test_the_bands_are_as_stated(from_hz):
    times_s, at_s = np.arange(round(20 * from_hz)) / from_hz, np.arange(2048) / 102.4
    ratio = ratio_of(from_hz, 102.4)
    ripple = 10 ** (-STOP_BAND_DB / 20)
    inside = slice(100, -100)

    def error(hz, wanted):
        tone = polyphase(np.sin(2 * np.pi * hz * times_s + 0.3), ratio=ratio, num_samples=2048)
        return np.abs(tone - wanted)[inside].max()

    for hz in (0.5, 5, 17, 40, 42):
        assert error(hz, np.sin(2 * np.pi * hz * at_s + 0.3)) < ripple
    for hz in (60, 61.7, 70, 120, 200, 249):
        assert error(hz, 0) < ripple
