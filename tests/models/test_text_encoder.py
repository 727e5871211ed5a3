"""The embedded text encoder: stable, unit length, and close where words are shared."""

import numpy as np
import pytest

from ecgtwin.models.text_encoder import hashed_statement

GOLDEN_PLACES = [74, 139]  # of the two words of "atrial fibrillation"


def test_vectors_have_unit_length_and_do_not_change_between_processes():
    vector = hashed_statement("atrial fibrillation", 192)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    largest = np.argsort(-np.abs(vector), kind="stable")[:2]
    assert sorted(int(place) for place in largest) == GOLDEN_PLACES


def test_shared_words_bring_statements_closer():
    incomplete = hashed_statement("incomplete right bundle branch block", 192)
    complete = hashed_statement("right bundle branch block", 192)
    other = hashed_statement("sinus rhythm", 192)
    assert incomplete @ complete > 0.6 > 0.3 > abs(float(incomplete @ other))


def test_case_and_spacing_do_not_matter():
    assert np.array_equal(
        hashed_statement(" Sinus  Rhythm", 64), hashed_statement("sinus rhythm", 64)
    )
