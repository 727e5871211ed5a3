"""Retrieval of the own recording against closed forms."""

import numpy as np
import pytest

from ecgtwin.twin.retrieval import ranks_of_own, retrieve


def test_everybody_is_found_by_an_equal_vector(rng):
    vectors = rng.normal(size=(20, 8))
    found = retrieve(vectors, 3 * vectors)  # the length means nothing
    assert (found.recall_at_1, found.recall_at_10, found.auroc) == (1.0, 1.0, 1.0)
    assert found.num_persons == 20


def test_vectors_that_know_nothing_find_by_chance(rng):
    found = retrieve(rng.normal(size=(1000, 16)), rng.normal(size=(1000, 16)))
    assert found.recall_at_1 == pytest.approx(1 / 1000, abs=0.004)
    assert found.recall_at_10 == pytest.approx(10 / 1000, abs=0.012)
    assert found.auroc == pytest.approx(0.5, abs=0.03)


def test_a_tie_counts_against_the_own():
    assert ranks_of_own(np.ones((4, 4))).tolist() == [4, 4, 4, 4]
    similarity = np.array([[0.9, 0.1, 0.2], [0.8, 0.5, 0.6], [0.1, 0.2, 0.3]])
    assert ranks_of_own(similarity).tolist() == [1, 3, 1]
