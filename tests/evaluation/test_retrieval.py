"""Retrieval against closed forms: chance, certainty, ties, and who may be asked for."""

import numpy as np
import pytest

from ecgtwin.evaluation.identity import auroc
from ecgtwin.evaluation.retrieval import (
    Recordings,
    ranks_among,
    retrieve,
    shares_above,
)

NUM_PERSONS = 300


def recordings(rng, *, own, num_persons=NUM_PERSONS):
    """Two recordings of each person in two states; ``own`` is the weight of the person."""
    persons = np.repeat(np.arange(num_persons), 2)
    who = rng.normal(size=(num_persons, 16))[persons]
    vectors = own * who + (1 - own) * rng.normal(size=who.shape)
    states = ["sinus rhythm", "atrial fibrillation"] * num_persons
    return Recordings(vectors, [f"p{number}" for number in persons], states)


def ask(found, **changes):
    settings = {"different_states": True, "num_strangers": 100, "num_draws": 4, **changes}
    return retrieve(found, **settings)


def test_vectors_that_know_nothing_retrieve_by_chance(rng):
    figures = ask(recordings(rng, own=0.0), num_draws=20).figures
    assert figures["recall_at_1"].value == pytest.approx(1 / 101, abs=0.01)
    assert figures["recall_at_10"].value == pytest.approx(10 / 101, abs=0.05)  # 300 persons
    assert figures["mean_rank"].value == pytest.approx(51, abs=4)
    assert figures["auroc"].value == pytest.approx(0.5, abs=0.03)
    low, high = (figures["auroc"].figures()[name] for name in ("low", "high"))
    assert low < 0.5 < high


def test_vectors_that_are_the_person_retrieve_everybody(rng):
    found = ask(recordings(rng, own=1.0))
    described = found.described()
    assert described["recall_at_1"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert described["mean_rank"]["value"] == described["auroc"]["value"] == 1.0
    assert described["chance_recall_at_1"] == pytest.approx(1 / 101)
    assert found.counts == {"num_persons": 300, "num_strangers": 100, "num_draws": 4}


def test_a_tie_is_a_miss_of_the_recall_and_half_of_the_auroc():
    own, strangers = np.array([0.5, 0.5]), np.array([[0.5, 0.1, 0.2], [0.1, 0.2, 0.3]])
    np.testing.assert_array_equal(ranks_among(own, strangers), [2, 1])
    np.testing.assert_allclose(shares_above(own, strangers), [[2.5 / 3, 1], [2.5 / 3, 1]])
    found = Recordings(np.ones((40, 3)), [f"p{n // 2}" for n in range(40)], list(range(40)))
    figures = ask(found).figures
    assert (figures["recall_at_1"].value, figures["auroc"].value) == (0.0, 0.5)


def test_shares_above_average_to_the_auroc_of_all_pairs(rng):
    own, strangers = rng.normal(1, 1, 30), rng.normal(0, 1, (30, 50)).round(1)
    assert shares_above(own, strangers).mean() == pytest.approx(auroc(own, strangers.ravel()))


def test_who_has_one_state_only_is_a_stranger_to_the_others(rng):
    found = recordings(rng, own=1.0, num_persons=6)
    states = ["same"] * 8 + found.states[8:]
    less = Recordings(found.vectors, found.persons, states)
    assert ask(less).counts == {"num_persons": 2, "num_strangers": 5, "num_draws": 4}
    assert ask(less, different_states=False).counts["num_persons"] == 6
    is_stranger = np.arange(12) >= 10
    marked = Recordings(found.vectors, found.persons, states, is_stranger)
    assert ask(marked).counts["num_persons"] == 1


def test_nobody_to_ask_for_is_a_reason_and_not_a_figure(rng):
    single = Recordings(rng.normal(size=(5, 3)), list("abcde"), ["s"] * 5)
    described = ask(single).described()
    assert described["num_persons"] == 0
    assert "two" in described["reason"]


def test_draws_are_of_the_persons_and_not_of_the_vectors(rng):
    """So that two extractors are compared on the same pairs, and their difference is paired."""
    one = recordings(rng, own=0.7)
    turned = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    other = Recordings(one.vectors @ turned * 3, one.persons, one.states)
    difference = ask(one).figures["mean_rank"] - ask(other).figures["mean_rank"]
    np.testing.assert_allclose(difference.values_R, 0, atol=1e-9)
