from itertools import permutations

import numpy as np
import pytest

from ecgtwin.evaluation.heart_rate import heart_rate_fidelity, rank_correlation


def test_twins_that_obey_have_no_error_and_full_rank_correlation(rng):
    requested = rng.uniform(45, 150, 200)
    found = heart_rate_fidelity(requested, requested, np.full(200, 70.0))
    assert found["mean_absolute_error_bpm"] == 0
    assert found["spearman"] == pytest.approx(1)
    assert found["share_of_shuffled_error"] == 0
    assert found["reference_error_bpm"] == pytest.approx(np.abs(requested - 70).mean())


def test_twins_that_ignore_the_request_do_no_better_than_the_controls(rng):
    requested, reference = rng.uniform(45, 150, (2, 3000))
    found = heart_rate_fidelity(requested, reference, reference)
    assert found["share_of_shuffled_error"] == pytest.approx(1, abs=0.05)
    assert found["share_of_reference_error"] == 1
    assert found["spearman"] == pytest.approx(0, abs=0.05)


def test_the_shuffled_control_is_the_mean_over_every_permutation(rng):
    requested, measured = rng.uniform(45, 150, (2, 5))
    every = [np.abs(np.array(order) - measured).mean() for order in permutations(requested)]
    found = heart_rate_fidelity(requested, measured, measured)
    assert found["shuffled_error_bpm"] == pytest.approx(np.mean(every))


def test_uniform_requests_shuffled_against_obedient_twins_err_by_a_third_of_the_range():
    requested = np.linspace(45, 150, 2000)
    found = heart_rate_fidelity(requested, requested, requested)
    assert found["shuffled_error_bpm"] == pytest.approx(105 / 3, rel=1e-3)


def test_twins_without_peaks_count_in_the_share_and_not_in_the_error():
    requested = np.array([60.0, 80.0, 100.0, 120.0, np.nan])
    measured = np.array([61.0, np.nan, 103.0, 122.0, 90.0])
    found = heart_rate_fidelity(requested, measured, np.array([60.0, 60.0, np.nan, 60.0, 60.0]))
    assert (found["num_requested"], found["num_measured"]) == (4, 3)
    assert found["share_measured"] == 0.75
    assert found["mean_absolute_error_bpm"] == pytest.approx(2)
    assert found["reference_error_bpm"] == pytest.approx(30)  # of the two with a known reference


def test_what_cannot_be_computed_is_none_with_a_reason():
    nothing = heart_rate_fidelity(np.full(3, np.nan), np.full(3, 70.0), np.full(3, 70.0))
    assert nothing == {"reason": "no heart rate was requested"}
    silent = heart_rate_fidelity(np.full(3, 70.0), np.full(3, np.nan), np.full(3, 70.0))
    assert silent["share_measured"] == 0
    assert silent["mean_absolute_error_bpm"] is None
    assert "no R peaks" in silent["reason"]
    constant = heart_rate_fidelity(np.full(3, 70.0), np.array([69.0, 70, 71]), np.full(3, 70.0))
    assert constant["spearman"] is None
    assert constant["mean_absolute_error_bpm"] == pytest.approx(2 / 3)


def test_rank_correlation_sees_order_only(rng):
    rates = rng.uniform(45, 150, 50)
    assert rank_correlation(rates, rates**3) == pytest.approx(1)
    assert rank_correlation(rates, -rates) == pytest.approx(-1)
