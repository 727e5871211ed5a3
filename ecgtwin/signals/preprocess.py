"""From a recording to model samples: fill gaps, filter, resample, crop. In pipeline order.

All of it is linear in the leads (but which gaps are filled), so the limb-lead identities survive.
"""

from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import signal as scipy_signal

from ecgtwin.errors import RecordError
from ecgtwin.signals.filters import remove_baseline as remove_baseline
from ecgtwin.signals.filters import remove_mains
from ecgtwin.signals.gaps import filled, gap_faults
from ecgtwin.signals.leads import LEADS
from ecgtwin.signals.resampling import polyphase
from ecgtwin.spec.ingest import SignalSpec

_USUAL = SignalSpec()


def fill_gaps(
    samples_mv: NDArray[np.floating], *, sampling_rate_hz: float, signal: SignalSpec = _USUAL
) -> NDArray[np.floating]:
    """Return (lead, time) samples with short runs of NaN or infinity interpolated linearly.

    A gap at either end takes the nearest value. Raises RecordError naming the leads with a gap
    longer than ``max_gap_s``, or of which more than ``max_gap_share`` is missing.
    """
    missing = ~np.isfinite(samples_mv)
    if not missing.any():
        return samples_mv
    names = LEADS if len(samples_mv) == len(LEADS) else [str(row) for row in range(len(samples_mv))]
    found = gap_faults(missing, names, sampling_rate_hz=sampling_rate_hz, signal=signal)
    if found:
        text = "; ".join(fault.message for fault in found)
        raise RecordError(text, kind=found[0].kind, value=found[0].value)
    return filled(samples_mv, missing)


def is_within(mains_hz: float, sampling_rate_hz: float) -> bool:
    """Say whether a recording can hold the mains at all, so that a notch makes sense."""
    return mains_hz < 0.48 * sampling_rate_hz


def filter_samples(
    samples_mv: NDArray[np.floating], *, sampling_rate_hz: float, signal: SignalSpec = _USUAL
) -> NDArray[np.floating]:
    """Return (..., time) high-passed and without the mains, where ``signal`` asks for it.

    Mains above what the rate can hold are not there, and nothing is done about them.
    """
    samples = samples_mv
    if signal.highpass_hz is not None:
        samples = remove_baseline(
            samples, sampling_rate_hz=sampling_rate_hz, cutoff_hz=signal.highpass_hz
        )
    if signal.notch_hz is not None and is_within(signal.notch_hz, sampling_rate_hz):
        samples = remove_mains(
            samples,
            sampling_rate_hz=sampling_rate_hz,
            mains_hz=signal.notch_hz,
            notch_quality=signal.notch_quality,
        )
    return samples


def resample(
    samples_mv: NDArray[np.floating],
    *,
    from_hz: float,
    to_hz: float,
    method: Literal["polyphase", "fft"] = "polyphase",
) -> NDArray[np.float64]:
    """Resample (..., time) with zero phase; see ``signals.resampling`` for the filter.

    The result has ``round(num_samples * to_hz / from_hz)`` samples. Edges are continued by odd
    reflection, so neither an offset nor a slope rings there. Sums are in the precision of the
    input. ``fft``: the whole recording as one period, as the published code resamples.
    """
    samples = np.asarray(samples_mv)
    ratio = Fraction(to_hz).limit_denominator(10_000) / Fraction(from_hz).limit_denominator(10_000)
    if ratio == 1:
        return samples.astype(np.float64)
    num_samples = round(samples.shape[-1] * to_hz / from_hz)
    if method == "fft":
        whole: NDArray[np.floating] = scipy_signal.resample(samples, num_samples, axis=-1)
    else:
        whole = polyphase(samples, ratio=ratio, num_samples=num_samples)
    return whole.astype(np.float64)


def resample_rows(
    samples_mv: NDArray[np.float32], *, from_hz: float, to_hz: float
) -> NDArray[np.float32]:
    """Return (row, lead, time) resampled as by ``resample``; at an equal rate as they are.

    Row by row and in float64: a row does not depend on the others, nor, but for hardly a bit, on
    who sums. A row with samples that are not finite has such afterwards.
    """
    if from_hz == to_hz:
        return samples_mv
    with np.errstate(invalid="ignore"):  # infinity less infinity
        rows = [
            resample(one.astype(np.float64), from_hz=from_hz, to_hz=to_hz).astype(np.float32)
            for one in samples_mv
        ]
    num_samples = round(samples_mv.shape[-1] * to_hz / from_hz)
    return np.stack(rows) if rows else np.zeros((0, samples_mv.shape[1], num_samples), np.float32)


def crop(samples_mv: NDArray[np.floating], *, num_samples: int) -> NDArray[np.floating]:
    """Return the first ``num_samples`` of (..., time); raise RecordError when there are fewer."""
    if samples_mv.shape[-1] < num_samples:
        raise RecordError(
            f"the recording is too short: {samples_mv.shape[-1]} samples at the wanted rate, "
            f"{num_samples} are needed",
            kind="too_short",
            value=f"{samples_mv.shape[-1]} samples",
        )
    return samples_mv[..., :num_samples]


def check_form(
    samples_mv: NDArray[np.floating], *, sampling_rate_hz: float, to_hz: float, num_samples: int
) -> None:
    """Raise RecordError unless there are twelve leads, a rate, and enough samples."""
    if samples_mv.ndim != 2 or len(samples_mv) != len(LEADS):
        shape = samples_mv.shape
        raise RecordError(
            f"samples have shape {shape}; {len(LEADS)} leads by time is needed",
            kind="lead_missing",
            value=shape,
        )
    if not 0 < sampling_rate_hz < np.inf:
        raise RecordError(
            f"the sampling rate is {sampling_rate_hz} Hz; it must be above 0",
            kind="rate_invalid",
            value=f"{sampling_rate_hz} Hz",
        )
    if round(samples_mv.shape[1] * to_hz / sampling_rate_hz) < num_samples:
        found_s = samples_mv.shape[1] / sampling_rate_hz
        raise RecordError(
            f"the recording is too short: {found_s:.2f} s, {num_samples / to_hz:.2f} s are needed",
            kind="too_short",
            value=f"{found_s:.2f} s",
        )


def prepare(
    samples_mv: NDArray[np.floating],
    *,
    sampling_rate_hz: float,
    to_hz: float,
    num_samples: int,
    signal: SignalSpec = _USUAL,
) -> NDArray[np.float32]:
    """Return (12, num_samples) at ``to_hz`` from (12, time): gaps filled, resampled, cropped.

    Filtered only where ``signal`` asks for it. Raises RecordError with the reason.
    """
    check_form(samples_mv, sampling_rate_hz=sampling_rate_hz, to_hz=to_hz, num_samples=num_samples)
    whole = fill_gaps(samples_mv, sampling_rate_hz=sampling_rate_hz, signal=signal)
    clean = filter_samples(whole, sampling_rate_hz=sampling_rate_hz, signal=signal)
    resampled = resample(clean, from_hz=sampling_rate_hz, to_hz=to_hz, method=signal.resampling)
    return crop(resampled, num_samples=num_samples).astype(np.float32)
