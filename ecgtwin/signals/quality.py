"""Named checks of one recording: the reasons it cannot be used (none: usable)."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ecgtwin.signals.leads import LEADS

MIN_DURATION_S = 5.0
FLAT_MV = 0.01  # a lead that moves less than this ...
FLAT_S = 2.5  # ... for this long, a pause no heartbeat at 30 bpm leaves, is not connected
MAX_AMPLITUDE_MV = 10.0
MIN_AMPLITUDE_MV = 0.1
CLIPPED_MV = 0.8  # no amplifier clips nearer to the baseline than this
CLIPPED_RUN_S = 0.012
CLIPPED_RUNS = 3  # one run may be the held last value with which some recorders fill up


def reasons(samples_mv: NDArray[np.floating], *, sampling_rate_hz: float) -> tuple[str, ...]:
    """Return why (12, time) samples in mV cannot be used, as sentences; empty when they can."""
    if samples_mv.ndim != 2 or len(samples_mv) != len(LEADS):
        return (f"shape {samples_mv.shape}: {len(LEADS)} leads by time is needed",)
    duration_s = samples_mv.shape[1] / sampling_rate_hz
    if duration_s < MIN_DURATION_S:
        return (f"too short: {duration_s:.1f} s, at least {MIN_DURATION_S:.0f} s is needed",)
    missing = ~np.isfinite(samples_mv).all(axis=1)
    if missing.any():
        return (f"no finite value (NaN) in {_names(missing)}",)

    samples = np.asarray(samples_mv, dtype=np.float64)
    centred = samples - np.median(samples, axis=1, keepdims=True)
    found = []
    if (flat := _is_flat(samples, sampling_rate_hz)).any():
        found.append(f"flat for {FLAT_S} s or more in {_names(flat)}")
    if (clipped := _is_clipped(centred, sampling_rate_hz)).any():
        found.append(f"clipped in {_names(clipped)}")
    largest = np.abs(centred).max(axis=1)
    if (huge := largest > MAX_AMPLITUDE_MV).any():
        found.append(f"amplitude of {largest.max():.1f} mV (above 10 mV) in {_names(huge)}")
    if largest.max() < MIN_AMPLITUDE_MV:
        found.append(f"amplitude of at most {largest.max():.3f} mV in every lead")
    return tuple(found)


def _names(which: NDArray[np.bool_]) -> str:
    return "lead " + ", ".join(LEADS[position] for position in np.flatnonzero(which))


def _is_flat(samples: NDArray[np.float64], sampling_rate_hz: float) -> NDArray[np.bool_]:
    """Say which leads move less than FLAT_MV in some window of FLAT_S."""
    width = int(FLAT_S * sampling_rate_hz)
    highest = ndimage.maximum_filter1d(samples, width, axis=1, mode="nearest")
    lowest = ndimage.minimum_filter1d(samples, width, axis=1, mode="nearest")
    inside = slice(width // 2, samples.shape[1] - width // 2)
    flat: NDArray[np.bool_] = (highest - lowest)[:, inside].min(axis=1) < FLAT_MV
    return flat


def _is_clipped(centred: NDArray[np.float64], sampling_rate_hz: float) -> NDArray[np.bool_]:
    """Say which leads rest on their own extreme value again and again."""
    width = max(3, int(CLIPPED_RUN_S * sampling_rate_hz))
    clipped = np.zeros(len(centred), dtype=bool)
    for extreme in (centred.max(axis=1), centred.min(axis=1)):
        at_extreme = np.abs(centred - extreme[:, None]) < 1e-3
        runs = ndimage.binary_opening(at_extreme, np.ones((1, width), dtype=bool))
        num_runs = (np.diff(runs.astype(np.int8), axis=1) == 1).sum(axis=1)
        clipped |= (num_runs >= CLIPPED_RUNS) & (np.abs(extreme) > CLIPPED_MV)
    return clipped
