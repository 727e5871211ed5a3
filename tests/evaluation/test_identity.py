import numpy as np
import pytest

from ecgtwin.evaluation.identity import (
    auroc,
    beside_real,
    cosine_similarity,
    own_against_others,
    shape_correlation,
)


def test_auroc_is_one_half_and_zero_where_it_must_be(rng):
    high, low = rng.uniform(2, 3, 40), rng.uniform(0, 1, 70)
    assert auroc(high, low) == 1.0
    assert auroc(low, high) == 0.0
    assert auroc(np.ones(5), np.ones(9)) == 0.5
    assert auroc(np.array([1.0, 3.0]), np.array([2.0])) == 0.5
    assert auroc(high, np.array([])) is None


def test_auroc_of_two_gaussians_is_the_formula(rng):
    apart = auroc(rng.normal(1.0, 1.0, 20_000), rng.normal(0.0, 1.0, 20_000))
    assert apart == pytest.approx(0.7602, abs=0.008)  # normal cdf of 1 / sqrt(2)


def test_persons_with_their_own_direction_are_found_whatever_the_length(rng):
    persons = np.eye(6)
    own = rng.integers(6, size=50)
    scaled = persons[own] * rng.uniform(0.1, 9, (50, 1))
    found = own_against_others(cosine_similarity(scaled, persons), own)
    assert (found["auroc"], found["recall_at_1"]) == (1.0, 1.0)
    assert (found["mean_own"], found["mean_others"]) == (pytest.approx(1), pytest.approx(0))


def test_vectors_that_know_nothing_give_one_half(rng):
    own = np.arange(4000) % 20
    similarity = cosine_similarity(rng.normal(size=(4000, 8)), rng.normal(size=(20, 8)))
    found = own_against_others(similarity, own)
    assert found["auroc"] == pytest.approx(0.5, abs=0.02)
    assert found["recall_at_1"] == pytest.approx(found["chance_recall_at_1"], abs=0.03)


def test_a_constant_similarity_never_counts_as_a_recall():
    found = own_against_others(np.ones((5, 3)), np.zeros(5, dtype=int))
    assert (found["auroc"], found["recall_at_1"]) == (0.5, 0.0)


def test_what_could_not_be_compared_is_left_out_and_counted():
    similarity = np.array(
        [[0.9, 0.1, np.nan], [0.2, 0.8, np.nan], [np.nan] * 3, [0.1, 0.2, np.nan]]
    )
    found = own_against_others(similarity, np.array([0, 1, 0, 2]))
    assert (found["num_ecgs"], found["num_persons"], found["auroc"]) == (2, 2, 1.0)


def test_one_person_alone_has_a_reason_and_not_a_figure():
    found = own_against_others(np.ones((4, 1)), np.zeros(4, dtype=int))
    assert set(found) == {"reason"}
    assert "two persons" in found["reason"]


def test_shape_correlation_ignores_size_and_each_leads_level_but_not_the_lead(rng):
    beats = rng.normal(size=(3, 12, 45))
    moved = 0.3 * beats + rng.normal(size=(3, 12, 1))
    np.testing.assert_allclose(np.diag(shape_correlation(beats, moved)), 1.0)
    swapped = beats[:, ::-1]
    assert np.abs(np.diag(shape_correlation(beats, swapped))).max() < 0.5


def test_real_figures_stand_beside_or_say_why_not():
    made = {"auroc": 0.8}
    assert beside_real(made, {"auroc": 0.9}) == {"auroc": 0.8, "real_auroc": 0.9}
    assert beside_real(made, {"reason": "none"})["reason"] == "real visits: none"
