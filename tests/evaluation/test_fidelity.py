from dataclasses import replace

import numpy as np
import pytest

from ecgtwin.evaluation.fidelity import (
    FEATURES,
    MIN_ECGS,
    FeatureMoments,
    features_of,
    frechet,
    frechet_distance,
    halves,
)
from ecgtwin.evaluation.readings import QRS_POINTS, T_POINTS, Readings


def moments(mean, covariance, count=1000):
    """Moments that have exactly this mean and covariance."""
    mean, covariance = np.asarray(mean, float), np.asarray(covariance, float)
    outer = (count - 1) * covariance + count * np.outer(mean, mean)
    return FeatureMoments(count, count * mean, outer)


def test_moments_add_and_are_those_of_all_rows(rng):
    rows = rng.normal(size=(90, 5)) @ rng.normal(size=(5, 5)) + 3
    parts = (
        FeatureMoments.of(rows[:20]) + FeatureMoments.of(rows[20:21]) + FeatureMoments.of(rows[21:])
    )
    assert parts.count == 90
    np.testing.assert_allclose(parts.mean, rows.mean(axis=0))
    np.testing.assert_allclose(parts.covariance, np.cov(rows.T), atol=1e-10)


def test_equal_distributions_are_at_distance_zero(rng):
    of = FeatureMoments.of(rng.normal(size=(50, 4)))
    assert frechet_distance(of, of) == pytest.approx(0, abs=1e-9)


def test_shifted_gaussians_are_apart_by_the_square_of_the_shift():
    shift = np.array([3.0, 4.0])
    distance = frechet_distance(moments([0, 0], np.eye(2)), moments(shift, np.eye(2)))
    assert distance == pytest.approx(25)


def test_gaussians_that_commute_have_the_textbook_distance(rng):
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    left = turn @ np.diag([1.0, 4.0, 9.0]) @ turn.T
    right = turn @ np.diag([4.0, 4.0, 1.0]) @ turn.T
    distance = frechet_distance(moments(np.zeros(3), left), moments([1, 0, 0], right))
    assert distance == pytest.approx(1 + (1 - 2) ** 2 + 0 + (3 - 1) ** 2)


def test_the_distance_is_symmetric_also_where_covariances_do_not_commute(rng):
    factors = rng.normal(size=(2, 4, 4))
    left, right = (moments(rng.normal(size=4), f @ f.T) for f in factors)
    there, back = frechet_distance(left, right), frechet_distance(right, left)
    assert there == pytest.approx(back)
    assert there > 0


def test_a_covariance_without_full_rank_is_no_trouble():
    flat = moments([0, 0], [[1, 1], [1, 1]])
    assert frechet_distance(flat, moments([0, 0], np.zeros((2, 2)))) == pytest.approx(2)


def drawn(rng, num, *, scale=1.0):
    """Readings of ECGs whose beats are noise of a given size."""
    return Readings(
        heart_rate_bpm=rng.normal(70, 10, num),
        rr_sd_ms=rng.normal(30, 5, num),
        qrs_ms=rng.normal(100, 8, num),
        qt_ms=rng.normal(380, 20, num),
        shapes_mv=scale * rng.normal(size=(num, 12, QRS_POINTS + T_POINTS)),
    )


def test_twins_drawn_like_real_ecgs_are_as_far_as_real_ones_and_others_are_farther(rng):
    real, patient = drawn(rng, 800), np.arange(800) // 2
    alike = frechet(drawn(rng, 700), real, patient, seed=0)
    larger = frechet(drawn(rng, 700, scale=2.0), real, patient, seed=0)
    assert alike["twins_to_real"] == pytest.approx(alike["real_to_real"], rel=0.25)
    assert larger["twins_to_real"] > 5 * larger["real_to_real"]
    assert larger["real_to_real"] == alike["real_to_real"]
    assert alike["num_compared"] == alike["num_against"] == 400


def test_too_few_ecgs_give_a_reason(rng):
    few = drawn(rng, MIN_ECGS - 1)
    found = frechet(few, drawn(rng, 800), np.arange(800), seed=0)
    assert set(found) == {"reason"}
    assert f"{MIN_ECGS - 1} twins" in found["reason"]


def test_no_patient_stands_in_both_halves(rng):
    patient = rng.integers(50, size=400)
    first, second = halves(patient, seed=3)
    assert not set(patient[first]) & set(patient[second])
    assert (first ^ second).all()
    assert len(set(patient[first])) == 25


def test_features_are_named_in_physical_units_and_absent_beats_left_out(rng):
    shapes = np.zeros((3, 12, QRS_POINTS + T_POINTS))
    shapes[0, 7, 8], shapes[0, 7, 12], shapes[0, 7, QRS_POINTS + 14] = 1.2, -0.4, -0.3
    shapes[1] = np.nan
    readings = replace(drawn(rng, 3), shapes_mv=shapes)
    features = features_of(readings)
    assert features.shape == (2, len(FEATURES))
    named = dict(zip(FEATURES, features[0], strict=True))
    assert (named["R V2"], named["S V2"], named["T V2"]) == (1.2, -0.4, -0.3)
    assert named["QRS mean V2"] == pytest.approx(0.8 / QRS_POINTS)
    assert named["R V3"] == 0
    assert named["heart rate"] == readings.heart_rate_bpm[0]
