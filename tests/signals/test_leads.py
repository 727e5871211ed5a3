"""Leads go by name: any order in, the standard one out, and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgtwin.signals.leads import (
    INDEPENDENT_LEADS,
    LEADS,
    canonical_lead,
    derive_limb_leads,
    independent_leads,
    take_leads,
    twelve_leads,
)

SAMPLES = np.random.default_rng(0).standard_normal((2, 12, 5))


@given(st.permutations(LEADS))
def test_any_order_of_twelve_is_taken_and_put_back(order):
    taken = take_leads(SAMPLES, order)
    np.testing.assert_array_equal(taken[:, 0], SAMPLES[:, LEADS.index(order[0])])
    np.testing.assert_array_equal(twelve_leads(taken, order), SAMPLES)


@given(st.permutations(INDEPENDENT_LEADS))
def test_eight_leads_of_any_order_determine_the_rest(order):
    derived = twelve_leads(take_leads(SAMPLES, order), order)
    np.testing.assert_array_equal(derived, derive_limb_leads(independent_leads(SAMPLES)))


def test_too_few_leads_are_no_twelve():
    with pytest.raises(ValueError, match="not in"):
        twelve_leads(SAMPLES[:, :7], LEADS[:7])


@pytest.mark.parametrize("name", ["-aVR", "aVR-", "V7", "I II", ""])
def test_a_lead_of_another_sign_or_place_is_no_standard_lead(name: str) -> None:
    assert canonical_lead(name) is None


@pytest.mark.parametrize("name", ["avr", "AVR ", "lead aVR", "Lead-aVR", "lead: avr:"])
def test_a_lead_is_known_however_it_is_written(name: str) -> None:
    assert canonical_lead(name) == "aVR"
