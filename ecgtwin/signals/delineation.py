"""Where the waves of median beats begin and end: many beats of one shape, all leads at once."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from ecgtwin.signals.convolution import Floats, Ints, convolved, highest_near

FINE_HZ = 500.0  # beats of a lower rate are brought near to this one
QRS_EDGE_SHARES = (0.035, 0.07, 0.12, 0.2)  # of the largest spatial velocity; the first that is met
QRS_BEFORE_S, QRS_AFTER_S = 0.14, 0.16  # a complex reaches no further from its peak
QUIET_S = 0.016
SLOPE_REACH_S = 0.008  # a slope is that between samples this far on either side
QRS_FOOT_S = 0.008  # by how much annotators begin a QRS complex before its velocity rises (LUDB)
P_BEFORE_S = 0.2  # a P wave begins about this much before its QRS complex
P_FOOT_S = 0.01  # the same of a P wave
P_EDGE_SHARE = 0.1  # of the P peak
T_FOOT_S = 0.016  # by how much annotators end a T wave later than its tangent does (LUDB)
MIN_P_MV = 0.012
MIN_P_STEADINESS = 0.4


@dataclass(frozen=True, slots=True)
class Beats:
    """Median beats whose R peaks stand at one place; times count from the window's start."""

    median_mv: Floats  # (lead, recording, n)
    beats_mv: Floats  # (beat, lead, recording, n): those of which it is the median, then 0
    counts: Ints  # (recording,) how many they are
    r_index: int
    first: Ints  # (recording,) where what belongs to the beat begins ...
    stop: Ints  # ... and ends
    rate_hz: float


@dataclass(frozen=True, slots=True)
class Waves:
    """What was found in each median beat (recording,); NaN: not there, or hidden by neighbours."""

    qrs_ms: Floats
    pr_ms: Floats
    qt_ms: Floats
    p_wave_mv: Floats
    r_amplitude_mv: Floats
    axis_deg: Floats
    above_mv: Floats  # (lead, recording, n): the median beat above its level before QRS
    start: Ints  # where in it P to T begin; nothing is between start and stop ...
    stop: Ints  # ... where no QRS complex was found


def finer(leads: Floats, times: int) -> Floats:
    """Return (..., n) with ``times`` samples for one, (n - 1) * times + 1 in all; interpolated."""
    if times == 1:
        return leads
    return leads @ _interpolation(leads.shape[-1], times)


@lru_cache(maxsize=32)
def _interpolation(num: int, times: int) -> Floats:
    padded = signal.resample_poly(np.eye(num), times, 1, axis=1, padtype="line")
    matrix: Floats = padded[:, : (num - 1) * times + 1].astype(np.float32)
    return matrix


def delineate_all(beats: Beats) -> Waves:
    """Return the waves of median beats; the beats themselves say whether the P wave is steady."""
    times = max(1, round(FINE_HZ / beats.rate_hz))
    fine = _Fine(
        finer(beats.median_mv, times),
        beats.r_index * times,
        beats.first * times,
        beats.stop * times,
        beats.rate_hz * times,
    )
    onset, offset = _qrs_edges(fine)
    above = fine.leads - fine.level(onset)[..., None]
    size = np.sqrt((above**2).mean(axis=0))
    inside = fine.between(onset, offset)
    t_end = _t_end(fine, above, size, offset)
    p_onset, p_peak = _p_waves(fine, above, size, onset, beats)
    area = np.where(inside, above[:2], 0).sum(axis=2)
    ms = 1000 / fine.rate_hz
    begin = onset - QRS_FOOT_S * fine.rate_hz
    each = np.arange(len(onset))
    has_qrs = offset > 0
    none = np.float32(np.nan)
    return Waves(
        qrs_ms=np.where(has_qrs, ms * (offset - begin), none),
        pr_ms=np.where(has_qrs, ms * (begin - p_onset), none),
        qt_ms=np.where(has_qrs, ms * (t_end - begin), none),
        p_wave_mv=np.where(p_peak > 0, size[each, p_peak], none),
        r_amplitude_mv=np.where(has_qrs, np.where(inside, size, 0).max(axis=1), none),
        axis_deg=np.where(has_qrs, _axis_deg(area[0], area[1]), none),
        above_mv=above,
        start=np.maximum(fine.first, onset - fine.num(P_BEFORE_S)),
        stop=np.where(has_qrs, np.where(np.isnan(t_end), offset, t_end), 0).astype(np.int64),
    )


def _axis_deg(one: Floats, two: Floats) -> Floats:
    """Return the frontal axis, -180 to 180, from the net QRS areas (recording,) of I and II.

    aVF = II - I / 2 is smaller by sqrt(3) / 2 than a lead of the triangle (Novosel, Noll and
    Luscher 1999, Croat Med J 40:77).
    """
    upright = (2 * two - one) / np.float32(3**0.5)
    axis: Floats = np.degrees(np.arctan2(upright, one))
    return axis


@dataclass(frozen=True, slots=True)
class _Fine:
    """Median beats at a rate fine enough for their edges."""

    leads: Floats  # (lead, recording, n)
    r_index: int
    first: Ints
    stop: Ints
    rate_hz: float

    def num(self, seconds: float) -> int:
        return round(seconds * self.rate_hz)

    def between(self, start: Ints, stop: Ints) -> NDArray[np.bool_]:
        """Say which of (recording, n) lie from start up to before stop."""
        place = np.arange(self.leads.shape[2])
        inside: NDArray[np.bool_] = (place >= start[:, None]) & (place < stop[:, None])
        return inside

    def level(self, onset: Ints) -> Floats:
        """Return the mean (lead, recording) of the 12 ms before the QRS complex."""
        span = onset[:, None] + np.arange(-self.num(0.012), 1)
        before = self.leads[:, np.arange(len(onset))[:, None], np.maximum(span, 0)]
        level: Floats = before.mean(axis=2)
        return level

    def smoothed(self, rows: Floats, seconds: float) -> Floats:
        half = max(1, self.num(seconds) // 2)
        taps = (0.25 / half, *[0.5 / half] * (2 * half - 1), 0.25 / half)
        return convolved(rows, taps)


def _gradient(rows: Floats) -> Floats:
    slope = np.empty_like(rows)
    slope[..., 1:-1] = (rows[..., 2:] - rows[..., :-2]) / 2
    slope[..., 0] = rows[..., 1] - rows[..., 0]
    slope[..., -1] = rows[..., -1] - rows[..., -2]
    return slope


def _qrs_edges(fine: _Fine) -> tuple[Ints, Ints]:
    """Return on- and offset: where the spatial velocity has come to rest on either side of R."""
    velocity = fine.smoothed(_velocity(fine.leads, fine.num(SLOPE_REACH_S)), 0.008)
    at_r, gap, width = fine.r_index, fine.num(0.01), fine.num(QUIET_S)
    near = fine.num(0.08)
    highest = velocity[:, max(0, at_r - near) : at_r + near].max(axis=1)
    usual = _quiet_fifth(velocity, fine)
    restless = highest_near(velocity, width)  # of the 16 ms that begin here
    start = np.maximum(fine.first, at_r - fine.num(QRS_BEFORE_S))
    stop = np.minimum(fine.stop, at_r + fine.num(QRS_AFTER_S))
    before = restless[:, : at_r - gap - width // 2]
    after = restless[:, at_r + gap :]
    onset, offset = np.zeros_like(start), np.zeros_like(start)
    for share in QRS_EDGE_SHARES:
        rest = (share * highest + usual)[:, None]
        last = _last(before < rest)
        next_ = _first(after < rest)
        last = np.where(last >= start, last, -1)
        next_ = np.where((next_ >= 0) & (next_ + at_r + gap < stop - width // 2), next_, -1)
        new = (offset == 0) & (last >= 0) & (next_ >= 0)
        onset = np.where(new, last + width, onset)
        offset = np.where(new, next_ + at_r + gap, offset)
    return onset, offset


def _velocity(leads: Floats, reach: int) -> Floats:
    """Return the root mean square over the leads of the slopes across ``2 reach`` samples."""
    slope = leads[..., 2 * reach :] - leads[..., : -2 * reach]
    velocity = np.zeros(leads.shape[1:], dtype=np.float32)
    velocity[:, reach:-reach] = np.sqrt((slope**2).mean(axis=0)) / (2 * reach)
    return velocity


def _quiet_fifth(velocity: Floats, fine: _Fine) -> Floats:
    ordered = np.sort(np.where(fine.between(fine.first, fine.stop), velocity, np.inf), axis=1)
    place = (0.2 * (fine.stop - fine.first - 1)).astype(np.int64)
    fifth: Floats = ordered[np.arange(len(place)), place]
    return fifth


def _first(rows: NDArray[np.bool_]) -> Ints:
    place = np.argmax(rows, axis=1)
    return np.where(rows[np.arange(len(rows)), place], place, -1)


def _last(rows: NDArray[np.bool_]) -> Ints:
    place = rows.shape[1] - 1 - np.argmax(rows[:, ::-1], axis=1)
    return np.where(rows[np.arange(len(rows)), place], place, -1)


def _along(above: Floats, peak: Ints) -> tuple[Floats, Floats]:
    """Return the direction (lead, recording) at a peak, and the beats (recording, n) along it."""
    heart = above[:, np.arange(len(peak)), peak]
    towards = heart / np.sqrt((heart**2).sum(axis=0) + 1e-12)
    return towards, np.einsum("lr,lrn->rn", towards, above)


def _t_end(fine: _Fine, above: Floats, size: Floats, offset: Ints) -> Floats:
    """Return where the tangent at the steepest end of the T wave meets the level before QRS."""
    start, stop = offset + fine.num(0.06), fine.stop - fine.num(0.02)
    each = np.arange(len(offset))
    among = np.where(fine.between(start, stop), size, -1)
    peak = np.argmax(among, axis=1)
    there = (offset > 0) & (stop - start >= fine.num(0.08)) & (peak < stop - fine.num(0.03))
    there &= among[each, peak] >= 0.02
    _, wave = _along(above, peak)
    wave = fine.smoothed(wave, 0.02)
    reach = fine.between(peak, np.minimum(fine.stop, peak + fine.num(0.18)))
    slope = np.where(reach, _gradient(wave), 0)
    steepest = np.argmin(slope, axis=1)
    fall = -slope[each, steepest]
    foot = np.maximum(0, np.where(reach, wave, np.inf).min(axis=1))
    end = steepest + (wave[each, steepest] - foot) / np.maximum(fall, 1e-9)
    end += T_FOOT_S * fine.rate_hz
    there &= (fall > 0) & (end < fine.stop + fine.num(0.04))
    return np.where(there, end, np.float32(np.nan))


def _p_waves(
    fine: _Fine, above: Floats, size: Floats, onset: Ints, beats: Beats
) -> tuple[Floats, Ints]:
    """Return onset (NaN) and peak (0) of the P wave of each median beat where it has one."""
    start = np.maximum(fine.first, onset - fine.num(0.3))
    stop = onset - fine.num(0.03)
    wide = stop - start >= fine.num(0.08)
    peak = _last_clear(np.where(fine.between(start, np.where(wide, stop, 0)), size, np.inf))
    each = np.arange(len(onset))
    towards, wave = _along(above, peak)
    first = np.maximum(fine.first, peak - fine.num(0.12))
    rise = fine.between(first, peak + 1)
    foot = np.where(rise, wave, np.inf).min(axis=1, initial=np.float32(1e9))
    height = wave[each, peak]
    there = (peak > 0) & (size[each, peak] >= MIN_P_MV) & (peak - first > fine.num(0.03))
    there &= height - foot > np.maximum(0.3 * height, MIN_P_MV / 2)
    end = np.minimum(stop, peak + fine.num(0.1))
    there &= _steadiness(beats, towards, first, end, fine) >= MIN_P_STEADINESS
    low = _last(rise & (wave < (foot + P_EDGE_SHARE * (height - foot))[:, None]))
    return np.where(there, low - P_FOOT_S * fine.rate_hz, np.float32(np.nan)), np.where(
        there, peak, 0
    )


def _last_clear(size: Floats) -> Ints:
    """Return where in each row the last top is whose prominence is near the greatest; 0: nowhere.

    Tops stand between the infinite values around what is looked at. A T wave may stand before the
    P wave; noise may stand after it.
    """
    finite = float(np.finfo(np.float32).max)
    _, found = signal.find_peaks(
        size.ravel(), height=(None, finite), plateau_size=(None, None), prominence=(None, None)
    )
    rows, places = np.divmod(found["left_edges"], size.shape[1])
    prominences = found["prominences"]
    greatest = np.zeros(len(size))
    np.maximum.at(greatest, rows, prominences)
    clear = prominences >= np.maximum(0.3 * greatest, MIN_P_MV / 2)[rows]
    last = np.zeros(len(size), dtype=np.int64)
    last[rows[clear]] = places[clear]
    return last


def _steadiness(beats: Beats, towards: Floats, first: Ints, stop: Ints, fine: _Fine) -> Floats:
    """Return the share of the energy of the P waves (recording,) that all beats have in common."""
    times = round(fine.rate_hz / beats.rate_hz)
    waves = np.einsum("lr,blrn->brn", towards, beats.beats_mv[..., : beats.r_index])
    place = np.arange(beats.r_index)
    inside = (place >= (first // times)[:, None]) & (place <= (stop // times)[:, None])
    num = np.maximum(inside.sum(axis=1), 1)[:, None]
    waves = np.where(inside, waves - np.where(inside, waves, 0).sum(axis=2, keepdims=True) / num, 0)
    taken = np.maximum(beats.counts, 1)
    common = waves.sum(axis=0) / taken[:, None]
    energy = (waves**2).sum(axis=(0, 2)) / taken
    share: Floats = (common**2).sum(axis=1) / (energy + 1e-12)
    return share
