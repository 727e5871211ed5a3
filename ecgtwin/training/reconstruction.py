"""How far rebuilt ECGs are off, beyond the mean error: by frequency, by lead, between leads.

Axes: B batch, L lead, T sample, K limb lead that follows from I and II.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ecgtwin.signals.leads import LEADS, derive_limb_leads

WINDOWS = (32, 64, 128)  # samples: 0.3 to 1.25 s at 102.4 Hz, a QRS complex to a beat
DERIVED = LEADS[2:6]  # III, aVR, aVL, aVF


def spectral_error_mv(rebuilt_BLT: Tensor, samples_BLT: Tensor) -> Tensor:
    """Return the mean absolute difference of spectral amplitudes in mV, over windows of WINDOWS.

    Multi-resolution short-time spectra (Yamamoto et al. 2020, section 2.2; here amplitudes, not
    their logarithms, which noise between the beats would rule).
    """
    errors = [
        (_amplitudes(rebuilt_BLT, window) - _amplitudes(samples_BLT, window)).abs().mean()
        for window in WINDOWS
    ]
    return torch.stack(errors).mean()


def _amplitudes(samples_BLT: Tensor, window: int) -> Tensor:
    """Return the amplitude of each frequency in each window; a sine of 1 mV has a peak of 1 mV."""
    shape = torch.hann_window(window, device=samples_BLT.device)
    spectrum = torch.stft(
        samples_BLT.float().flatten(0, 1),
        window,
        hop_length=window // 4,
        window=shape,
        return_complex=True,
    )
    return spectrum.abs() * (2 / shape.sum())


def limb_error_mv(rebuilt_BLT: Tensor, samples_BLT: Tensor, lead_order: Sequence[str]) -> Tensor:
    """Return the mean absolute error in mV of what I and II say of the other limb leads.

    Where the network draws these (twelve leads), how far it departs from Einthoven's and
    Goldberger's identities; otherwise how far what follows from I and II departs from the same of
    the recording.
    """
    follows = derived_leads(rebuilt_BLT, lead_order)
    if set(DERIVED) <= set(lead_order):
        places = [lead_order.index(lead) for lead in DERIVED]
        return (rebuilt_BLT[:, places] - follows).abs().mean()
    return (follows - derived_leads(samples_BLT, lead_order)).abs().mean()


def derived_leads(samples_BLT: Tensor, lead_order: Sequence[str]) -> Tensor:
    """Return III, aVR, aVL and aVF (B, K, T) as they follow from I and II."""
    places = [lead_order.index(lead) for lead in ("I", "II")]
    weights_K2 = torch.tensor(_limb_weights()).to(samples_BLT)
    return torch.einsum("kl,blt->bkt", weights_K2, samples_BLT[:, places])


@cache
def _limb_weights() -> list[list[float]]:
    """Return what I and II (each of 1 mV) add to each of DERIVED."""
    one_or_two = np.eye(8)[:2, :, None]
    weights: list[list[float]] = derive_limb_leads(one_or_two)[:, 2:6, 0].T.tolist()
    return weights


@torch.no_grad()
def lead_errors_mv(
    rebuilt_BLT: Tensor, samples_BLT: Tensor, lead_order: Sequence[str]
) -> dict[str, Tensor]:
    """Return the mean absolute error in mV of each of the twelve leads, in their usual order."""
    both = [_twelve(one, lead_order) for one in (rebuilt_BLT, samples_BLT)]
    error_12 = (both[0] - both[1]).abs().mean(dim=(0, 2))
    return dict(zip(LEADS, error_12.unbind(), strict=True))


def _twelve(samples_BLT: Tensor, lead_order: Sequence[str]) -> Tensor:
    leads = dict(zip(DERIVED, derived_leads(samples_BLT, lead_order).unbind(dim=1), strict=True))
    leads |= zip(lead_order, samples_BLT.unbind(dim=1), strict=True)
    return torch.stack([leads[lead] for lead in LEADS], dim=1)
