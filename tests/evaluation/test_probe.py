"""The linear probe: what is planted is found, what is not there is not, persons stay apart."""

import numpy as np
import pytest

from ecgtwin.evaluation.probe import probe, ridge_scores

NUM, WIDTH = 600, 12


@pytest.fixture
def people(rng):
    """200 persons with three recordings each; every third recording has a finding."""
    persons = [f"p{number // 3}" for number in range(NUM)]
    has_finding = rng.random(NUM) < 0.3
    statements = [{"finding", "ecg"} if one else {"ecg"} for one in has_finding]
    return persons, has_finding, statements, rng.uniform(50, 120, NUM)


def test_vectors_that_tell_nothing_are_at_chance(rng, people):
    persons, _, statements, rate = people
    found = probe(rng.normal(size=(NUM, WIDTH)), persons, statements, rate)
    assert found.macro_auroc.value == pytest.approx(0.5, abs=0.05)
    assert found.heart_rate_r2.value == pytest.approx(0.0, abs=0.05)
    assert found.described()["macro_above_chance"] == pytest.approx(0, abs=0.05)


def test_a_planted_direction_is_found(rng, people):
    persons, has_finding, statements, rate = people
    vectors = rng.normal(size=(NUM, WIDTH))
    vectors += 4 * has_finding[:, None] * rng.normal(size=WIDTH)
    vectors[:, 0] += (rate - 85) / 10
    found = probe(vectors, persons, statements, rate).described()
    assert found["statements"]["finding"]["auroc"]["value"] > 0.99
    assert found["statements"]["finding"]["num_with"] == has_finding.sum()
    assert 0.7 < found["heart_rate_r2"]["value"] < 1
    assert found["num_recordings"], found["num_persons"] == (NUM, 200)


def test_what_marks_a_person_is_no_way_to_the_state(rng):
    """A probe that saw a person's other recordings would read the state off who it is."""
    persons = np.repeat(np.arange(60), 4)
    marks = np.eye(60)[persons] + rng.normal(0, 0.01, (240, 60))
    is_ill = rng.random(60) < 0.5
    statements = [{"ill"} if is_ill[person] else {"well"} for person in persons]
    rate = np.where(is_ill, 120.0, 60.0)[persons]
    found = probe(marks, [str(one) for one in persons], statements, rate)
    assert found.statements["ill"].value == pytest.approx(0.5, abs=0.15)
    assert found.heart_rate_r2.value < 0.1


def test_what_too_few_persons_have_is_not_asked_for(rng, people):
    persons, _, statements, _ = people
    rare = [one | {"rare"} if number < 24 else one for number, one in enumerate(statements)]
    found = probe(rng.normal(size=(NUM, WIDTH)), persons, rare, np.full(NUM, np.nan))
    assert list(found.statements) == ["finding"]  # all have "ecg", eight persons have "rare"
    assert found.heart_rate_r2 is None
    assert "10 persons" in found.described()["heart_rate_r2"]["reason"]


def test_nothing_frequent_is_a_reason(rng):
    found = probe(rng.normal(size=(4, 3)), list("aabb"), [set()] * 4, np.full(4, 70.0)).described()
    assert found["macro_above_chance"] is None
    assert "reason" in found["macro_auroc"]


def test_rates_that_are_unknown_take_no_part(rng, people):
    persons, _, statements, rate = people
    vectors = rng.normal(size=(NUM, WIDTH))
    vectors[:, 0] = rate
    known = np.where(rng.random(NUM) < 0.5, rate, np.nan)
    assert probe(vectors, persons, statements, known).heart_rate_r2.value > 0.99


@pytest.mark.parametrize("num", [8, 200])
def test_ridge_finds_a_line_with_fewer_rows_than_columns_or_more(rng, num):
    weights = np.zeros(20)
    weights[0] = 3.0
    train, ask = rng.normal(size=(num, 20)), rng.normal(size=(50, 20))
    scores = ridge_scores(train, (train @ weights + 5)[:, None], ask)[:, 0]
    wanted = ask @ weights + 5
    if num > 20:
        np.testing.assert_allclose(scores, wanted, atol=0.01)
    assert np.corrcoef(scores, wanted)[0, 1] > 0.3
