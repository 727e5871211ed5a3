"""R peaks, heart rate and the beats of one twelve-lead ECG.

One detector for all rates from about 100 Hz up and for recordings of seconds to minutes.
"""

import numpy as np
from numpy.typing import NDArray

from ecgtwin.signals.measurement import Measurement, complexes_of, measure

__all__ = [
    "Measurement",
    "aligned_beats",
    "heart_rate_bpm",
    "measure",
    "median_beat",
    "r_peaks",
]

BEAT_BEFORE_S = 0.3
BEAT_AFTER_S = 0.5


def r_peaks(samples_mv: NDArray[np.floating], *, sampling_rate_hz: float) -> NDArray[np.int64]:
    """Return the samples at which the R peaks of (12, time) stand, in order; perhaps none."""
    found = complexes_of([samples_mv], sampling_rate_hz)
    peaks = np.rint(found.time_s * sampling_rate_hz).astype(np.int64)
    return np.clip(peaks, 0, samples_mv.shape[1] - 1)


def heart_rate_bpm(peaks: NDArray[np.integer], *, sampling_rate_hz: float) -> float | None:
    """Return 60 / mean R-R interval in s; None with fewer than two peaks."""
    if len(peaks) < 2:
        return None
    return float(60 * sampling_rate_hz * (len(peaks) - 1) / (peaks[-1] - peaks[0]))


def median_beat(
    samples_mv: NDArray[np.floating],
    peaks: NDArray[np.integer],
    *,
    sampling_rate_hz: float,
    before_s: float = BEAT_BEFORE_S,
    after_s: float = BEAT_AFTER_S,
) -> NDArray[np.float64] | None:
    """Return the median (12, n) of the beats from ``before_s`` before to ``after_s`` after R.

    Beats unlike the others (ventricular premature ones among normal ones) are left out. Sample
    ``round(before_s * sampling_rate_hz)`` is the R peak. None when no whole beat is there.
    """
    beats = aligned_beats(
        samples_mv, peaks, sampling_rate_hz=sampling_rate_hz, before_s=before_s, after_s=after_s
    )
    if not len(beats):
        return None
    median: NDArray[np.float64] = np.median(beats, axis=0)
    return median


def aligned_beats(
    samples_mv: NDArray[np.floating],
    peaks: NDArray[np.integer],
    *,
    sampling_rate_hz: float,
    before_s: float = BEAT_BEFORE_S,
    after_s: float = BEAT_AFTER_S,
) -> NDArray[np.float64]:
    """Return the whole beats (beat, 12, n) of the dominant shape, each shifted onto the others."""
    before, after = round(before_s * sampling_rate_hz), round(after_s * sampling_rate_hz)
    slack = max(1, round(0.03 * sampling_rate_hz))
    inside = (peaks >= before + slack) & (peaks + after + slack < samples_mv.shape[1])
    starts = np.asarray(peaks)[inside] - before - slack
    if not len(starts):
        return np.zeros((0, len(samples_mv), before + after + 1))
    span = np.arange(before + after + 1 + 2 * slack)
    wide = np.moveaxis(np.asarray(samples_mv, dtype=np.float64)[:, starts[:, None] + span], 1, 0)
    return _aligned(wide, before, slack, round(0.08 * sampling_rate_hz))


def _aligned(
    wide: NDArray[np.float64], before: int, slack: int, half_width: int
) -> NDArray[np.float64]:
    """Cut ``slack`` off both ends of (beat, lead, n), each beat shifted to match the median."""
    num_samples = wide.shape[2] - 2 * slack
    centre = before + slack
    core = slice(centre - half_width, centre + half_width + 1)
    pattern = np.median(wide, axis=0)[:, core]
    pattern = pattern - pattern.mean(axis=1, keepdims=True)
    shifts = np.arange(-slack, slack + 1)
    moved = np.stack([wide[:, :, core.start + s : core.stop + s] for s in shifts], axis=1)
    moved = moved - moved.mean(axis=3, keepdims=True)
    norms = np.sqrt((moved**2).sum(axis=(2, 3)) * (pattern**2).sum()) + 1e-12
    match = np.einsum("bslt,lt->bs", moved, pattern) / norms
    best = np.argmax(match, axis=1)
    alike = match.max(axis=1)
    chosen = np.flatnonzero(alike >= min(0.8, float(np.median(alike)) - 0.1))
    return np.stack([wide[b, :, best[b] : best[b] + num_samples] for b in chosen])
