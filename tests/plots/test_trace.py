"""Interpolation and thinning: the trace goes through its samples and never lies visibly off."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgtwin.plots.trace import TOLERANCE_MM, interpolate, path_data, thinned


@pytest.mark.parametrize("rate", [100.0, 102.4, 250.0, 500.0, 1000.0])
def test_interpolation_keeps_every_sample(rate):
    rng = np.random.default_rng(0)
    samples = np.cumsum(rng.normal(size=(3, int(2 * rate))), axis=1) / 10
    time_s, drawn = interpolate(samples, sampling_rate_hz=rate)
    factor = round(1 / (rate * (time_s[1] - time_s[0])))
    assert rate * factor >= 500
    assert drawn[:, ::factor] == pytest.approx(samples, abs=0.002)
    assert time_s[::factor] == pytest.approx(np.arange(samples.shape[1]) / rate)


def test_interpolation_follows_a_band_limited_wave_up_to_its_ends():
    def wave(time_s):
        return np.sin(2 * np.pi * 20 * time_s)

    time_s, drawn = interpolate(wave(np.arange(1024) / 102.4)[None], sampling_rate_hz=102.4)
    inner = (time_s > 0.3) & (time_s < time_s[-1] - 0.3)
    assert np.abs(drawn[0] - wave(time_s))[inner].max() < 0.01
    assert np.abs(drawn[0] - wave(time_s)).max() < 0.15


def test_a_straight_baseline_does_not_ring_at_the_ends():
    slope = np.linspace(1.0, 2.0, 1024)[None]
    _, drawn = interpolate(slope, sampling_rate_hz=102.4)
    assert drawn[0] == pytest.approx(np.linspace(1.0, 2.0, drawn.shape[1]), abs=1e-3)


def test_missing_samples_stay_missing():
    samples = np.zeros((1, 200))
    samples[0, 50:60] = np.nan
    time_s, drawn = interpolate(samples, sampling_rate_hz=100.0)
    missing = np.isnan(drawn[0])
    assert time_s[missing].min() == pytest.approx(0.492)
    assert time_s[missing].max() == pytest.approx(0.598)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-50, 50), min_size=2, max_size=200))
def test_thinning_is_invisible(heights):
    y_mm = np.array(heights)
    x_mm = np.arange(len(y_mm)) * 0.05
    kept = thinned(x_mm, y_mm)
    assert kept[0] == 0
    assert kept[-1] == len(y_mm) - 1
    assert np.abs(np.interp(x_mm, x_mm[kept], y_mm[kept]) - y_mm).max() <= TOLERANCE_MM + 1e-9


def test_a_path_breaks_where_nothing_is_known():
    x_mm, y_mm = np.arange(5.0), np.array([1.0, 2.5, np.nan, 4.0, 3.0])
    assert path_data(x_mm, y_mm) == "M0 1L1 2.5M3 4L4 3"
