"""What may be filtered before resampling: the wander of the baseline, and the mains. Zero phase."""

import numpy as np
from numpy.typing import NDArray
from scipy import signal

_TONE_S = 0.5  # either end's mains is fitted over this long
_DECAYS = 4.0  # the notch starts this many of its time constants outside the recording


def remove_baseline(
    samples_mv: NDArray[np.floating], *, sampling_rate_hz: float, cutoff_hz: float = 0.5
) -> NDArray[np.float64]:
    """Return (..., time) without the slow wander of the baseline: a zero-phase high-pass.

    Below the 0.67 Hz that Kligfield et al. 2007 allow a filter without phase distortion.
    """
    sections = signal.butter(2, cutoff_hz, "highpass", fs=sampling_rate_hz, output="sos")
    padding = min(int(sampling_rate_hz / cutoff_hz), samples_mv.shape[-1] - 1)
    filtered: NDArray[np.float64] = signal.sosfiltfilt(sections, samples_mv, padlen=padding)
    return filtered


def remove_mains(
    samples_mv: NDArray[np.floating],
    *,
    sampling_rate_hz: float,
    mains_hz: float,
    notch_quality: float = 30.0,
) -> NDArray[np.float64]:
    """Return (..., time) without ``mains_hz``: a notch of second order, run forth and back.

    A reflection would break the phase of the mains, and the notch would ring where it does. So
    beyond either end the mains fitted there goes on, and only what is left of the samples is
    reflected. ``mains_hz`` must be below half the rate.
    """
    if not 0 < mains_hz < sampling_rate_hz / 2:
        raise ValueError(f"{sampling_rate_hz:g} Hz cannot hold mains of {mains_hz:g} Hz")
    samples = np.asarray(samples_mv, dtype=np.float64)
    decay_s = notch_quality / (np.pi * mains_hz)
    length = min(round(_DECAYS * decay_s * sampling_rate_hz), samples.shape[-1] - 1)
    turn = mains_hz / sampling_rate_hz
    fit = min(round(_TONE_S * sampling_rate_hz), samples.shape[-1])
    before = _continued(samples[..., ::-1], length, fit=fit, turn=turn)[..., ::-1]
    after = _continued(samples, length, fit=fit, turn=turn)
    numerator, denominator = signal.iirnotch(mains_hz, notch_quality, fs=sampling_rate_hz)
    filtered: NDArray[np.float64] = signal.filtfilt(
        numerator, denominator, np.concatenate([before, samples, after], axis=-1), padtype=None
    )
    return filtered[..., length : length + samples.shape[-1]]


def _continued(
    samples: NDArray[np.float64], length: int, *, fit: int, turn: float
) -> NDArray[np.float64]:
    """Return ``length`` samples to follow (..., time): the tone goes on, the rest is reflected.

    The tone of ``turn`` cycles per sample is fitted to the last ``fit`` samples.
    """
    num = samples.shape[-1]
    angle = 2 * np.pi * turn * np.arange(-num, length)
    waves = np.stack([np.cos(angle), np.sin(angle), np.ones_like(angle), np.arange(-num, length)])
    known = waves[:, num - fit : num]
    weights = np.linalg.lstsq(known.T, samples[..., -fit:].reshape(-1, fit).T, rcond=None)[0]
    tone = (weights[:2].T @ waves[:2]).reshape(*samples.shape[:-1], -1)
    rest = samples - tone[..., :num]
    reflected = 2 * rest[..., -1:] - rest[..., -2 : -2 - length : -1]
    continued: NDArray[np.float64] = reflected + tone[..., num:]
    return continued
