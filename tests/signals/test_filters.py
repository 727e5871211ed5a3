"""The mains and the wander of the baseline go; the waves and the edges stay."""

import numpy as np
import pytest

from ecgtwin.signals.filters import remove_baseline, remove_mains
from tests.signals.pulses import pulse_train


@pytest.mark.parametrize("mains_hz", [50, 60])
@pytest.mark.parametrize("phase", np.linspace(0, 2 * np.pi, 5)[:-1])
def test_mains_go_up_to_the_edges(mains_hz, phase):
    ecg, _ = pulse_train(sampling_rate_hz=500)
    hum = 0.2 * np.sin(2 * np.pi * mains_hz * np.arange(5000) / 500 + phase)
    clean = remove_mains(ecg, sampling_rate_hz=500, mains_hz=mains_hz)
    humming = remove_mains(ecg + hum, sampling_rate_hz=500, mains_hz=mains_hz)
    assert np.abs(humming - clean).max() < 0.005
    assert np.abs(clean - ecg).max() < 0.02 * np.abs(ecg).max()


def test_mains_that_drift_go_where_the_notch_is_wide_enough():
    hum = 0.2 * np.sin(2 * np.pi * 49.95 * np.arange(5000) / 500)[None]
    left = remove_mains(hum, sampling_rate_hz=500, mains_hz=50)
    assert np.abs(left[:, 500:-500]).max() < 0.002
    assert np.abs(left).max() < 0.03


def test_the_notch_has_no_phase_and_spares_its_neighbours():
    times_s = np.arange(5000) / 500
    for hz in (10, 40, 60, 90):
        tone = np.sin(2 * np.pi * hz * times_s + 0.5)[None]
        kept = remove_mains(tone, sampling_rate_hz=500, mains_hz=50)
        assert np.abs(kept - tone)[:, 500:-500].max() < 0.02


def test_a_rate_that_cannot_hold_the_mains_is_an_error():
    with pytest.raises(ValueError, match="100 Hz cannot hold mains of 60 Hz"):
        remove_mains(np.zeros((1, 1000)), sampling_rate_hz=100, mains_hz=60)


def test_baseline_goes_and_the_waves_stay():
    times_s = np.arange(1024) / 102.4
    waves = np.sin(2 * np.pi * 8 * times_s)
    wander = 2.0 + 0.5 * np.sin(2 * np.pi * 0.1 * times_s)
    kept = remove_baseline(waves + wander, sampling_rate_hz=102.4)
    assert np.abs(kept - waves)[100:-100].max() < 0.05
