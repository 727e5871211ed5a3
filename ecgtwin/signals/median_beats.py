"""The median beats of many recordings of one shape, cut from their eight independent leads."""

from itertools import pairwise
from statistics import median

import numpy as np

from ecgtwin.signals.convolution import Floats, Ints, convolved, ranked
from ecgtwin.signals.delineation import Beats
from ecgtwin.signals.detection import Complexes

NUM_BEATS = 9  # at most so many make a median
BEFORE_S, AFTER_S = 0.42, 0.6  # around R
BEFORE_RR, AFTER_RR = 0.6, 0.8  # of the R-R interval belong to a beat
ALIKE = 0.8  # beats are taken whose correlation with the usual complex is this ...
LESS_ALIKE = 0.1  # ... or at most this less than that of the middle beat
BASELINE_S = 2.0  # a window this long halves what wanders at 0.5 Hz
BASELINE_HZ = 15.0


def median_beats(leads: Floats, complexes: Complexes, *, rate_hz: float) -> Beats:
    """Return the median beats of (lead, recording, time), at most nine beats to each.

    The beats are spread over the recording and have the dominant shape. A recording with fewer
    than two of them has ``counts`` 0.
    """
    before, after = round(BEFORE_S * rate_hz), round(AFTER_S * rate_hz)
    num_recordings, num_samples = leads.shape[1:]
    starts = np.zeros((NUM_BEATS, num_recordings), dtype=np.int64)
    counts, first = np.zeros((2, num_recordings), dtype=np.int64)
    stop = np.full(num_recordings, before + after + 1)
    times_s, likeness = complexes.time_s.tolist(), complexes.likeness.tolist()
    peaks = np.rint(complexes.time_s * rate_hz).astype(np.int64).tolist()
    for one, mine in enumerate(complexes.slices(num_recordings)):
        if mine.stop - mine.start < 2:
            continue
        usual_rr_s = median([right - left for left, right in pairwise(times_s[mine])])
        left = round(min(BEFORE_S, BEFORE_RR * usual_rr_s) * rate_hz)
        right = round(min(AFTER_S, AFTER_RR * usual_rr_s) * rate_hz)
        its_peaks = peaks[mine]
        whole = [at for at, peak in enumerate(its_peaks) if left <= peak < num_samples - right]
        taken = _take(whole, likeness[mine])
        if len(taken) >= 2:
            counts[one], first[one], stop[one] = len(taken), before - left, before + right + 1
            starts[: len(taken), one] = [its_peaks[at] for at in taken]
    wide = _without_baseline(leads, rate_hz, before, after + 1)
    beats = _cut(wide, starts, before + after + 1)
    return Beats(_median(beats, counts), beats, counts, before, first, stop, rate_hz)


def _take(whole: list[int], likeness: list[float]) -> list[int]:
    """Return which beats are averaged: an odd number, so that one is the middle; or two."""
    least = min(ALIKE, sorted(likeness)[len(likeness) // 2] - LESS_ALIKE)
    alike = [beat for beat in whole if likeness[beat] >= least]
    if len(alike) > NUM_BEATS:
        step = (len(alike) - 1) / (NUM_BEATS - 1)
        alike = [alike[round(place * step)] for place in range(NUM_BEATS)]
    if len(alike) > 2 and len(alike) % 2 == 0:
        alike.remove(min(alike, key=likeness.__getitem__))
    return alike


def _cut(wide: Floats, starts: Ints, width: int) -> Floats:
    """Return (beat, lead, recording, width) of (lead, recording, time)."""
    windows = np.lib.stride_tricks.sliding_window_view(wide, width, axis=2)
    beats = np.empty((len(starts), *wide.shape[:2], width), dtype=np.float32)
    each = np.arange(wide.shape[1])
    for beat, start in zip(beats, starts, strict=True):
        beat[:] = windows[:, each, start]
    return beats


def _median(beats: Floats, counts: Ints) -> Floats:
    """Return the median (lead, recording, n) of the first ``counts`` beats; the others become 0."""
    few = np.flatnonzero(counts < NUM_BEATS).tolist()
    for one in few:
        num = int(counts[one])
        if num == 2:  # the mean of two is their median
            beats[2, :, one] = beats[:2, :, one].mean(axis=0)
        beats[num | 1 :: 2, :, one] = np.inf
        beats[(num | 1) + 1 :: 2, :, one] = -np.inf
    middle: Floats = ranked(beats, NUM_BEATS // 2)
    for one in few:
        beats[counts[one] :, :, one] = 0
    middle[:, counts == 0] = 0
    return middle


def _without_baseline(leads: Floats, rate_hz: float, before: int, after: int) -> Floats:
    """Return (lead, recording, time) less its slow wander, the end values held beyond both ends."""
    num = leads.shape[2]
    every = max(1, int(rate_hz / BASELINE_HZ))
    slow = _slow(leads, every, round(BASELINE_S * rate_hz / every / 2))
    share = ((np.arange(every) + 0.5) / every).astype(np.float32)
    weights = np.stack([1 - share, share])
    wide = np.empty((*leads.shape[:2], before + num + after), dtype=np.float32)
    for lead, low, out in zip(leads, slow, wide, strict=True):  # one at a time stays in the cache
        pairs = np.stack([low[:, :-1], low[:, 1:]], axis=-1).reshape(-1, 2)
        baseline = (pairs @ weights).reshape(len(lead), -1)
        inner = out[:, before : before + num]
        np.subtract(lead, baseline[:, every // 2 : every // 2 + num], out=inner)
        out[:, :before] = inner[:, :1]
        out[:, before + num :] = inner[:, -1:]
    return wide


def _slow(leads: Floats, every: int, half: int) -> Floats:
    """Return Hann-weighted means of ``every`` samples each, from one before to two after."""
    num = leads.shape[2] // every
    rows = leads[..., : num * every].reshape(*leads.shape[:2], num, every)
    means = rows @ np.full(every, 1 / every, dtype=np.float32)
    window = np.hanning(2 * half + 3)[1:-1]
    taps = tuple((window / window.sum()).tolist())
    beyond = half + 2
    padded = np.pad(means, ((0, 0), (0, 0), (beyond, beyond)), mode="reflect", reflect_type="odd")
    return convolved(padded, taps)[..., beyond - 1 : beyond + num + 2]
