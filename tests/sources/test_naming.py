"""What people call statements, and what is nearest to what nobody calls them."""

import pytest

from ecgtwin.sources.naming import _ABBREVIATIONS, canonical_code, nearest_codes
from ecgtwin.sources.statements import canonical_codes

KNOWN = canonical_codes()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("atrial fibrillation", "atrial fibrillation"),
        ("  Atrial   FIBRILLATION ", "atrial fibrillation"),
        ("AF", "atrial fibrillation"),
        ("af", "atrial fibrillation"),
        ("AFIB", "atrial fibrillation"),
        ("164889003", "atrial fibrillation"),
        ("RBBB", "right bundle branch block"),
        ("LBBB", "left bundle branch block"),
        ("1AVB", "first degree av block"),
        ("PVC", "ventricular premature complex"),
        ("VPB", "ventricular premature complex"),
        ("SR", "sinus rhythm"),
        ("NSR", "sinus rhythm"),
        ("WPW", "wolff-parkinson-white syndrome"),
        ("VT", "ventricular tachycardia"),
        ("Vorhofflimmern", "atrial fibrillation"),
        ("atrial fibrilation", None),
        ("no atrial fibrillation", None),
        ("possible atrial fibrillation", None),
        ("sinus rhythm with left bundle branch block", None),
        ("999999999", None),
        ("", None),
    ],
)
def test_a_name_stands_for_one_statement_or_for_none(text, code):
    assert canonical_code(text, KNOWN) == code


def test_only_what_is_known_is_meant():
    assert canonical_code("AF", {"sinus rhythm"}) is None
    assert canonical_code("sr", {"sinus rhythm"}) == "sinus rhythm"


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("atrial fibrilation", "atrial fibrillation"),
        ("left bundle brunch block", "left bundle branch block"),
        ("sinus tachicardia", "sinus tachycardia"),
    ],
)
def test_the_nearest_are_told_best_first(text, first):
    nearest = nearest_codes(text, KNOWN)
    assert nearest[0] == first
    assert len(nearest) == len(set(nearest)) == 3


def test_what_an_abbreviation_stands_for_is_near():
    assert nearest_codes("AF", {"atrial flutter", "sinus rhythm", "paced rhythm"})[0] == (
        "atrial flutter"
    )


@pytest.mark.parametrize("code", sorted(KNOWN))
def test_every_statement_is_called_by_its_own_words(code):
    assert canonical_code(code, KNOWN) == code


def test_abbreviations_are_of_statements_that_there_are():
    assert set(_ABBREVIATIONS.values()) <= KNOWN
