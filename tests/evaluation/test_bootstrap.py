"""Intervals over persons: they cover what they should, and differences are paired."""

import numpy as np
import pytest

from ecgtwin.evaluation.bootstrap import (
    Resampled,
    mean_over_persons,
    person_weights,
    weighted_auroc,
)
from ecgtwin.evaluation.identity import auroc


def test_the_interval_of_a_mean_is_the_textbooks(rng):
    values = rng.normal(3.0, 2.0, 400)
    figures = mean_over_persons(values, person_weights(400, num_resamples=4000)).figures()
    half_width = 1.96 * values.std() / 20
    assert figures["value"] == pytest.approx(values.mean())
    assert figures["low"] == pytest.approx(values.mean() - half_width, abs=0.03)
    assert figures["high"] == pytest.approx(values.mean() + half_width, abs=0.03)


def test_a_difference_on_the_same_persons_is_paired(rng):
    values, weights = rng.normal(size=200), person_weights(200)
    one, other = (mean_over_persons(values + shift, weights) for shift in (1.0, 0.0))
    assert (one - other).figures() == {name: pytest.approx(1) for name in ("value", "low", "high")}


def test_auroc_with_equal_weights_is_the_plain_one_ties_and_all(rng):
    positive, negative = rng.integers(0, 6, 50), rng.integers(0, 5, 70)
    found = weighted_auroc(positive, negative, np.ones((1, 50)), np.ones((1, 70)))
    assert found.value == pytest.approx(auroc(positive, negative))


def test_a_weight_counts_like_so_many_copies(rng):
    positive, negative = rng.normal(1, 1, 20), rng.normal(0, 1, 30)
    weights = rng.integers(0, 4, (2, 50)).astype(float)
    found = weighted_auroc(positive, negative, weights[:, :20], weights[:, 20:])
    for row, value in zip(weights.astype(int), found.values_R, strict=True):
        copies = np.repeat(positive, row[:20]), np.repeat(negative, row[20:])
        assert value == pytest.approx(auroc(*copies))


def test_resamples_without_a_positive_are_unknown_and_left_out():
    found = weighted_auroc(
        np.array([1.0]), np.array([0.0]), np.array([[1.0], [0.0]]), np.ones((2, 1))
    )
    assert np.isnan(found.values_R[1])
    assert found.figures() == {"value": 1.0, "low": None, "high": None}
    both = Resampled.mean_of([found, Resampled(np.array([0.0, 0.5]))])
    np.testing.assert_array_equal(both.values_R, [0.5, 0.5])
