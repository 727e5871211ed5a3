"""Infarction, ischaemia, a long QT and low voltage: what they make of the usual beat.

Vectors of injury point to where ST rises (Wagner et al. 2009, Circulation 119:e262).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgtwin.signals.leads import derive_limb_leads
from ecgtwin.sources.simulation.anatomy import (
    APICAL,
    P_WAVES,
    QRS_WAVES,
    SEPTAL,
    ST,
    T_EARLY,
    T_LATE,
    T_WAVES,
    Anatomy,
)
from ecgtwin.sources.simulation.beat_shape import BeatShape, qrs_leads_mv

Array = NDArray[np.float64]

_INFERIOR_ST = np.array([-0.30, 0.95, 0.05])  # right of straight down: III above II
_ANTERIOR_ST = np.array([0.30, -0.26, -0.92])
_LATERAL_ST = np.array([-0.85, -0.42, 0.14])  # away from V4 to V6 and II: depression there


class Severity(NamedTuple):
    """How far a disease has gone at a visit, three numbers from 0 to 1."""

    injury: float
    necrosis: float
    recovery: float


def inferior_infarction(usual: BeatShape, severity: Severity) -> BeatShape:
    """Return ST elevation in III more than II and aVF, depression in aVL and I; Q waves in some."""
    shape = _injured(usual, _INFERIOR_ST * (0.13 + 0.20 * severity.injury), severity)
    if severity.necrosis > 0.45:
        vectors, centres, widths = shape.copies()
        vectors[SEPTAL] += np.array([0.10, -0.30 - 0.25 * severity.necrosis, 0.0])
        vectors[APICAL, 1] *= 0.35
        centres[SEPTAL] -= 0.004
        widths[:, SEPTAL] *= 1.45
        shape = BeatShape(vectors, centres, widths, shape.qtc_s)
    return shape


def anterior_infarction(usual: BeatShape, severity: Severity) -> BeatShape:
    """Return ST elevation in V1 to V4, depression in III and aVF; loss of R in V1 to V3 in some."""
    shape = _injured(usual, _ANTERIOR_ST * (0.14 + 0.20 * severity.injury), severity)
    if severity.necrosis > 0.45:
        vectors, centres, widths = shape.copies()
        vectors[SEPTAL] = [-0.06, -0.03, 0.10 + 0.22 * severity.necrosis]
        vectors[APICAL, 2] = max(0.0, vectors[APICAL, 2]) + 0.30
        vectors[APICAL, 0] *= 0.75
        shape = BeatShape(vectors, centres, widths, shape.qtc_s)
    return shape


def _injured(usual: BeatShape, injury_mv: Array, severity: Severity) -> BeatShape:
    """Raise ST from the J point on and let it run into a T wave of the same direction."""
    vectors, centres, widths = usual.copies()
    vectors[ST] = injury_mv
    vectors[T_EARLY] = 0.3 * vectors[T_EARLY] + (0.55 + 0.3 * severity.recovery) * injury_mv
    vectors[T_LATE] = 0.6 * vectors[T_LATE] + (0.9 - 0.8 * severity.recovery) * injury_mv
    centres[ST] = 0.12
    widths[:, ST] = [0.13, 0.30]
    return BeatShape(vectors, centres, widths, usual.qtc_s + 0.010)


def lateral_ischaemia(usual: BeatShape, severity: Severity) -> BeatShape:
    """Return level ST depression in V4 to V6 and II, T there flat or, in most, inverted."""
    vectors, centres, widths = usual.copies()
    depression = _LATERAL_ST * (0.085 + 0.12 * severity.injury)
    vectors[ST] = depression
    late = -0.15 + 1.5 * severity.recovery
    vectors[T_EARLY] = 0.25 * vectors[T_EARLY] + (0.75 + 0.2 * late) * depression
    vectors[T_LATE] = (0.55 - 0.4 * severity.recovery) * vectors[T_LATE] + late * depression
    centres[ST] = 0.20
    widths[:, ST] = [0.17, 0.26]
    return BeatShape(vectors, centres, widths, usual.qtc_s + 0.012)


def prolonged_qt(anatomy: Anatomy, usual: BeatShape) -> BeatShape:
    """Return a corrected QT of 480 to 560 ms with a broad T, a notched one or a late one.

    The three shapes are those of the genotypes 1 to 3 (Moss et al. 1995, Circulation 92:2929).
    """
    vectors, centres, widths = usual.copies()
    kind, length = anatomy.traits[0], anatomy.traits[1]
    if kind < 0.5:
        widths[:, T_EARLY:] *= 1.35
        vectors[T_EARLY] *= 1.3
    elif kind < 0.75:
        vectors[T_EARLY], vectors[T_LATE] = 0.75 * vectors[T_LATE], 0.55 * vectors[T_LATE]
        widths[:, T_EARLY:] *= 0.72
    else:
        vectors[ST] *= 0.3
        vectors[T_EARLY] *= 0.15
        widths[:, T_LATE] *= 0.8
    centres[T_LATE] = 1 - 2.2 * widths[1, T_LATE]
    centres[T_EARLY] = centres[T_LATE] - (0.30 if 0.5 <= kind < 0.75 else 0.20)
    return BeatShape(vectors, centres, widths, qtc_s=0.487 + 0.066 * length)


def low_voltage(anatomy: Anatomy, usual: BeatShape, lead_field: Array) -> BeatShape:
    """Return QRS complexes below 0.5 mV in the limb leads and 1.0 mV in the precordial ones."""
    leads = derive_limb_leads(qrs_leads_mv(usual, usual.lead_weights_mv(anatomy, lead_field)))
    heights = np.ptp(leads, axis=1)
    size = 0.72 + 0.2 * anatomy.traits[2]
    share = min(0.5 * size / heights[:6].max(), size / heights[6:].max(), 1.0)
    vectors, centres, widths = usual.copies()
    vectors[QRS_WAVES] *= share
    vectors[T_WAVES] *= share**0.8
    vectors[P_WAVES] *= share**0.45
    return BeatShape(vectors, centres, widths, usual.qtc_s)
