"""Which gates a drawn ECG fails: a name each, for the manifest.

Intervals are asked for by condition, each limit widened by what 90 % of our measurements of it are
within (``signals.measurement.ERRORS``). QRS after Surawicz et al. 2009 (AHA/ACCF/HRS, part III), QT
after Rautaharju et al. 2009 (part IV), PR as usual.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgtwin.signals.measurement import ERRORS, Measurement
from ecgtwin.signals.quality import faults, may_have_faults
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.gates import GatesSpec

NOT_FINITE = "not finite"
_WINDOW_S = 1.0  # of a baseline
_ROUGH = 100  # samples of a lead whose median is near that of the lead
_NEARLY_HALF = 0.499  # of what a baseline may stray: on either side of that median
_BLOCK_SAMPLES = 1 << 19  # looked at together: they stay in the cache


class Limits(NamedTuple):
    """From ``least`` to ``most``, in the unit of the value."""

    least: float
    most: float


# What every ECG must keep to, and what those with a statement must as well.
ANY: Mapping[str, Limits] = {
    "qrs_ms": Limits(50, 220),
    "pr_ms": Limits(80, 400),
    "qt_ms": Limits(200, 650),
}
OF_STATEMENT: Mapping[str, Mapping[str, Limits]] = {
    "left bundle branch block": {"qrs_ms": Limits(120, 220)},
    "right bundle branch block": {"qrs_ms": Limits(120, 220)},
    "incomplete left bundle branch block": {"qrs_ms": Limits(100, 130)},
    "incomplete right bundle branch block": {"qrs_ms": Limits(90, 130)},
    "nonspecific intraventricular conduction delay": {"qrs_ms": Limits(110, 220)},
    "first degree av block": {"pr_ms": Limits(200, 400)},
    "prolonged pr interval": {"pr_ms": Limits(200, 400)},
    "prolonged qt interval": {"qtc_fridericia_ms": Limits(450, 700)},
    "normal ecg": {"qrs_ms": Limits(60, 120), "pr_ms": Limits(110, 210)},
}


def failed_gates_of(
    samples_mv: NDArray[np.floating],
    *,
    measured: Sequence[Measurement],
    limb_residuals_mv: Sequence[float],
    conditions: Sequence[CardiacCondition],
    gates: GatesSpec,
    sampling_rate_hz: float,
) -> list[list[str]]:
    """Return, for each row of (row, 12, time) in mV, all finite, the gates that it does not pass.

    They stand in a fixed order. ``measured`` and ``limb_residuals_mv`` are of the same samples;
    ``conditions`` are what was asked for.
    """
    strays, faulty = _of_samples(samples_mv, gates, sampling_rate_hz)
    return [
        [
            *_beats(found, condition, gates),
            *(["baseline"] if row in strays else []),
            *_limbs(residual_mv, gates),
            *(_intervals(found, condition) if gates.intervals is not None else []),
            *faulty.get(row, []),
        ]
        for row, (found, residual_mv, condition) in enumerate(
            zip(measured, limb_residuals_mv, conditions, strict=True)
        )
    ]


def limits_of(condition: CardiacCondition) -> Mapping[str, Limits]:
    """Return what the measured values of a condition must lie within, errors allowed for."""
    return _limits(tuple(one.code for one in condition.statements if one.certainty == "definite"))


def baseline_mv(
    samples_mv: NDArray[np.floating], *, sampling_rate_hz: float
) -> NDArray[np.floating]:
    """Return how far the median of any second of any lead is from that of its strip, in mV.

    ``samples_mv`` is (..., lead, time), the result (...,).
    """
    apart = np.median(_seconds(samples_mv, sampling_rate_hz), axis=-1)
    apart -= np.median(samples_mv, axis=-1)[..., None]
    strays: NDArray[np.floating] = np.abs(apart).max(axis=(-2, -1))
    return strays


def _of_samples(
    samples_mv: NDArray[np.floating], gates: GatesSpec, rate_hz: float
) -> tuple[set[int], dict[int, list[str]]]:
    """Return the rows whose baseline strays, and the kinds of faults by row.

    A bound, a few rows at a time, says of nearly all that they pass; only the rest is computed.
    """
    may_stray = np.zeros(samples_mv.shape[:2], dtype=bool)
    faulty: dict[int, list[str]] = {}
    num_rows = len(samples_mv)
    size = max(1, _BLOCK_SAMPLES * num_rows // max(1, samples_mv.size))
    for start in range(0, num_rows, size):
        block = samples_mv[start : start + size]
        if gates.max_baseline_mv is not None:
            may_stray[start : start + size] = _may_stray(block, gates.max_baseline_mv, rate_hz)
        if gates.quality is not None:
            doubtful = may_have_faults(block, sampling_rate_hz=rate_hz, quality=gates.quality)
            for row in np.flatnonzero(doubtful).tolist():
                found = faults(block[row], sampling_rate_hz=rate_hz, quality=gates.quality)
                faulty[start + row] = list(dict.fromkeys(fault.kind for fault in found))
    rows, leads = np.nonzero(may_stray)
    far_mv = baseline_mv(samples_mv[rows, leads, None], sampling_rate_hz=rate_hz)
    strays = {
        row
        for row, one_mv in zip(rows.tolist(), far_mv.tolist(), strict=True)
        if gates.max_baseline_mv is not None and one_mv > gates.max_baseline_mv
    }
    return strays, faulty


def _may_stray(samples: NDArray[np.floating], most_mv: float, rate_hz: float) -> NDArray[np.bool_]:
    """Say which leads (row, lead) of (row, lead, time) may stray further than ``most_mv``.

    A median is within any range that holds more than half of the samples.
    """
    num = samples.shape[-1]
    thinned = samples[..., :: max(1, num // _ROUGH)]
    half = thinned.shape[-1] // 2
    rough = np.partition(thinned, half, axis=-1)[..., half, None]
    reach = samples.dtype.type(_NEARLY_HALF * most_mv)
    low, high = rough - reach, rough + reach
    inside = samples >= low
    inside &= samples <= high
    seconds = _seconds(inside, rate_hz)
    counts = seconds.sum(axis=-1, dtype=np.uint32)
    surely = (2 * counts > seconds.shape[-1]).all(axis=-1)
    surely &= 2 * counts.sum(axis=-1) > num
    surely &= (high - low)[..., 0] <= most_mv  # far from zero, rounding may have widened it
    may: NDArray[np.bool_] = ~surely
    return may


def _seconds(samples: NDArray[Any], rate_hz: float) -> NDArray[Any]:
    """Return (..., second, time) of (..., time), without what is left at the end."""
    width = max(1, round(_WINDOW_S * rate_hz))
    num_windows = max(1, samples.shape[-1] // width)
    cut = samples[..., : num_windows * width]
    return cut.reshape(*cut.shape[:-1], num_windows, cut.shape[-1] // num_windows)


def _beats(found: Measurement, condition: CardiacCondition, gates: GatesSpec) -> list[str]:
    failed = []
    if gates.min_beats is not None and found.num_beats < gates.min_beats:
        failed.append("beats")
    if not _keeps_rate(found.heart_rate_bpm, condition.heart_rate_bpm, gates.rate_tolerance_bpm):
        failed.append("rate")
    return failed


def _limbs(residual_mv: float, gates: GatesSpec) -> list[str]:
    most_mv = gates.max_limb_residual_mv
    return ["limb leads"] if most_mv is not None and residual_mv > most_mv else []


def _keeps_rate(
    measured_bpm: float | None, wanted_bpm: float | None, tolerance_bpm: float | None
) -> bool:
    if wanted_bpm is None or tolerance_bpm is None:
        return True
    return measured_bpm is not None and abs(measured_bpm - wanted_bpm) <= tolerance_bpm


def _intervals(measured: Measurement, condition: CardiacCondition) -> list[str]:
    failed = []
    for name, limits in limits_of(condition).items():
        value = getattr(measured, name)
        if value is not None and not limits.least <= value <= limits.most:
            failed.append(name.removesuffix("_ms"))
    return failed


@lru_cache(maxsize=4096)
def _limits(codes: tuple[str, ...]) -> Mapping[str, Limits]:
    found = dict(ANY)
    for code in codes:
        for name, limits in OF_STATEMENT.get(code, {}).items():
            found[name] = _narrower(found.get(name, limits), limits)
    return {name: _widened(name, limits) for name, limits in found.items()}


def _narrower(one: Limits, other: Limits) -> Limits:
    """Return what lies within both; of two that exclude each other, the second."""
    least, most = max(one.least, other.least), min(one.most, other.most)
    return Limits(least, most) if least <= most else other


def _widened(name: str, limits: Limits) -> Limits:
    allowed = ERRORS[name][1]
    return Limits(limits.least - allowed, limits.most + allowed)
