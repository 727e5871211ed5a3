"""From a recording to model samples: fill gaps, resample, crop. Pure functions, in pipeline order.

All of them are linear in the leads, so the limb-lead identities survive.
"""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from ecgtwin.errors import RecordError
from ecgtwin.signals.leads import LEADS

MAX_GAP_S = 0.04  # a longer gap could hide a Q wave
MAX_GAP_SHARE = 0.01


def fill_gaps(samples_mv: NDArray[np.floating], *, sampling_rate_hz: float) -> NDArray[np.float64]:
    """Return (lead, time) samples with short runs of NaN or infinity interpolated linearly.

    A gap at either end takes the nearest value. Raises RecordError naming the lead when a gap is
    longer than 40 ms or more than 1 % of a lead is missing.
    """
    filled = np.array(samples_mv, dtype=np.float64)
    missing = ~np.isfinite(filled)
    for position in np.flatnonzero(missing.any(axis=1)):
        name = LEADS[position] if len(filled) == len(LEADS) else f"number {position}"
        _check_gaps(missing[position], name, sampling_rate_hz)
        known = np.flatnonzero(~missing[position])
        gap = np.flatnonzero(missing[position])
        filled[position, gap] = np.interp(gap, known, filled[position, known])
    return filled


def _check_gaps(missing: NDArray[np.bool_], name: str, sampling_rate_hz: float) -> None:
    longest_ms = 1000 * longest_run(missing) / sampling_rate_hz
    if longest_ms > 1000 * MAX_GAP_S:
        raise RecordError(
            f"lead {name} has no finite value (NaN) for {longest_ms:.0f} ms; "
            f"gaps of at most {1000 * MAX_GAP_S:.0f} ms are filled"
        )
    if missing.mean() > MAX_GAP_SHARE:
        raise RecordError(
            f"lead {name} has no finite value (NaN) in {missing.mean():.1%} of its samples; "
            f"at most {MAX_GAP_SHARE:.0%} are filled"
        )


def longest_run(mask: NDArray[np.bool_]) -> int:
    """Return the length of the longest run of True in a one-dimensional mask."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def resample(
    samples_mv: NDArray[np.floating], *, from_hz: float, to_hz: float
) -> NDArray[np.float64]:
    """Resample (..., time) with a zero-phase polyphase filter.

    The result has ``round(num_samples * to_hz / from_hz)`` samples. Edges are continued by odd
    reflection, so neither an offset nor a slope rings there.
    """
    samples = np.asarray(samples_mv, dtype=np.float64)
    ratio = Fraction(to_hz).limit_denominator(10_000) / Fraction(from_hz).limit_denominator(10_000)
    if ratio == 1:
        return samples.copy()
    resampled: NDArray[np.float64] = signal.resample_poly(
        samples, ratio.numerator, ratio.denominator, axis=-1, padtype="antireflect"
    )
    return resampled[..., : round(samples.shape[-1] * to_hz / from_hz)]


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


def crop(samples_mv: NDArray[np.floating], *, num_samples: int) -> NDArray[np.floating]:
    """Return the first ``num_samples`` of (..., time); raise RecordError when there are fewer."""
    if samples_mv.shape[-1] < num_samples:
        raise RecordError(
            f"the recording is too short: {samples_mv.shape[-1]} samples at the wanted rate, "
            f"{num_samples} are needed"
        )
    return samples_mv[..., :num_samples]


def prepare(
    samples_mv: NDArray[np.floating], *, sampling_rate_hz: float, to_hz: float, num_samples: int
) -> NDArray[np.float32]:
    """Return (12, num_samples) at ``to_hz`` from (12, time): gaps filled, resampled, cropped.

    Nothing is filtered but what resampling must remove. Raises RecordError with the reason.
    """
    if samples_mv.ndim != 2 or len(samples_mv) != len(LEADS):
        raise RecordError(
            f"samples have shape {samples_mv.shape}; {len(LEADS)} leads by time is needed"
        )
    if not sampling_rate_hz > 0:
        raise RecordError(f"the sampling rate is {sampling_rate_hz} Hz; it must be above 0")
    filled = fill_gaps(samples_mv, sampling_rate_hz=sampling_rate_hz)
    if round(filled.shape[1] * to_hz / sampling_rate_hz) < num_samples:
        raise RecordError(
            f"the recording is too short: {filled.shape[1] / sampling_rate_hz:.2f} s, "
            f"{num_samples / to_hz:.2f} s are needed"
        )
    resampled = resample(filled, from_hz=sampling_rate_hz, to_hz=to_hz)
    return crop(resampled, num_samples=num_samples).astype(np.float32)
