"""Atria that do not beat: the waves of fibrillation and of flutter."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_FRONTS = ((1.0, (-0.35, 0.4, -0.8)), (1.27, (0.3, 0.2, -0.7)), (2.0, (0.1, -0.3, 0.4)))
_KNOT_S = 0.4
# A typical flutter wave, once round the tricuspid annulus: a slow fall and a quick rise in the
# inferior leads, a short upright wave in V1. Rows: share of the cycle; down; forwards; left.
_FLUTTER = np.array(
    [
        [0.00, 0.16, 0.34, 0.52, 0.66, 0.76, 0.84, 0.92, 1.00],
        [0.45, 0.25, -0.05, -0.42, -0.90, -1.00, -0.55, 0.25, 0.45],
        [-0.20, -0.28, -0.32, -0.30, 0.05, 0.75, 1.00, 0.35, -0.20],
        [0.10, 0.05, 0.00, -0.08, -0.15, -0.10, 0.05, 0.12, 0.10],
    ]
)


def fibrillatory_waves(rng: np.random.Generator, lead_field: Array, times_s: Array) -> Array:
    """Return (8, time) fine waves of 5 to 8 Hz, tallest in V1, wandering in rate and height."""
    knots = np.arange(-1.0, times_s[-1] + 2.0, _KNOT_S)
    size = rng.uniform(0.018, 0.055)
    dipole = np.zeros((3, len(times_s)))
    wander = np.cumsum(rng.normal(0, 0.7, len(knots)))
    phase = 2 * np.pi * rng.uniform(5.0, 7.8) * times_s + np.interp(times_s, knots, wander)
    for part, direction in _FRONTS:
        own = np.cumsum(rng.normal(0, 0.7, len(knots)))
        height = np.exp(0.35 * rng.standard_normal(len(knots)))
        angle = part * phase + np.interp(times_s, knots, own)
        wave = size / part * np.interp(times_s, knots, height) * np.sin(angle)
        dipole += np.array(direction)[:, None] * wave
    leads: Array = lead_field @ dipole
    return leads


def flutter_waves(
    rng: np.random.Generator, lead_field: Array, times_s: Array, *, cycle_s: float, zero_s: float
) -> Array:
    """Return (8, time) saw-teeth of one period, without a level line between them."""
    size = rng.uniform(0.12, 0.24)
    shift, lean = rng.random(), 1 + 0.2 * rng.standard_normal(3).clip(-2, 2)
    phase = ((times_s - zero_s) / cycle_s + shift) % 1.0
    shares, down, forwards, left = _FLUTTER
    dipole = size * np.stack(
        [
            lean[0] * np.interp(phase, shares, left),
            lean[1] * np.interp(phase, shares, down),
            -0.75 * lean[2] * np.interp(phase, shares, forwards),
        ]
    )
    leads: Array = lead_field @ dipole
    return leads
