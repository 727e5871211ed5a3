"""Rate, intervals, axis and amplitude of twelve-lead ECGs at their own rates, many at once.

Recordings of one shape go through every step together, in blocks that fit the cache.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ecgtwin.signals.convolution import Floats, thinned
from ecgtwin.signals.delineation import Waves, delineate_all
from ecgtwin.signals.detection import NO_COMPLEXES, Complexes, find_complexes
from ecgtwin.signals.lead_swap import swapped
from ecgtwin.signals.median_beats import median_beats

LEAST_HZ = 450.0  # faster recordings are thinned to a whole fraction of their rate, at least this
LEAST_S = 1.0  # in less there is nothing to compare a beat with
BLOCK_SAMPLES = 160_000  # of one lead: 32 recordings of 10 s at 500 Hz
# The +- of a measured value: median and 90th percentile of the absolute error on the 200 recordings
# of LUDB against its annotators, from benchmarks/results/measurement.json. The allowances of
# signals/delineation.py (feet of the waves) were set on the same recordings.
ERRORS: dict[str, tuple[float, float]] = {
    "heart_rate_bpm": (0.2, 1.2),
    "pr_ms": (3.6, 12.7),
    "qrs_ms": (5.9, 15.5),
    "qt_ms": (4.9, 19.2),
    "qtc_fridericia_ms": (5.6, 20.8),
    "qtc_bazett_ms": (5.9, 21.0),
    "qrs_axis_deg": (2.4, 10.9),
}


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
    qtc_fridericia_ms: float | None = None  # QT / RR^(1/3), RR in s (Fridericia 1920)
    qtc_bazett_ms: float | None = None  # QT / RR^(1/2) (Bazett 1920)
    qrs_axis_deg: float | None = None  # frontal, -180 to 180
    swapped_limb_leads: str | None = None  # "LA/RA" or "RA/LL": these electrodes seem exchanged


def measure(samples_mv: NDArray[np.floating], *, sampling_rate_hz: float) -> Measurement:
    """Return what can be read from (12, time), the intervals from the median beat."""
    return measure_all([samples_mv], [sampling_rate_hz])[0]


def swapped_limb_leads(samples_mv: NDArray[np.floating], *, sampling_rate_hz: float) -> str | None:
    """Return the limb electrodes of (12, time) that seem exchanged, "LA/RA" or "RA/LL", or None."""
    return measure(samples_mv, sampling_rate_hz=sampling_rate_hz).swapped_limb_leads


def measure_all(
    recordings: Sequence[NDArray[np.floating]],
    sampling_rates_hz: Sequence[float],
    *,
    seek_swaps: bool = True,
) -> list[Measurement]:
    """Return what can be read from each recording (12, time) in mV, in their order.

    A P wave counts only when it stands at the same place before most QRS complexes, so there is
    none, and no PR interval, in atrial fibrillation. Nothing is read from a recording with a value
    that is not finite. Without ``seek_swaps`` no limb leads are said to be swapped.
    """
    groups: dict[tuple[int, float], list[int]] = defaultdict(list)
    for place, (samples, rate_hz) in enumerate(zip(recordings, sampling_rates_hz, strict=True)):
        groups[samples.shape[1], float(rate_hz)].append(place)
    found = [Measurement(0)] * len(recordings)
    for (num_samples, rate_hz), places in groups.items():
        if num_samples < rate_hz * LEAST_S:
            continue
        size = max(1, BLOCK_SAMPLES // num_samples)
        for start in range(0, len(places), size):
            block = places[start : start + size]
            measured = _measure_block([recordings[place] for place in block], rate_hz, seek_swaps)
            for place, one in zip(block, measured, strict=True):
                found[place] = one
    return found


def complexes_of(recordings: Sequence[NDArray[np.floating]], rate_hz: float) -> Complexes:
    """Return the QRS complexes of recordings (12, time) of one shape."""
    if recordings[0].shape[1] < rate_hz * LEAST_S:
        return NO_COMPLEXES
    leads, low_hz = thinned(_independent(recordings), rate_hz, LEAST_HZ)
    return find_complexes(leads, sampling_rate_hz=low_hz)


def waves_of(
    recordings: Sequence[NDArray[np.floating]], sampling_rate_hz: float
) -> tuple[Complexes, Waves]:
    """Return the QRS complexes and the waves of the median beats of recordings (12, time)."""
    leads, rate_hz = thinned(_independent(recordings), sampling_rate_hz, LEAST_HZ)
    complexes = find_complexes(leads, sampling_rate_hz=rate_hz)
    return complexes, delineate_all(median_beats(leads, complexes, rate_hz=rate_hz))


def _measure_block(
    recordings: Sequence[NDArray[np.floating]], sampling_rate_hz: float, seek_swaps: bool
) -> list[Measurement]:
    complexes, waves = waves_of(recordings, sampling_rate_hz)
    exchanged: list[str | None] = [None] * len(recordings)
    if seek_swaps:
        exchanged = swapped(waves.above_mv, waves.start, waves.stop)
    read = zip(
        _known(waves.qrs_ms, 2),
        _known(waves.pr_ms, 2),
        _known(waves.qt_ms, 2),
        _known(waves.p_wave_mv, 4),
        _known(waves.r_amplitude_mv, 4),
        _known(waves.axis_deg, 2),
        strict=True,
    )
    times_s = complexes.time_s.tolist()
    slices = complexes.slices(len(recordings))
    return [
        _measurement(times_s[mine], values, swapped_leads)
        for mine, values, swapped_leads in zip(slices, read, exchanged, strict=True)
    ]


def _independent(recordings: Sequence[NDArray[np.floating]]) -> Floats:
    """Return leads I, II, V1..V6 (8, recording, time); 0 where a recording is not finite."""
    leads = np.empty((8, len(recordings), recordings[0].shape[1]), dtype=np.float32)
    for place, samples in enumerate(recordings):
        leads[:2, place] = samples[:2]
        leads[2:, place] = samples[6:]
    whole = np.isfinite(leads).all(axis=(0, 2))
    if not whole.all():
        leads[:, ~whole] = 0
    return leads


def _measurement(
    times_s: list[float], read: tuple[float | None, ...], exchanged: str | None
) -> Measurement:
    """Return the measurement of a recording from its beats and what was read of its median beat."""
    if len(times_s) < 2:
        return Measurement(len(times_s))
    rr_s = [right - left for left, right in pairwise(times_s)]
    mean_s = (times_s[-1] - times_s[0]) / len(rr_s)
    qrs_ms, pr_ms, qt_ms, p_wave_mv, r_amplitude_mv, axis_deg = read
    return Measurement(
        num_beats=len(times_s),
        heart_rate_bpm=round(60 / mean_s, 3),
        rr_sd_ms=round(1000 * _deviation(rr_s), 2) if len(rr_s) > 1 else None,
        qrs_ms=qrs_ms,
        pr_ms=pr_ms,
        qt_ms=qt_ms,
        p_wave_mv=p_wave_mv,
        r_amplitude_mv=r_amplitude_mv,
        qtc_fridericia_ms=None if qt_ms is None else round(qt_ms / mean_s ** (1 / 3), 2),
        qtc_bazett_ms=None if qt_ms is None else round(qt_ms / mean_s**0.5, 2),
        qrs_axis_deg=axis_deg,
        swapped_limb_leads=exchanged,
    )


def _deviation(values: list[float]) -> float:
    """Return the deviation of a sample: over one less than its number."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _known(values: Floats, decimals: int) -> list[float | None]:
    """Return floats, rounded: a block of another size may differ in the seventh digit."""
    return [None if value != value else round(value, decimals) for value in values.tolist()]
