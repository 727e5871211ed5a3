"""Figures that may be missing: a number, or None beside the reason why."""

import math

import numpy as np


def finite(value: float | np.floating | None) -> float | None:
    """Return a plain float, or None for NaN and infinity, which JSON does not know."""
    return None if value is None or not math.isfinite(value) else float(value)


def share(part: float | None, whole: float | None) -> float | None:
    """Return ``part / whole``, or None when it has no value."""
    return None if part is None or not whole else part / whole


def reason(why: str) -> dict[str, object]:
    """Return what stands in place of figures that could not be computed."""
    return {"reason": why}


def median_of(values: np.ndarray) -> float | None:
    """Return the median of the finite values, None when there are none."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None
