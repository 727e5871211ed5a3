"""Errors of rebuilt ECGs against closed forms, in both orders of leads."""

import numpy as np
import pytest
import torch

from ecgtwin.signals.leads import LEADS, derive_limb_leads, take_leads
from ecgtwin.spec.model import EIGHT_LEADS, PUBLISHED_LEADS
from ecgtwin.training.reconstruction import (
    DERIVED,
    lead_errors_mv,
    limb_error_mv,
    spectral_error_mv,
)

ORDERS = {"eight": EIGHT_LEADS, "published": PUBLISHED_LEADS}


def recordings(order, seed=0):
    """Return (3, lead, 256) whose leads obey the identities."""
    independent = np.random.default_rng(seed).normal(size=(3, 8, 256))
    return torch.from_numpy(take_leads(derive_limb_leads(independent), order)).float()


def sine(amplitude_mv, hertz=10.0):
    time_s = torch.arange(1024) / 100
    return amplitude_mv * torch.sin(2 * torch.pi * hertz * time_s).expand(1, 1, -1)


def test_spectra_are_in_mv_and_know_nothing_of_phase():
    assert float(spectral_error_mv(sine(1.0), sine(1.0))) == 0
    small, large = (float(spectral_error_mv(sine(1.0), sine(1 - by))) for by in (0.1, 0.2))
    assert large == pytest.approx(2 * small, rel=1e-3)
    moved = sine(1.0).roll(5, dims=-1)
    silent = torch.zeros_like(moved)
    assert float(spectral_error_mv(sine(1.0), moved)) < 0.1 * float(
        spectral_error_mv(sine(1.0), silent)
    )


def test_a_silent_network_has_a_gradient_by_its_spectra():
    rebuilt = torch.zeros(1, 2, 256).requires_grad_(True)
    spectral_error_mv(rebuilt + 1e-3, torch.randn(1, 2, 256)).backward()
    assert rebuilt.grad.isfinite().all()
    assert rebuilt.grad.any()


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_a_lead_that_is_off_is_the_one_named(order):
    samples = recordings(order)
    rebuilt = samples.clone()
    rebuilt[:, order.index("V3")] += 0.2
    errors = lead_errors_mv(rebuilt, samples, order)
    assert tuple(errors) == LEADS
    for lead, error in errors.items():
        assert float(error) == pytest.approx(0.2 if lead == "V3" else 0, abs=1e-6), lead


def test_what_follows_from_a_lead_that_is_off_is_off_as_goldberger_says():
    samples = recordings(EIGHT_LEADS)
    rebuilt = samples.clone()
    rebuilt[:, 0] += 0.2
    errors = {
        lead: float(one) for lead, one in lead_errors_mv(rebuilt, samples, EIGHT_LEADS).items()
    }
    wanted = {"I": 0.2, "II": 0, "III": 0.2, "aVR": 0.1, "aVL": 0.2, "aVF": 0.1}
    for lead, error in wanted.items():
        assert float(errors[lead]) == pytest.approx(error, abs=1e-6), lead
    assert float(limb_error_mv(rebuilt, samples, EIGHT_LEADS)) == pytest.approx(0.15, abs=1e-6)


def test_twelve_leads_are_held_to_the_identities_and_not_to_the_recording():
    samples = recordings(PUBLISHED_LEADS)
    assert float(limb_error_mv(3 * samples, samples, PUBLISHED_LEADS)) < 1e-6
    for lead in DERIVED:
        rebuilt = samples.clone()
        rebuilt[:, PUBLISHED_LEADS.index(lead)] += 0.4
        found = float(limb_error_mv(rebuilt, samples, PUBLISHED_LEADS))
        assert found == pytest.approx(0.1, abs=1e-6), lead
    in_our_order = samples[:, [PUBLISHED_LEADS.index(lead) for lead in LEADS]]
    assert float(limb_error_mv(in_our_order, in_our_order, PUBLISHED_LEADS)) > 0.1
