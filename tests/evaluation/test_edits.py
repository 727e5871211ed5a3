"""Edits are judged by what is measured; a person counts as recognised against all others."""

import numpy as np
import pytest

from ecgtwin.evaluation.edits import read_edits, recognised, share, with_interval
from ecgtwin.sources.simulated import simulate_one


def simulated(state, person=3):
    row = simulate_one(
        seed=1, person=person, visit=0, state=state, heart_rate_bpm=80, sampling_rate_hz=102.4
    )
    return row.record.samples_mv


def test_rhythm_and_conduction_are_told_apart():
    states = ("sinus rhythm", "atrial fibrillation", "right bundle branch block")
    readings = read_edits(np.stack([simulated(one) for one in states]), sampling_rate_hz=102.4)
    sinus, fibrillation, block = range(3)
    assert readings.rr_variation[sinus] < 0.06
    assert readings.rr_variation[fibrillation] > 0.12
    assert readings.qrs_ms[block] - readings.qrs_ms[sinus] > 20
    np.testing.assert_allclose(readings.heart_rate_bpm, 80, atol=4)


def test_an_ecg_without_beats_is_missing_not_zero():
    readings = read_edits(np.zeros((1, 12, 1024)), sampling_rate_hz=102.4)
    assert np.isnan(readings.rr_variation).all()
    assert np.isnan(readings.qrs_ms).all()


def test_recognised_is_above_the_others():
    references = np.random.default_rng(0).standard_normal((60, 16))
    assert recognised(references, references).all()
    assert recognised(np.roll(references, 1, axis=0), references).mean() < 0.2
    strangers = np.random.default_rng(1).standard_normal((60, 16))
    assert recognised(strangers, references).mean() < 0.2


def test_the_interval_of_a_median_covers_it_at_its_rate():
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(40):
        found = with_interval(rng.standard_normal(80) + 3, seed=seed)
        covered += found["low"] <= 3 <= found["high"]
    assert covered >= 33


def test_missing_values_are_counted_and_left_out():
    found = with_interval(np.array([1.0, np.nan, 3.0]))
    assert (found["value"], found["num"], found["num_missing"]) == (2.0, 2, 1)
    assert with_interval(np.array([np.nan]))["value"] is None
    assert share(np.array([True, True, False, True]))["value"] == pytest.approx(0.75)
