"""Simulated strips measured as a reader of the paper would, not by what the simulator knows."""

import numpy as np
from scipy import signal

from ecgtwin.signals.leads import LEADS
from ecgtwin.sources.simulated import simulate_one

HZ = 500.0
BEFORE, AFTER = 125, 225  # samples of a beat around its R peak


def lead(samples_mv, name):
    return samples_mv[LEADS.index(name)]


def draw(state, rate, *, person=0, visit=1, seed=0):
    return simulate_one(seed=seed, person=person, visit=visit, state=state, heart_rate_bpm=rate)


def speed(samples_mv, hz=HZ):
    """Length of the slope over the leads, below 35 Hz."""
    smooth = signal.butter(3, 35, fs=hz, output="sos")
    slope = np.gradient(signal.sosfiltfilt(smooth, samples_mv, axis=-1), axis=-1) * hz
    return np.sqrt((slope**2).sum(axis=0))


def r_peaks(samples_mv, hz=HZ):
    """Middles of the bouts of fast change."""
    bouts = signal.sosfiltfilt(signal.butter(2, 7, fs=hz, output="sos"), speed(samples_mv, hz))
    tops = signal.find_peaks(bouts)[0]
    floor = 0.35 * np.median(np.sort(bouts[tops])[-6:])
    return signal.find_peaks(bouts, height=floor, distance=round(0.22 * hz))[0]


def rate_of(samples_mv, hz=HZ):
    peaks = r_peaks(samples_mv, hz)
    return 60 * hz * (len(peaks) - 1) / (peaks[-1] - peaks[0])


def beats(samples_mv):
    peaks = r_peaks(samples_mv)
    whole = peaks[(peaks >= BEFORE) & (peaks < samples_mv.shape[1] - AFTER)]
    return np.stack([samples_mv[:, peak - BEFORE : peak + AFTER] for peak in whole])


def median_beat(samples_mv):
    beat = np.median(beats(samples_mv), axis=0)
    return beat - np.median(beat[:, 55:75], axis=1, keepdims=True)


def qrs_ms(samples_mv):
    """How long the median beat changes faster than 12 % of its fastest."""
    bout = speed(median_beat(samples_mv))[40:210]
    fast = np.flatnonzero(bout > 0.12 * bout.max())
    runs = np.split(fast, np.flatnonzero(np.diff(fast) > 10) + 1)
    longest = max(runs, key=len)
    return float((longest[-1] - longest[0]) * 1000 / HZ)


def intervals_s(samples_mv):
    return np.diff(r_peaks(samples_mv)) / HZ


def atrial_mv(samples_mv):
    """Height of whatever is locked to the QRS in the 200 ms before it, in lead II."""
    before = lead(median_beat(samples_mv), "II")[25:105]
    return float(np.quantile(before, 0.95) - np.quantile(before, 0.05))


def st_mv(samples_mv):
    """Level of each lead 60 ms after a narrow QRS complex, above that before it."""
    beat = median_beat(samples_mv)
    level = np.median(beat[:, BEFORE + 50 : BEFORE + 56], axis=1)
    return dict(zip(LEADS, level - np.median(beat[:, 92:100], axis=1), strict=True))


def bump_mv(trace_mv, times_s):
    """How high the usual P wave stands after these onsets over the line through its ends."""
    starts = [round(time * HZ) for time in times_s]
    cut = [trace_mv[s : s + 60] for s in starts if s >= 0 and s + 60 <= len(trace_mv)]
    usual = np.median(np.stack(cut), axis=0)
    line = np.linspace(usual[:4].mean(), usual[-4:].mean(), 60)
    return float((usual - line)[15:45].max())
