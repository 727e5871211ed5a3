"""A lead as a line on paper: band-limited interpolation, thinning below sight, SVG path data."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from ecgtwin.plots.markup import number

DRAWN_HZ = 500.0  # traces sampled more slowly are interpolated to at least this
TOLERANCE_MM = 0.02  # a quarter of a dot at 300 dpi

Floats = NDArray[np.floating]


def interpolate(samples_mv: Floats, *, sampling_rate_hz: float) -> tuple[Floats, Floats]:
    """Return (time_s, samples_mv) of leads (..., time), interpolated for drawing.

    A windowed sinc through the given samples, at the least whole multiple of the rate that reaches
    ``DRAWN_HZ``; nothing is filtered away. Both ends are continued by point reflection so that they
    do not ring. Missing samples (NaN) stay missing, up to the nearest samples that are there.
    """
    factor = max(1, math.ceil(DRAWN_HZ / sampling_rate_hz - 1e-9))
    values = np.asarray(samples_mv, dtype=np.float64)
    num_samples = values.shape[-1]
    time_s = np.arange((num_samples - 1) * factor + 1) / (sampling_rate_hz * factor)
    if factor == 1 or num_samples < 2:
        return time_s, values
    known = np.isfinite(values)
    padding = min(num_samples - 1, 32)
    padded = np.pad(
        _bridged(values, known),
        [(0, 0)] * (values.ndim - 1) + [(padding, padding)],
        mode="reflect",
        reflect_type="odd",
    )
    drawn = resample_poly(padded, factor, 1, axis=-1, window=("kaiser", 8.0), padtype="line")
    drawn = drawn[..., padding * factor :][..., : len(time_s)].copy()
    left = np.repeat(known[..., :-1] & known[..., 1:], factor, axis=-1)
    inside = np.concatenate([left, known[..., -1:]], axis=-1)
    inside[..., ::factor] = known
    drawn[~inside] = np.nan
    return time_s, drawn


def _bridged(values: Floats, known: NDArray[np.bool_]) -> Floats:
    """Fill missing samples with straight lines; only what lies beside a gap ever feels them."""
    rows = values.reshape(-1, values.shape[-1]).copy()
    at = np.arange(values.shape[-1])
    for row, is_known in zip(rows, known.reshape(rows.shape), strict=True):
        if not is_known.all():
            row[~is_known] = (
                np.interp(at[~is_known], at[is_known], row[is_known]) if is_known.any() else 0
            )
    return rows.reshape(values.shape)


def path_data(x_mm: Floats, y_mm: Floats) -> str:
    """Return SVG path data through the points, broken where ``y_mm`` is not finite."""
    known = np.isfinite(y_mm)
    edges = np.flatnonzero(np.diff(known)) + 1
    pieces = np.split(np.arange(len(y_mm)), edges)
    return "".join(_piece(x_mm[piece], y_mm[piece]) for piece in pieces if known[piece].all())


def _piece(x_mm: Floats, y_mm: Floats) -> str:
    kept = thinned(x_mm, y_mm)
    points = [f"{number(x)} {number(y)}" for x, y in zip(x_mm[kept], y_mm[kept], strict=True)]
    return "M" + "L".join(points) if points else ""


def thinned(x_mm: Floats, y_mm: Floats) -> NDArray[np.intp]:
    """Return the positions to keep so that no dropped point lies ``TOLERANCE_MM`` off the line.

    Ramer-Douglas-Peucker, with the distance measured along y: the trace is a function of time.
    """
    keep = np.zeros(len(x_mm), dtype=bool)
    keep[[0, -1] if len(x_mm) else []] = True
    spans = [(0, len(x_mm) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        inner = slice(first + 1, last)
        share = (x_mm[inner] - x_mm[first]) / (x_mm[last] - x_mm[first])
        distance = np.abs(y_mm[inner] - y_mm[first] - share * (y_mm[last] - y_mm[first]))
        worst = int(distance.argmax())
        if distance[worst] > TOLERANCE_MM:
            middle = first + 1 + worst
            keep[middle] = True
            spans += [(first, middle), (middle, last)]
    return np.flatnonzero(keep)
