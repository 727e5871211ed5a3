"""Which gates a drawn ECG fails: a name each, for the manifest.

Intervals are asked for by condition, each limit widened by what 90 % of our measurements of it are
within (``signals.measurement.ERRORS``). QRS after Surawicz et al. 2009 (AHA/ACCF/HRS, part III), QT
after Rautaharju et al. 2009 (part IV), PR as usual.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgtwin.signals.measurement import ERRORS, Measurement
from ecgtwin.signals.quality import faults
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.gates import GatesSpec

NOT_FINITE = "not finite"
_WINDOW_S = 1.0  # of a baseline


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


def failed_gates(
    samples_mv: NDArray[np.floating],
    *,
    measured: Measurement,
    limb_residual_mv: float,
    condition: CardiacCondition,
    gates: GatesSpec,
    sampling_rate_hz: float,
) -> list[str]:
    """Return the gates that (12, time) samples in mV, all finite, do not pass, in a fixed order.

    ``measured`` and ``limb_residual_mv`` are of the same samples.
    """
    failed = []
    if gates.min_beats is not None and measured.num_beats < gates.min_beats:
        failed.append("beats")
    if not _keeps_rate(measured.heart_rate_bpm, condition.heart_rate_bpm, gates.rate_tolerance_bpm):
        failed.append("rate")
    if gates.max_baseline_mv is not None:
        strays_mv = baseline_mv(samples_mv, sampling_rate_hz=sampling_rate_hz)
        if strays_mv > gates.max_baseline_mv:
            failed.append("baseline")
    if gates.max_limb_residual_mv is not None and limb_residual_mv > gates.max_limb_residual_mv:
        failed.append("limb leads")
    if gates.intervals is not None:
        failed += _intervals(measured, condition)
    if gates.quality is not None:
        found = faults(samples_mv, sampling_rate_hz=sampling_rate_hz, quality=gates.quality)
        failed += list(dict.fromkeys(fault.kind for fault in found))
    return failed


def limits_of(condition: CardiacCondition) -> dict[str, Limits]:
    """Return what the measured values of a condition must lie within, errors allowed for."""
    found = dict(ANY)
    for one in condition.statements:
        if one.certainty == "definite":
            for name, limits in OF_STATEMENT.get(one.code, {}).items():
                found[name] = _narrower(found.get(name, limits), limits)
    return {name: _widened(name, limits) for name, limits in found.items()}


def baseline_mv(samples_mv: NDArray[np.floating], *, sampling_rate_hz: float) -> float:
    """Return how far the median of any second of any lead is from that of the strip, in mV."""
    width = max(1, round(_WINDOW_S * sampling_rate_hz))
    num_leads, num_samples = samples_mv.shape
    num_windows = max(1, num_samples // width)
    cut = samples_mv[:, : num_windows * width].reshape(num_leads, num_windows, -1)
    apart = np.median(cut, axis=2) - np.median(samples_mv, axis=1)[:, None]
    return float(np.abs(apart).max())


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


def _narrower(one: Limits, other: Limits) -> Limits:
    """Return what lies within both; of two that exclude each other, the second."""
    least, most = max(one.least, other.least), min(one.most, other.most)
    return Limits(least, most) if least <= most else other


def _widened(name: str, limits: Limits) -> Limits:
    allowed = ERRORS[name][1]
    return Limits(limits.least - allowed, limits.most + allowed)
