"""Anatomy: how one simulated person's heart and electrodes shape an ECG at every visit.

The heart is one moving dipole in the Frank axes (x left, y down, z back), seen by the eight
independent leads through the lead field of Dower et al. 1980 (J Electrocardiol 13:91), which is
perturbed for each person. Vectors are in mV, times in seconds. The usual vectors, and how they
differ by sex and age, follow the median beats of the normal ECGs among the first 500 of PTB-XL.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtwin.signals.vectorcardiogram import DOWER

Array = NDArray[np.float64]

# The waves of a beat. Two for P and T and five for QRS, so that shapes can be skewed and notched.
P_RIGHT, P_LEFT, SEPTAL, APICAL, LATERAL, BASAL, TERMINAL, ST, T_EARLY, T_LATE = range(10)
NUM_WAVES = 10
P_WAVES = slice(P_RIGHT, SEPTAL)
QRS_WAVES = slice(SEPTAL, ST)
T_WAVES = slice(ST, NUM_WAVES)

# How much larger leads are than the torso of Dower et al. gives: those of PTB-XL.
_LEAD_GAIN = np.array([1.32, 1.05, 0.90, 1.24, 1.06, 1.02, 1.03, 1.05])[:, None]

_USUAL_VECTORS = np.array(
    [
        [0.034, 0.066, -0.040],  # right atrium, first and forwards
        [0.086, 0.048, 0.022],  # left atrium, backwards
        [-0.09, -0.05, -0.27],  # septum: q in V6, r in V1
        [1.10, 0.52, 0.05],  # apex
        [0.40, 0.22, 0.57],  # free wall of the left ventricle
        [-0.10, -0.02, 0.50],  # base: S in V1 to V3
        [-0.08, -0.045, 0.08],  # last to be reached: s in I, II, V6
        [0.012, 0.008, -0.060],
        [0.147, 0.060, -0.132],
        [0.205, 0.120, -0.102],
    ]
)
# P from its onset, QRS from the R peak, in s; ST and T as shares of the JT interval.
_USUAL_CENTRES = np.array(
    [0.038, 0.070, -0.0205, -0.0015, 0.0085, 0.0195, 0.0300, 0.25, 0.58, 0.78]
)
_USUAL_WIDTHS = np.array(
    [
        [0.017, 0.018, 0.0056, 0.0074, 0.0080, 0.0082, 0.0060, 0.16, 0.17, 0.15],  # rising
        [0.020, 0.021, 0.0060, 0.0074, 0.0088, 0.0088, 0.0068, 0.20, 0.14, 0.115],  # falling
    ]
)
NUM_TRAITS = 12  # uniform numbers that decide how a disease looks in this person


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What stays the same between the visits of one person.

    ``lead_field`` is (8, 3); ``residual`` (8, waves) is the part that a dipole cannot explain, as
    a share of each wave's size; ``vectors_mv`` (waves, 3), ``centres`` (waves,) and ``widths``
    (2, waves: rising, falling) describe a sinus beat. ``turn`` (3, 3) places the heart in the
    chest. ``focus`` says from which of the ectopic foci the person's ectopic beats come.
    ``traits`` are uniform numbers for whatever disease comes; ``resting_bpm`` is the usual rate.
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
    resting_bpm: float
    arrhythmia: float
    traits: Array


def rotation(frontal_deg: float, horizontal_deg: float) -> Array:
    """Return the (3, 3) rotation in the frontal plane (left to down), then the horizontal."""
    a, b = np.deg2rad(frontal_deg), np.deg2rad(horizontal_deg)
    cos_a, sin_a, cos_b, sin_b = np.cos(a), np.sin(a), np.cos(b), np.sin(b)
    return np.array(
        [
            [cos_b * cos_a, -cos_b * sin_a, -sin_b],
            [sin_a, cos_a, 0.0],
            [sin_b * cos_a, -sin_b * sin_a, cos_b],
        ]
    )


def clipped_normal(
    rng: np.random.Generator, mean: float, sd: float, low: float, high: float
) -> float:
    """Return a normal number moved to the nearer end where it falls outside [low, high]."""
    return min(max(mean + sd * float(rng.standard_normal()), low), high)


def _own_vectors(rng: np.random.Generator, turn: Array, female: bool) -> Array:
    vectors = _USUAL_VECTORS.copy()
    vectors[P_WAVES] *= np.exp(clipped_normal(rng, 0, 0.25, -0.5, 0.5))
    vectors[QRS_WAVES] *= np.exp(rng.normal(0, 0.27, (5, 1)).clip(-0.6, 0.6))
    vectors[T_WAVES] *= np.exp(clipped_normal(rng, -0.12 if female else 0.10, 0.24, -0.8, 0.65))
    vectors[T_WAVES, 2] *= (0.72 if female else 1.15) * np.exp(clipped_normal(rng, 0, 0.15, -1, 1))
    vectors[T_EARLY] *= rng.uniform(0.3, 1.7)
    vectors[ST] *= rng.uniform(-0.3, 2.3)
    vectors[QRS_WAVES] = vectors[QRS_WAVES] @ turn.T
    atria = rotation(clipped_normal(rng, 0, 17, -36, 36), clipped_normal(rng, 0, 18, -40, 40))
    recovery = rotation(clipped_normal(rng, 0, 15, -30, 28), clipped_normal(rng, 0, 18, -36, 36))
    vectors[P_WAVES] = vectors[P_WAVES] @ atria.T
    vectors[T_WAVES] = vectors[T_WAVES] @ recovery.T
    sizes = np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    jitter: Array = vectors + 0.13 * sizes * rng.standard_normal(vectors.shape).clip(-2, 2)
    return jitter


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a person.

    Women have smaller QRS and T voltages, a shorter QRS and a longer corrected QT; with age the
    frontal axis turns left, PR and corrected QT grow and sinus arrhythmia fades.
    """
    female = bool(rng.random() < 0.5)
    age = float(rng.uniform(20, 88))
    frontal = clipped_normal(rng, (12 if female else 4) - 0.62 * (age - 45), 19, -56, 46)
    turn = rotation(frontal, clipped_normal(rng, 0, 13, -28, 24))
    vectors = _own_vectors(rng, turn, female)
    placement = 1 + 0.13 * rng.standard_normal((8, 1)).clip(-2, 2)
    reach = np.sqrt((DOWER**2).sum(axis=1, keepdims=True))
    tilt = 0.12 * reach * rng.standard_normal((8, 3)).clip(-2, 2)
    centres, widths = _USUAL_CENTRES.copy(), _USUAL_WIDTHS.copy()
    qrs_scale = clipped_normal(rng, 0.99 if female else 1.07, 0.075, 0.82, 1.22)
    centres[QRS_WAVES] = centres[QRS_WAVES] * qrs_scale + 0.0013 * rng.standard_normal(5)
    widths[:, QRS_WAVES] *= qrs_scale * np.exp(rng.normal(0, 0.08, 5).clip(-0.15, 0.15))
    p_scale = clipped_normal(rng, 1, 0.10, 0.8, 1.2)
    centres[P_WAVES] *= p_scale
    widths[:, P_WAVES] *= p_scale
    widths[:, T_EARLY:] *= clipped_normal(rng, 1, 0.13, 0.75, 1.25)
    centres[T_LATE] = 1 - 2.2 * widths[1, T_LATE]
    centres[T_EARLY] = centres[T_LATE] - rng.uniform(0.08, 0.20)
    return Anatomy(
        lead_field=DOWER * _LEAD_GAIN * placement + tilt,
        residual=0.08 * rng.standard_normal((8, NUM_WAVES)).clip(-2, 2),
        vectors_mv=vectors,
        centres=centres,
        widths=widths,
        turn=turn,
        voltage=clipped_normal(rng, 0.90 if female else 1.12, 0.18, 0.6, 1.55),
        pr_s=clipped_normal(
            rng, (0.165 if female else 0.177) + 0.0006 * (age - 45), 0.021, 0.120, 0.204
        ),
        qtc_s=clipped_normal(
            rng, (0.390 if female else 0.378) + 0.0003 * (age - 45), 0.015, 0.350, 0.445
        ),
        focus=int(rng.integers(3)),
        female=female,
        age_years=age,
        resting_bpm=clipped_normal(rng, 69 if female else 66, 9, 48, 96),
        arrhythmia=float(0.029 * np.exp(-0.019 * (age - 50) + 0.55 * rng.standard_normal())),
        traits=rng.random(NUM_TRAITS),
    )
