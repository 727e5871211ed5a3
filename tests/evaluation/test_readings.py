import numpy as np
import pytest

from ecgtwin.evaluation.identity import shape_correlation
from ecgtwin.evaluation.readings import QRS_POINTS, T_POINTS, read_ecgs
from ecgtwin.signals.leads import LEADS
from tests.signals.pulses import GAINS, pulse_train


def test_rate_and_shape_of_a_pulse_train():
    samples, _ = pulse_train(rate_bpm=72)
    read = read_ecgs(samples[None], sampling_rate_hz=102.4)
    assert read.heart_rate_bpm[0] == pytest.approx(72, abs=0.3)
    assert read.shapes_mv.shape == (1, 12, QRS_POINTS + T_POINTS)
    heights = read.shapes_mv[0, :, :QRS_POINTS]
    for position in range(len(LEADS)):
        peak = heights[position][np.abs(heights[position]).argmax()]
        assert peak == pytest.approx(GAINS[position], abs=0.15 * abs(GAINS[position]) + 0.02)


def test_the_shape_hardly_changes_with_the_rate_and_does_with_the_leads():
    slow, fast = (pulse_train(rate_bpm=rate)[0] for rate in (55, 120))
    other = pulse_train(rate_bpm=55)[0][::-1]
    read = read_ecgs(np.stack([slow, fast, other]), sampling_rate_hz=102.4)
    similar = shape_correlation(read.shapes_mv, read.shapes_mv)
    assert similar[0, 1] > 0.9
    assert similar[0, 2] < 0.6


def test_what_is_no_ecg_is_nan_and_keeps_its_place(rng):
    samples, _ = pulse_train()
    broken = samples.copy()
    broken[3, 500] = np.nan
    noise = rng.standard_normal(samples.shape)
    read = read_ecgs(np.stack([broken, samples, noise]), sampling_rate_hz=102.4)
    assert np.isfinite(read.heart_rate_bpm).tolist() == [False, True, False]
    assert read.has_shape.tolist() == [False, True, False]


def test_two_beats_are_too_few_to_count():
    samples, beats = pulse_train(rr_s=[6.0])
    assert len(beats) == 2
    assert np.isnan(read_ecgs(samples[None], sampling_rate_hz=102.4).heart_rate_bpm[0])


def test_no_ecgs_at_all():
    read = read_ecgs(np.zeros((0, 12, 1024)), sampling_rate_hz=102.4)
    assert len(read) == 0
    assert read.shapes_mv.shape == (0, 12, QRS_POINTS + T_POINTS)
