"""R peaks, heart rate, the median beat and the measured intervals of a twelve-lead ECG.

One detector for all rates from about 100 Hz up and for recordings of seconds to minutes.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from ecgtwin.signals.delineation import Delineation, delineate
from ecgtwin.signals.leads import independent_leads
from ecgtwin.signals.preprocess import remove_baseline

QRS_BAND_HZ = (5.0, 22.0)
SMOOTHING_S = 0.09
REFRACTORY_S = 0.23
T_WAVE_S = 0.42  # a T wave peaks no later than this after its R peak
T_WAVE_SHARE = 0.5  # of the slope of its QRS complex is the most a T wave reaches
LEVEL_S = 1.7  # some beat lies in a window this long
LEVEL_WINDOWS = 7
LEAST_LEVEL = 0.2  # of the largest slope: in a long pause the usual height is not that of noise
MAX_LEAD_SHARE = 4.0  # one lead counts at most this many times the median lead: loose electrodes
THRESHOLD = 0.3  # of the usual QRS height, without noise ...
THRESHOLD_RISE = 1.8  # ... and how it rises with the slope of the quieter quarter
SEARCH_BACK_SHARE = 0.6
SEARCH_BACK_RR = 1.6
MIN_PROMINENCE = 4.2  # noise alike in all leads reaches 4.1, the least clear of 700 real ECGs 7.8
MAX_SPREAD = 0.07  # fast wide complexes are less prominent, but then of one height
MIN_ALIKENESS = 0.3  # mean correlation of two complexes; the least of 700 real ECGs is 0.55
BEAT_BEFORE_S = 0.3
BEAT_AFTER_S = 0.5


@dataclass(frozen=True, slots=True)
class Measurement:
    """What can be read from an ECG. None: it could not be measured."""

    num_beats: int
    heart_rate_bpm: float | None = None
    rr_sd_ms: float | None = None
    qrs_ms: float | None = None
    pr_ms: float | None = None
    qt_ms: float | None = None
    p_wave_mv: float | None = None  # root mean square of the leads at the P peak; None without P
    r_amplitude_mv: float | None = None  # the same at the QRS peak


def measure(samples_mv: NDArray[np.floating], *, sampling_rate_hz: float) -> Measurement:
    """Return rate and intervals of (12, time), the intervals from the median beat.

    A P wave counts only when it stands at the same place before most QRS complexes, so there is
    none, and no PR interval, in atrial fibrillation.
    """
    peaks = r_peaks(samples_mv, sampling_rate_hz=sampling_rate_hz)
    rr_s = np.diff(peaks) / sampling_rate_hz
    rate = heart_rate_bpm(peaks, sampling_rate_hz=sampling_rate_hz)
    if rate is None:
        return Measurement(num_beats=len(peaks))
    found = _delineate_median(samples_mv, peaks, float(np.median(rr_s)), sampling_rate_hz)
    return Measurement(
        num_beats=len(peaks),
        heart_rate_bpm=rate,
        rr_sd_ms=float(1000 * rr_s.std(ddof=1)) if len(rr_s) > 1 else None,
        qrs_ms=None if found is None else found.qrs_ms,
        pr_ms=None if found is None else found.pr_ms,
        qt_ms=None if found is None else found.qt_ms,
        p_wave_mv=None if found is None else found.p_wave_mv,
        r_amplitude_mv=None if found is None else found.r_amplitude_mv,
    )


def _delineate_median(
    samples_mv: NDArray[np.floating],
    peaks: NDArray[np.int64],
    usual_rr_s: float,
    sampling_rate_hz: float,
) -> Delineation | None:
    before_s = min(0.42, 0.6 * usual_rr_s)
    beats = aligned_beats(
        remove_baseline(samples_mv, sampling_rate_hz=sampling_rate_hz),
        peaks,
        sampling_rate_hz=sampling_rate_hz,
        before_s=before_s,
        after_s=min(0.6, 0.8 * usual_rr_s),
    )
    if len(beats) < 2:
        return None
    r_index = round(before_s * sampling_rate_hz)
    return delineate(independent_leads(beats), r_index=r_index, sampling_rate_hz=sampling_rate_hz)


def r_peaks(samples_mv: NDArray[np.floating], *, sampling_rate_hz: float) -> NDArray[np.int64]:
    """Return the samples at which the R peaks of (12, time) stand, in order; perhaps none.

    A QRS complex is where the energy of the 5 to 22 Hz slopes of the eight independent leads
    together is high for its neighbourhood (after Pan and Tompkins 1985, on all leads at once).
    """
    if samples_mv.shape[1] < sampling_rate_hz:
        return np.zeros(0, dtype=np.int64)
    banded, slope = _qrs_slope(samples_mv, sampling_rate_hz)
    candidates, _ = signal.find_peaks(slope, distance=max(1, int(0.1 * sampling_rate_hz)))
    if not len(candidates) or not slope.max() > 0:
        return np.zeros(0, dtype=np.int64)
    level = _level(slope, sampling_rate_hz)
    strength = slope[candidates] / level[candidates]
    quiet = np.percentile(slope, 25) / np.median(level)
    taken = _choose(
        candidates / sampling_rate_hz, strength, threshold=THRESHOLD + THRESHOLD_RISE * quiet
    )
    if not len(taken) or _is_noise(strength[taken], quiet):
        return np.zeros(0, dtype=np.int64)
    return _refine(banded, candidates[taken], sampling_rate_hz)


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


@lru_cache(maxsize=16)
def _band_sections(sampling_rate_hz: float) -> NDArray[np.float64]:
    sections: NDArray[np.float64] = signal.butter(
        2, QRS_BAND_HZ, "bandpass", fs=sampling_rate_hz, output="sos"
    )
    return sections


def _qrs_slope(
    samples_mv: NDArray[np.floating], sampling_rate_hz: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the banded independent leads (8, time) and their joint root-mean-square slope."""
    leads = independent_leads(np.asarray(samples_mv, dtype=np.float64))
    padding = min(int(sampling_rate_hz / 2), leads.shape[1] - 1)
    banded = signal.sosfiltfilt(_band_sections(sampling_rate_hz), leads, padlen=padding)
    rise = np.gradient(banded, axis=1) * sampling_rate_hz
    width = max(1, round(SMOOTHING_S * sampling_rate_hz))
    window = np.hanning(width + 2)[1:-1]
    energy = ndimage.convolve1d(rise**2, window / window.sum(), axis=1, mode="constant")
    usual = np.partition(energy, len(energy) // 2, axis=0)[len(energy) // 2]
    joint = np.minimum(energy, MAX_LEAD_SHARE * usual).mean(axis=0)
    return banded, np.sqrt(joint)


def _level(slope: NDArray[np.float64], sampling_rate_hz: float) -> NDArray[np.float64]:
    """Return at each sample the usual QRS height: the median maximum of the windows around."""
    width = min(len(slope), int(LEVEL_S * sampling_rate_hz))
    starts = np.linspace(0, len(slope) - width, max(1, round(2 * len(slope) / width) - 1))
    highest = np.array([slope[int(start) : int(start) + width].max() for start in starts])
    usual = ndimage.median_filter(highest, size=2 * LEVEL_WINDOWS - 1, mode="reflect")
    local = np.interp(np.arange(len(slope)), starts + width / 2, usual)
    level: NDArray[np.float64] = np.maximum(local, LEAST_LEVEL * slope.max())
    return level


def _is_noise(strength: NDArray[np.float64], quiet: float) -> bool:
    """Say whether the peaks neither rise clearly above the rest nor are of one height."""
    clear = np.median(strength) >= MIN_PROMINENCE * quiet
    return not clear and bool(strength.std() > MAX_SPREAD * strength.mean())


def _choose(
    times_s: NDArray[np.float64], strength: NDArray[np.float64], *, threshold: float
) -> NDArray[np.int64]:
    """Return which candidates are QRS complexes, in order of time."""
    taken = _without_neighbours(times_s, strength, np.flatnonzero(strength >= threshold))
    weak = np.flatnonzero((strength >= SEARCH_BACK_SHARE * threshold) & (strength < threshold))
    if len(taken) < 3 or not len(weak):
        return taken
    usual_rr = float(np.median(np.diff(times_s[taken])))
    found = list(taken)
    for left, right in pairwise(taken):
        if times_s[right] - times_s[left] > SEARCH_BACK_RR * usual_rr:
            apart = (times_s[weak] - times_s[left] > T_WAVE_S) & (
                times_s[right] - times_s[weak] > max(REFRACTORY_S, 0.4 * usual_rr)
            )
            if apart.any():
                found.append(weak[apart][np.argmax(strength[weak[apart]])])
    return np.sort(np.array(found, dtype=np.int64))


def _without_neighbours(
    times_s: NDArray[np.float64], strength: NDArray[np.float64], order: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Drop T waves and double detections: the weaker of two candidates that are too near."""
    kept: list[int] = []
    for candidate in order:
        if kept and times_s[candidate] - times_s[kept[-1]] < REFRACTORY_S:
            if strength[candidate] > strength[kept[-1]]:
                kept[-1] = int(candidate)
            continue
        near = bool(kept) and times_s[candidate] - times_s[kept[-1]] < T_WAVE_S
        if near and strength[candidate] < T_WAVE_SHARE * strength[kept[-1]]:
            continue
        kept.append(int(candidate))
    return np.array(kept, dtype=np.int64)


def _refine(
    banded: NDArray[np.float64], found: NDArray[np.int64], sampling_rate_hz: float
) -> NDArray[np.int64]:
    """Move each detection onto the largest joint deflection of all leads.

    Complexes that look alike get the mark at the same place of their shape, so that it does not
    jump between R and S. Empty when the complexes do not look alike: then they are noise.
    """
    half, reach = round(0.08 * sampling_rate_hz), max(1, round(0.05 * sampling_rate_hz))
    margin = half + 2 * reach
    padded = np.pad(banded, ((0, 0), (margin, margin)))
    span = np.arange(-half - reach, half + reach + 1) + margin
    wide = np.moveaxis(padded[:, found[:, None] + span], 1, 0)
    lags, match = _best_lags(wide, np.median(wide, axis=0), reach)
    aligned = wide[np.arange(len(found))[:, None], :, lags[:, None] + np.arange(2 * half + 1)]
    if _alikeness(aligned.reshape(len(found), -1)) < MIN_ALIKENESS:
        return np.zeros(0, dtype=np.int64)

    centre = int(np.argmax((np.median(aligned, axis=0) ** 2).sum(axis=1))) - half
    own = np.argmax((wide**2).sum(axis=1), axis=1) - half - reach
    offsets = np.where(match > 0.7, lags - reach + centre, own)
    peaks: NDArray[np.int64] = np.unique(np.clip(found + offsets, 0, banded.shape[1] - 1))
    return peaks


def _best_lags(
    wide: NDArray[np.float64], pattern: NDArray[np.float64], reach: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return where in (beat, lead, n) the middle of (lead, n) fits best, and the correlation."""
    core = pattern[:, reach : pattern.shape[1] - reach]
    windows = np.lib.stride_tricks.sliding_window_view(wide, core.shape[1], axis=2)
    product = np.einsum("blsn,ln->bs", windows, core, optimize=True)
    energy = np.cumsum(np.pad((wide**2).sum(axis=1), ((0, 0), (1, 0))), axis=1)
    inside = energy[:, core.shape[1] :] - energy[:, : -core.shape[1]]
    match = product / np.sqrt(inside * (core**2).sum() + 1e-30)
    lags = np.argmax(match, axis=1)
    return lags, match[np.arange(len(lags)), lags]


def _alikeness(beats: NDArray[np.float64]) -> float:
    """Return the mean correlation between two different rows of (beat, n); 1 for a single one."""
    if len(beats) < 2:
        return 1.0
    unit = beats / (np.linalg.norm(beats, axis=1, keepdims=True) + 1e-30)
    together = float((unit.sum(axis=0) ** 2).sum())
    return (together - len(beats)) / (len(beats) * (len(beats) - 1))


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
