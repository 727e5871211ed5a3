"""Where the waves of the median beat begin and end, on all leads at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from ecgtwin.signals.preprocess import resample

FINE_HZ = 512.0  # the median beat is delineated at this rate
QRS_EDGE_SHARES = (0.035, 0.07, 0.12)  # of the largest spatial velocity; the first that is met
P_EDGE_SHARE = 0.1  # of the P peak
T_FOOT_S = 0.016  # by how much annotators end a T wave later than its tangent does (LUDB)
MIN_P_MV = 0.012
MIN_P_STEADINESS = 0.5


@dataclass(frozen=True, slots=True)
class Delineation:
    """Intervals of one median beat; None: not there, or hidden by its neighbours."""

    qrs_ms: float | None
    pr_ms: float | None
    qt_ms: float | None
    p_wave_mv: float | None
    r_amplitude_mv: float


def delineate(
    beats: NDArray[np.floating], *, r_index: int, sampling_rate_hz: float
) -> Delineation | None:
    """Return the intervals of aligned beats (beat, lead, n) whose R peak is at ``r_index``."""
    fine = resample(np.median(beats, axis=0), from_hz=sampling_rate_hz, to_hz=FINE_HZ)
    r_fine = round(r_index * FINE_HZ / sampling_rate_hz)
    edges = _qrs_edges(fine, r_fine)
    if edges is None:
        return None
    onset, offset = edges
    level = fine[:, max(0, onset - _samples(0.012)) : onset + 1].mean(axis=1, keepdims=True)
    above = fine - level
    t_end = _t_end(above, offset)
    to_source = sampling_rate_hz / FINE_HZ
    p_wave = _p_wave(above, beats, onset, to_source)
    return Delineation(
        qrs_ms=_ms(offset - onset),
        pr_ms=None if p_wave is None else _ms(onset - p_wave[0]),
        qt_ms=None if t_end is None else _ms(t_end - onset),
        p_wave_mv=None if p_wave is None else p_wave[1],
        r_amplitude_mv=float(np.sqrt((above[:, onset:offset] ** 2).mean(axis=0)).max()),
    )


def _samples(seconds: float) -> int:
    return round(seconds * FINE_HZ)


def _ms(samples: float) -> float:
    return float(1000 * samples / FINE_HZ)


def _qrs_edges(fine: NDArray[np.float64], r_fine: int) -> tuple[int, int] | None:
    """Return on- and offset: where the spatial velocity has come to rest on either side of R."""
    velocity = np.sqrt((np.gradient(fine, axis=1) ** 2).mean(axis=0))
    velocity = ndimage.uniform_filter1d(velocity, _samples(0.008))
    start, stop = max(0, r_fine - _samples(0.14)), min(len(velocity), r_fine + _samples(0.16))
    near = slice(max(0, r_fine - _samples(0.08)), r_fine + _samples(0.08))
    half, gap = _samples(0.016) // 2, _samples(0.01)
    for share in QRS_EDGE_SHARES:
        rest = share * velocity[near].max() + np.percentile(velocity, 20)
        quiet = ndimage.minimum_filter1d((velocity < rest).astype(np.int8), 2 * half) == 1
        before = np.flatnonzero(quiet[start : r_fine - gap])
        after = np.flatnonzero(quiet[r_fine + gap : stop])
        if len(before) and len(after):
            return start + int(before[-1]) + half, r_fine + gap + int(after[0]) - half
    return None


def _t_end(above: NDArray[np.float64], offset: int) -> int | None:
    """Return where the tangent at the steepest end of the T wave meets the level before QRS."""
    start, stop = offset + _samples(0.06), above.shape[1] - _samples(0.02)
    if stop - start < _samples(0.08):
        return None
    size = np.sqrt((above[:, start:stop] ** 2).mean(axis=0))
    peak = start + int(np.argmax(size))
    if peak >= stop - _samples(0.03) or size.max() < 0.02:
        return None
    towards = above[:, peak] / np.linalg.norm(above[:, peak])
    wave = ndimage.uniform_filter1d(towards @ above, _samples(0.02))
    reach = min(above.shape[1], peak + _samples(0.18))
    slope = np.gradient(wave)[peak:reach]
    steepest = int(np.argmin(slope))
    if slope[steepest] >= 0:
        return None
    foot = max(0.0, float(wave[peak:reach].min()))
    end = peak + steepest + (wave[peak + steepest] - foot) / -slope[steepest] + T_FOOT_S * FINE_HZ
    return round(end) if end < above.shape[1] + _samples(0.04) else None


def _p_wave(
    above: NDArray[np.float64], beats: NDArray[np.floating], onset: int, to_source: float
) -> tuple[int, float] | None:
    """Return onset and height of the P wave of the median beat, or None when it has none."""
    start, stop = max(0, onset - _samples(0.3)), onset - _samples(0.03)
    if stop - start < _samples(0.08):
        return None
    size = np.sqrt((above[:, start:stop] ** 2).mean(axis=0))
    tops, found = signal.find_peaks(size, prominence=MIN_P_MV / 2)
    if not len(tops):
        return None
    # A T wave may stand before the P wave; noise may stand after it.
    clear = found["prominences"] >= 0.3 * found["prominences"].max()
    peak = start + int(tops[clear][-1])
    towards = above[:, peak] / np.linalg.norm(above[:, peak])
    wave = towards @ above
    first = max(0, peak - _samples(0.12))
    foot = float(wave[first : peak + 1].min())
    rises = wave[peak] - foot > max(0.3 * wave[peak], MIN_P_MV / 2) and peak - first > _samples(
        0.03
    )
    if size[peak - start] < MIN_P_MV or not rises:
        return None
    inside = slice(int(first * to_source), int(min(stop, peak + _samples(0.1)) * to_source) + 1)
    if _steadiness(np.einsum("l,bln->bn", towards, beats[:, :, inside])) < MIN_P_STEADINESS:
        return None
    low = np.flatnonzero(wave[first:peak] < foot + P_EDGE_SHARE * (wave[peak] - foot))
    return first + int(low[-1]), float(size[peak - start])


def _steadiness(waves: NDArray[np.floating]) -> float:
    """Return the share of the energy of (beat, n) that all beats have in common."""
    centred = waves - waves.mean(axis=1, keepdims=True)
    common = np.median(centred, axis=0)
    return float((common**2).sum() / ((centred**2).sum(axis=1).mean() + 1e-12))
