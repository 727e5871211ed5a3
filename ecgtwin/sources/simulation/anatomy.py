"""Anatomy: how one simulated person's heart and electrodes shape an ECG at every visit.

The heart is one moving dipole in the Frank axes (x left, y down, z back), seen by the eight
independent leads through the lead field of Dower et al. 1980 (J Electrocardiol 13:91), which is
perturbed for each person. Vectors are in mV, times in seconds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# The waves of a beat. Two for P and T and five for QRS, so that shapes can be skewed and notched.
P_RIGHT, P_LEFT, SEPTAL, APICAL, LATERAL, BASAL, TERMINAL, ST, T_EARLY, T_LATE = range(10)
NUM_WAVES = 10
P_WAVES = slice(P_RIGHT, SEPTAL)
QRS_WAVES = slice(SEPTAL, ST)
T_WAVES = slice(ST, NUM_WAVES)

DOWER = np.array(
    [
        [0.632, -0.235, 0.059],  # I
        [0.235, 1.066, -0.132],  # II
        [-0.515, 0.157, -0.917],  # V1
        [0.044, 0.164, -1.387],  # V2
        [0.882, 0.098, -1.277],  # V3
        [1.213, 0.127, -0.601],  # V4
        [1.125, 0.127, -0.086],  # V5
        [0.831, 0.076, 0.230],  # V6
    ]
)

_USUAL_VECTORS = np.array(
    [
        [0.035, 0.100, -0.060],  # right atrium, first and forwards
        [0.080, 0.075, 0.050],  # left atrium, backwards
        [-0.16, -0.06, -0.32],  # septum: q in V6, r in V1
        [0.62, 0.52, -0.06],  # apex
        [0.62, 0.42, 0.34],  # free wall of the left ventricle
        [0.10, -0.04, 0.68],  # base: S in V1 to V3
        [-0.16, -0.18, 0.16],  # last to be reached: s in I, II, V6
        [0.015, 0.012, -0.020],
        [0.10, 0.07, -0.05],
        [0.24, 0.17, -0.12],
    ]
)
# P from its onset, QRS from the R peak, in s; ST and T as shares of the JT interval.
_USUAL_CENTRES = np.array([0.038, 0.070, -0.024, -0.002, 0.008, 0.025, 0.039, 0.25, 0.58, 0.78])
_USUAL_WIDTHS = np.array(
    [
        [0.017, 0.018, 0.0065, 0.0090, 0.0095, 0.0095, 0.0070, 0.16, 0.17, 0.15],  # rising
        [0.020, 0.021, 0.0070, 0.0090, 0.0105, 0.0100, 0.0080, 0.20, 0.13, 0.10],  # falling
    ]
)


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What stays the same between the visits of one person.

    ``lead_field`` is (8, 3); ``residual`` (8, waves) is the part that a dipole cannot explain, as
    a share of each wave's size; ``vectors_mv`` (waves, 3), ``centres`` (waves,) and ``widths``
    (2, waves: rising, falling) describe a sinus beat. ``turn`` (3, 3) places the heart in the
    chest. ``focus`` says from which of the ectopic foci the person's ectopic beats come.
    """

    lead_field: Array
    residual: Array
    vectors_mv: Array
    centres: Array
    widths: Array
    turn: Array
    voltage: float
    pr_s: float
    qtc_s: float
    focus: int
    female: bool
    age_years: float
    years_between_visits: float


def rotation(frontal_deg: float, horizontal_deg: float) -> Array:
    """Return the (3, 3) rotation in the frontal plane (left to down), then the horizontal."""
    a, b = np.deg2rad(frontal_deg), np.deg2rad(horizontal_deg)
    frontal = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    level = np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]])
    turned: Array = level @ frontal
    return turned


def _normal(rng: np.random.Generator, mean: float, sd: float, low: float, high: float) -> float:
    return float(np.clip(rng.normal(mean, sd), low, high))


def _own_vectors(rng: np.random.Generator, turn: Array, female: bool) -> Array:
    vectors = _USUAL_VECTORS.copy()
    vectors[P_WAVES] *= np.exp(_normal(rng, 0, 0.22, -0.4, 0.4))
    vectors[QRS_WAVES] *= np.exp(rng.normal(0, 0.20, (5, 1)).clip(-0.4, 0.4))
    vectors[T_WAVES] *= np.exp(_normal(rng, -0.15 if female else 0.05, 0.22, -0.55, 0.4))
    vectors[T_EARLY] *= rng.uniform(0.2, 2.0)
    vectors[ST] *= rng.uniform(-0.5, 2.0)
    vectors[QRS_WAVES] = vectors[QRS_WAVES] @ turn.T
    atria = rotation(_normal(rng, 0, 15, -30, 30), _normal(rng, 0, 15, -30, 30))
    recovery = rotation(_normal(rng, 0, 14, -28, 24), _normal(rng, 0, 16, -30, 30))
    vectors[P_WAVES] = vectors[P_WAVES] @ atria.T
    vectors[T_WAVES] = vectors[T_WAVES] @ recovery.T
    sizes = np.linalg.norm(vectors, axis=1, keepdims=True)
    jitter: Array = vectors + 0.10 * sizes * rng.standard_normal(vectors.shape).clip(-2, 2)
    return jitter


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a person.

    Women have smaller QRS voltages and a longer corrected QT; with age the frontal axis turns
    left and the PR interval grows.
    """
    female = bool(rng.random() < 0.5)
    age = float(rng.uniform(20, 88))
    frontal = _normal(rng, 2 - 0.25 * (age - 50), 15, -42, 26)
    turn = rotation(frontal, _normal(rng, -1, 10, -20, 14))
    vectors = _own_vectors(rng, turn, female)
    placement = 1 + 0.10 * rng.standard_normal((8, 1)).clip(-2, 2)
    tilt = 0.10 * np.linalg.norm(DOWER, axis=1, keepdims=True) * rng.standard_normal((8, 3))
    centres, widths = _USUAL_CENTRES.copy(), _USUAL_WIDTHS.copy()
    qrs_scale = _normal(rng, 0.97 if female else 1.03, 0.08, 0.84, 1.2)
    centres[QRS_WAVES] = centres[QRS_WAVES] * qrs_scale + 0.0015 * rng.standard_normal(5)
    widths[:, QRS_WAVES] *= qrs_scale * np.exp(rng.normal(0, 0.08, 5).clip(-0.15, 0.15))
    p_scale = _normal(rng, 1, 0.10, 0.8, 1.2)
    centres[P_WAVES] *= p_scale
    widths[:, P_WAVES] *= p_scale
    t_scale = _normal(rng, 1, 0.12, 0.75, 1.2)
    widths[:, T_EARLY:] *= t_scale
    centres[T_LATE] = 1 - 2.2 * widths[1, T_LATE]
    centres[T_EARLY] = centres[T_LATE] - rng.uniform(0.12, 0.26)
    return Anatomy(
        lead_field=DOWER * placement + tilt.clip(-0.25, 0.25),
        residual=0.07 * rng.standard_normal((8, NUM_WAVES)).clip(-2, 2),
        vectors_mv=vectors,
        centres=centres,
        widths=widths,
        turn=turn,
        voltage=_normal(rng, 0.95 if female else 1.12, 0.15, 0.7, 1.45),
        pr_s=_normal(rng, 0.158 + 0.0002 * (age - 50), 0.016, 0.125, 0.198),
        qtc_s=_normal(rng, 0.414 if female else 0.400, 0.014, 0.370, 0.450),
        focus=int(rng.integers(3)),
        female=female,
        age_years=age,
        years_between_visits=float(rng.uniform(0.1, 1.5)),
    )
