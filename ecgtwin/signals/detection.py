"""Where the QRS complexes of many recordings of one shape stand: all of them and all leads at once.

The leads are first brought to a low rate; nothing of the search needs more than 22 Hz.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from ecgtwin.signals.convolution import Floats, Ints, convolved, highest_near, ranked, thinned

LEAST_SEARCH_HZ = 110.0  # the low rate is at least this where the recording's is
QRS_BAND_HZ = (5.0, 22.0)
BAND_HALF_S = 0.2  # how far the band filter reaches
SMOOTHING_S = 0.09
REFRACTORY_S = 0.23
T_WAVE_S = 0.42  # a T wave peaks no later than this after its R peak
T_WAVE_SHARE = 0.5  # of the slope of its QRS complex is the most a T wave reaches
LEVEL_S = 1.7  # some beat lies in a window this long
LEVEL_WINDOWS = 13  # half overlapping
LEAST_LEVEL = 0.2  # of the largest slope: in a long pause the usual height is not that of noise
MAX_LEAD_SHARE = 4.0  # one lead counts at most this many times the median lead: loose electrodes
THRESHOLD = 0.3  # of the usual QRS height, without noise ...
THRESHOLD_RISE = 1.8  # ... and how it rises with the slope of the quieter quarter
SEARCH_BACK_SHARE = 0.6
SEARCH_BACK_RR = 1.6
MIN_PROMINENCE = 4.2  # noise alike in all leads reaches 4.1, the least clear of 1,470 real ECGs 4.9
MAX_SPREAD = 0.07  # fast wide complexes are less prominent, but then of one height
MIN_ALIKENESS = 0.2  # mean correlation of two complexes; the least of 1,470 real ECGs is 0.26
CORE_S = 0.08  # half the width of a complex that is matched
REACH_S = 0.05  # by how much a detection may be off
OWN_SHAPE = 0.7  # a complex that matches the others less is marked at its own highest place


@dataclass(frozen=True, slots=True)
class Complexes:
    """The QRS complexes of a block of recordings, recording by recording and in order of time."""

    recording: Ints  # (complex,)
    time_s: NDArray[np.float64]  # (complex,)
    likeness: NDArray[np.float64]  # (complex,) correlation with the usual complex of its recording

    def slices(self, num_recordings: int) -> list[slice]:
        """Return which complexes are of each recording."""
        bounds = np.searchsorted(self.recording, np.arange(num_recordings + 1)).tolist()
        return [slice(first, last) for first, last in pairwise(bounds)]


NO_COMPLEXES = Complexes(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0))


def find_complexes(leads: Floats, *, sampling_rate_hz: float) -> Complexes:
    """Return the QRS complexes of (lead, recording, time).

    A QRS complex is where the energy of the 5 to 22 Hz slopes of the leads together is high for its
    neighbourhood (after Pan and Tompkins 1985, on all leads at once).
    """
    low, low_hz = thinned(leads, sampling_rate_hz, LEAST_SEARCH_HZ)
    banded = convolved(low, _band_taps(low_hz))
    slope = _joint_slope(banded, low_hz)
    recording, place = _detect(slope, low_hz)
    return _refine(banded, recording, place, low_hz) if len(place) else NO_COMPLEXES


@lru_cache(maxsize=16)
def _band_taps(rate_hz: float) -> tuple[float, ...]:
    """Return the zero-phase response of a second-order Butterworth band filter run both ways."""
    half = round(BAND_HALF_S * rate_hz)
    impulse = np.zeros(2 * round(2 * rate_hz) + 1)
    impulse[len(impulse) // 2] = 1.0
    sections = signal.butter(2, QRS_BAND_HZ, "bandpass", fs=rate_hz, output="sos")
    response = signal.sosfiltfilt(sections, impulse)
    taps = response[len(impulse) // 2 - half : len(impulse) // 2 + half + 1]
    taps = taps * np.hanning(2 * half + 3)[1:-1] ** 0.5
    return tuple(float(tap) for tap in taps - taps.mean())


@lru_cache(maxsize=16)
def _smoothing_taps(rate_hz: float) -> tuple[float, ...]:
    width = max(1, round(SMOOTHING_S * rate_hz)) | 1
    window = np.hanning(width + 2)[1:-1]
    return tuple(float(tap) for tap in window / window.sum())


def _joint_slope(banded: Floats, rate_hz: float) -> Floats:
    """Return (recording, time): the root mean square over the leads of their smoothed slopes."""
    power = np.empty_like(banded)
    np.subtract(banded[..., 2:], banded[..., :-2], out=power[..., 1:-1])
    power[..., 0] = power[..., 1]
    power[..., -1] = power[..., -2]
    power *= rate_hz / 2
    power *= power
    energy = convolved(power, _smoothing_taps(rate_hz))
    most = MAX_LEAD_SHARE * ranked(energy, len(energy) // 2)
    joint: Floats = np.sqrt(np.minimum(energy, most, out=energy).mean(axis=0))
    return joint


def _detect(slope: Floats, rate_hz: float) -> tuple[Ints, Ints]:
    """Return the recordings and the places in (recording, time) where complexes stand."""
    num = slope.shape[1]
    level = _Level.of(slope, rate_hz)
    quiet = np.partition(slope, num // 4, axis=1)[:, num // 4] / level.middle()
    threshold = THRESHOLD + THRESHOLD_RISE * quiet
    recordings, places = np.nonzero(_tops(slope, rate_hz))
    strength = slope[recordings, places] / level.at(recordings, places)
    worth = strength >= SEARCH_BACK_SHARE * threshold[recordings]
    recordings, places, strength = recordings[worth], places[worth], strength[worth]
    chosen = np.zeros(len(places), dtype=bool)
    bounds = np.searchsorted(recordings, np.arange(len(slope) + 1)).tolist()
    for recording, (start, stop) in enumerate(pairwise(bounds)):
        heights = strength[start:stop].tolist()
        times_s = (places[start:stop] / rate_hz).tolist()
        taken = _choose(times_s, heights, float(threshold[recording]))
        if taken and not _is_noise([heights[one] for one in taken], float(quiet[recording])):
            chosen[[start + one for one in taken]] = True
    return recordings[chosen], places[chosen]


def _tops(slope: Floats, rate_hz: float) -> NDArray[np.bool_]:
    """Say which of (recording, time) are the highest within 0.1 s on either side; not the ends."""
    reach = max(1, int(0.1 * rate_hz))
    num = slope.shape[1]
    wide = np.zeros((len(slope), num + 2 * reach), dtype=np.float32)
    wide[:, reach:-reach] = slope
    tops: NDArray[np.bool_] = slope >= highest_near(wide, 2 * reach + 1)[:, :num]
    tops &= slope > 0
    tops[:, [0, -1]] = False
    return tops


@dataclass(frozen=True, slots=True)
class _Level:
    """The usual QRS height: the median maximum of the windows around, in the middle of each."""

    first: float  # sample in the middle of the first window
    step: float  # samples from one to the next
    usual: Floats  # (recording, window)
    least: Floats  # (recording,)

    @classmethod
    def of(cls, slope: Floats, rate_hz: float) -> "_Level":
        num = slope.shape[1]
        halves = max(2, round(2 * num / (LEVEL_S * rate_hz)))
        edges = np.linspace(0, num, halves + 1)
        half_highest = np.maximum.reduceat(slope, edges[:-1].astype(np.int64), axis=1)
        highest = np.maximum(half_highest[:, :-1], half_highest[:, 1:])
        around = np.pad(np.arange(halves - 1), LEVEL_WINDOWS // 2, mode="symmetric")
        windows = np.lib.stride_tricks.sliding_window_view(around, LEVEL_WINDOWS)
        middle = LEVEL_WINDOWS // 2
        usual = np.partition(highest[:, windows], middle, axis=2)[:, :, middle]
        step = num / halves
        return cls(step, step, usual, LEAST_LEVEL * half_highest.max(axis=1))

    def middle(self) -> Floats:
        """Return the median over time (recording,)."""
        level: Floats = np.maximum(np.median(self.usual, axis=1), self.least)
        return np.maximum(level, np.float32(1e-30))

    def at(self, recordings: Ints, places: Ints) -> Floats:
        """Return the level at some places, linear between the windows."""
        last = self.usual.shape[1] - 1
        where = np.clip((places - self.first) / self.step, 0, last)
        left = np.minimum(where.astype(np.int64), max(0, last - 1))
        share = where - left
        right = np.minimum(left + 1, last)
        local = self.usual[recordings, left] * (1 - share) + self.usual[recordings, right] * share
        level: Floats = np.maximum(local, self.least[recordings])
        return level


def _is_noise(heights: list[float], quiet: float) -> bool:
    """Say whether the peaks neither rise clearly above the rest nor are of one height."""
    if sorted(heights)[len(heights) // 2] >= MIN_PROMINENCE * quiet:
        return False
    return bool(np.std(heights) > MAX_SPREAD * np.mean(heights))


def _choose(times_s: list[float], heights: list[float], threshold: float) -> list[int]:
    """Return which candidates are QRS complexes, in order of time."""
    taken = _without_neighbours(times_s, heights, threshold)
    if len(taken) < 3:
        return taken
    gaps = sorted(times_s[right] - times_s[left] for left, right in pairwise(taken))
    usual_rr = gaps[len(gaps) // 2]
    if gaps[-1] <= SEARCH_BACK_RR * usual_rr:
        return taken
    found = list(taken)
    for left, right in pairwise(taken):
        if times_s[right] - times_s[left] > SEARCH_BACK_RR * usual_rr:
            apart = [
                weak
                for weak in range(left + 1, right)
                if heights[weak] < threshold
                and times_s[weak] - times_s[left] > T_WAVE_S
                and times_s[right] - times_s[weak] > max(REFRACTORY_S, 0.4 * usual_rr)
            ]
            if apart:
                found.append(max(apart, key=heights.__getitem__))
    return sorted(found)


def _without_neighbours(times_s: list[float], heights: list[float], threshold: float) -> list[int]:
    """Drop T waves and double detections: the weaker of two candidates that are too near."""
    kept: list[int] = []
    for one, height in enumerate(heights):
        if height < threshold:
            continue
        if kept:
            apart_s = times_s[one] - times_s[kept[-1]]
            if apart_s < REFRACTORY_S:
                if height > heights[kept[-1]]:
                    kept[-1] = one
                continue
            if apart_s < T_WAVE_S and height < T_WAVE_SHARE * heights[kept[-1]]:
                continue
        kept.append(one)
    return kept


def _refine(banded: Floats, recording: Ints, place: Ints, rate_hz: float) -> Complexes:
    """Move each detection onto the largest joint deflection of all leads.

    Complexes that look alike get the mark at the same place of their shape, so that it does not
    jump between R and S. None for a recording whose complexes do not look alike: they are noise.
    """
    half, reach = round(CORE_S * rate_hz), max(1, round(REACH_S * rate_hz))
    wide = _cut(banded, recording, place, half + reach)
    firsts = np.flatnonzero(np.diff(recording, prepend=-1))
    own = np.repeat(np.arange(len(firsts)), np.diff(firsts, append=len(recording)))
    power = (wide**2).sum(axis=0)
    unit = wide / np.sqrt(power.sum(axis=1) + 1e-30)[:, None]
    pattern = np.add.reduceat(unit[..., reach : reach + 2 * half + 1], firsts, axis=1)
    match = _matches(wide, power, pattern[:, own])
    lag = np.argmax(match, axis=1)
    likeness = match[np.arange(len(lag)), lag]
    span = lag[:, None] + np.arange(2 * half + 1)
    aligned = wide[:, np.arange(len(lag))[:, None], span]
    together, alike = _together(aligned, firsts)
    highest = (together**2).sum(axis=0)
    centre = _top(highest, np.argmax(highest, axis=1))[own] - half
    itself = _top(power, np.argmax(power, axis=1)) - half - reach
    shift = np.where(likeness > OWN_SHAPE, _top(match, lag) - reach + centre, itself)
    where = np.clip(place + shift, 0, banded.shape[2] - 1)
    order = np.lexsort((where, recording))
    keep = order[(np.diff(where[order], prepend=-9) >= 1) | (np.diff(recording, prepend=-1) > 0)]
    keep = keep[alike[own[keep]] >= MIN_ALIKENESS]
    return Complexes(recording[keep], where[keep] / rate_hz, likeness[keep].astype(np.float64))


def _cut(leads: Floats, recording: Ints, place: Ints, reach: int) -> Floats:
    """Return (lead, complex, 2 reach + 1) of (lead, recording, time), 0 beyond the ends."""
    padded = np.zeros((*leads.shape[:2], leads.shape[2] + 2 * reach), dtype=np.float32)
    padded[..., reach : reach + leads.shape[2]] = leads
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=2)
    cut: Floats = windows[:, recording, place]
    return cut


def _matches(wide: Floats, power: Floats, pattern: Floats) -> Floats:
    """Return the correlation (complex, lag) of (lead, complex, n) with its own, shorter pattern."""
    width = pattern.shape[2]
    lags = range(wide.shape[2] - width + 1)
    product = [np.einsum("lbn,lbn->b", wide[..., lag : lag + width], pattern) for lag in lags]
    energy = np.cumsum(np.pad(power, ((0, 0), (1, 0))), axis=1)
    inside = energy[:, width:] - energy[:, :-width]
    size = (pattern**2).sum(axis=(0, 2))[:, None]
    matches: Floats = np.stack(product, axis=1) / np.sqrt(np.maximum(inside, 0) * size + 1e-30)
    return matches


def _together(aligned: Floats, firsts: Ints) -> tuple[Floats, Floats]:
    """Return the sum (lead, recording, n) of complexes made alike in size, and their likeness.

    The likeness (recording,) is the mean correlation of two different ones; 1 for a single one.
    """
    unit = aligned / np.sqrt((aligned**2).sum(axis=(0, 2)) + 1e-30)[:, None]
    total = np.add.reduceat(unit, firsts, axis=1)
    num = np.diff(firsts, append=aligned.shape[1])
    pairs = np.maximum(num * (num - 1), 1)
    alike = np.where(num > 1, ((total**2).sum(axis=(0, 2)) - num) / pairs, 1.0)
    return total, alike.astype(np.float32)


def _top(rows: Floats, place: Ints) -> NDArray[np.float64]:
    """Return where the parabola through the three samples at ``place`` of each row is highest."""
    inner = np.clip(place, 1, rows.shape[1] - 2)
    each = np.arange(len(rows))
    left, here, right = (rows[each, inner + step].astype(np.float64) for step in (-1, 0, 1))
    bend = 2 * here - left - right
    shift = np.where(bend > 0, (right - left) / np.maximum(2 * bend, 1e-30), 0)
    return np.where(inner == place, place + np.clip(shift, -0.5, 0.5), place)
