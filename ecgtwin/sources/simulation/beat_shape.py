"""BeatShape: one heart beat as the eight independent leads see it, in health and disease."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtwin.sources.simulation.anatomy import (
    BASAL,
    LATERAL,
    QRS_WAVES,
    SEPTAL,
    ST,
    T_EARLY,
    T_LATE,
    T_WAVES,
    TERMINAL,
    Anatomy,
    rotation,
)

Array = NDArray[np.float64]

_EDGE = 2.2  # a Gaussian wave is taken to start and end this many widths from its centre
_V1, _V5, _V6 = 2, 6, 7
_QRS_TIMES_S = np.arange(-0.12, 0.12, 0.002)
_MASS_VOLTAGE = 2.0  # mV of Sokolow-Lyon voltage per unit of hypertrophic mass, about

# Left bundle branch block: the septum from right to left, then the left ventricle, late and slow.
_LBBB_QRS = np.array(
    [[0.25, 0.10, 0.05], [0.62, 0.30, 0.55], [0.22, 0.08, 0.50], [0.62, 0.05, 0.70], [0.2, 0, 0.25]]
)
_LBBB_CENTRES = np.array([-0.034, -0.012, 0.010, 0.033, 0.053])
_LBBB_WIDTHS = np.array([0.0130, 0.0155, 0.0160, 0.0155, 0.0125])
# Ectopic foci: right ventricular outflow tract, right ventricular apex, left ventricle.
_ECTOPIC_QRS = np.array([[0.55, 1.50, 1.30], [1.35, -1.10, 0.95], [-1.20, 0.70, -1.30]])


@dataclass(frozen=True, slots=True)
class BeatShape:
    """Waves of one beat.

    ``vectors_mv`` (waves, 3); ``centres`` (waves,) and ``widths`` (2, waves) in the units of
    ``Anatomy``; ``qtc_s`` is the corrected QT interval.
    """

    vectors_mv: Array
    centres: Array
    widths: Array
    qtc_s: float

    @property
    def qrs_start_s(self) -> float:
        """Onset of the QRS complex relative to the R peak."""
        return float((self.centres - _EDGE * self.widths[0])[QRS_WAVES].min())

    @property
    def qrs_end_s(self) -> float:
        """End of the QRS complex relative to the R peak."""
        return float((self.centres + _EDGE * self.widths[1])[QRS_WAVES].max())

    def copies(self) -> tuple[Array, Array, Array]:
        """Return vectors, centres and widths to be changed."""
        return self.vectors_mv.copy(), self.centres.copy(), self.widths.copy()

    def lead_weights_mv(self, anatomy: Anatomy, lead_field: Array) -> Array:
        """Return the height of each wave in each independent lead, (8, waves)."""
        sizes = np.sqrt((self.vectors_mv**2).sum(axis=1))
        reach = np.sqrt((lead_field**2).sum(axis=1, keepdims=True))
        weights: Array = lead_field @ self.vectors_mv.T + anatomy.residual * reach * sizes
        return weights


def qrs_leads_mv(shape: BeatShape, weights_mv: Array) -> Array:
    """Return the QRS complex alone in the eight independent leads, (8, time)."""
    offset = _QRS_TIMES_S[:, None] - shape.centres[None, QRS_WAVES]
    rise, fall = shape.widths[:, QRS_WAVES]
    waves = np.exp(-0.5 * (offset / np.where(offset < 0, rise, fall)) ** 2)
    leads: Array = weights_mv[:, QRS_WAVES] @ waves.T
    return leads


def sokolow_lyon_mv(shape: BeatShape, weights_mv: Array) -> float:
    """Return S in V1 plus the taller R of V5 and V6 (Sokolow and Lyon 1949)."""
    leads = qrs_leads_mv(shape, weights_mv)
    return float(-leads[_V1].min() + leads[[_V5, _V6]].max())


def sinus_beat(anatomy: Anatomy) -> BeatShape:
    """Return the person's usual beat, its voltage kept below that of hypertrophy."""
    shape = BeatShape(
        anatomy.vectors_mv.copy(), anatomy.centres, anatomy.widths, qtc_s=anatomy.qtc_s
    )
    voltage = sokolow_lyon_mv(shape, shape.lead_weights_mv(anatomy, anatomy.lead_field))
    shape.vectors_mv[QRS_WAVES] *= min(anatomy.voltage, 3.1 / voltage)
    return shape


def left_bundle_branch_block(anatomy: Anatomy, usual: BeatShape) -> BeatShape:
    """Return a beat with a broad notched R in I, V5 and V6, a deep S in V1, and discordant T."""
    turn = _half_turn(anatomy)
    own = _own_sizes(anatomy)
    slow = 1 + 0.5 * (_stretch(usual) - 1)
    vectors, centres, widths = usual.copies()
    vectors[QRS_WAVES] = (1.3 * _LBBB_QRS * own * anatomy.voltage) @ turn.T
    centres[QRS_WAVES] = _LBBB_CENTRES * slow
    widths[:, QRS_WAVES] = _LBBB_WIDTHS * slow
    _oppose(vectors, share=0.20)
    centres[ST], widths[:, ST] = 0.14, 0.22
    return BeatShape(vectors, centres, widths, qtc_s=usual.qtc_s + 0.050)


def right_bundle_branch_block(anatomy: Anatomy, usual: BeatShape) -> BeatShape:
    """Return a beat with rsR' in V1, a wide S in I and V6, and T inverted in V1."""
    slow = _stretch(usual)
    vectors, centres, widths = usual.copies()
    vectors[SEPTAL] *= 0.8
    vectors[BASAL] *= 0.75
    size = 0.80 * anatomy.voltage * _own_sizes(anatomy)[TERMINAL - SEPTAL, 0]
    late = np.array([-0.62, -0.05, -0.62]) @ rotation(0, 0.4 * _tilt(anatomy)).T
    vectors[TERMINAL] = size * late
    centres[TERMINAL] = 0.061 * slow
    widths[:, TERMINAL] = [0.0145 * slow, 0.0190 * slow]
    vectors[T_EARLY:] += np.array([[0.02, 0, 0.08], [0.06, 0.02, 0.17]]) * anatomy.voltage
    return BeatShape(vectors, centres, widths, qtc_s=usual.qtc_s + 0.025)


def ectopic_beat(
    anatomy: Anatomy, usual: BeatShape, *, focus: int | None = None, slower: float = 1.0
) -> BeatShape:
    """Return a wide ventricular beat without P wave, with T opposite to its QRS.

    ``focus`` 0 is the outflow tract, 1 the apex of the right ventricle, 2 the left ventricle;
    without it the beat comes from the person's own.
    """
    vectors, centres, widths = usual.copies()
    slow = 1 + 0.5 * (_stretch(usual) - 1)
    slow *= slower
    origin = anatomy.focus if focus is None else focus
    main = _ECTOPIC_QRS[origin] @ _half_turn(anatomy).T * max(anatomy.voltage, 0.95)
    shares = np.array([0.28, 0.95, 0.55, 0.70, 0.28])[:, None] * _own_sizes(anatomy)
    turning = np.linspace(-20, 26, 5)
    vectors[QRS_WAVES] = [
        share * (main @ rotation(0.5 * angle, angle).T)
        for share, angle in zip(shares, turning, strict=True)
    ]
    centres[QRS_WAVES] = np.array([-0.034, -0.011, 0.012, 0.036, 0.061]) * slow
    widths[:, QRS_WAVES] = np.array([0.0130, 0.0150, 0.0155, 0.0155, 0.0140]) * slow
    _oppose(vectors, share=0.19)
    centres[ST], widths[:, ST] = 0.16, 0.22
    return BeatShape(vectors, centres, widths, qtc_s=usual.qtc_s + 0.040)


def left_ventricular_hypertrophy(
    anatomy: Anatomy, usual: BeatShape, *, lead_field: Array, voltage_mv: float
) -> BeatShape:
    """Return a beat whose Sokolow-Lyon voltage is ``voltage_mv``, with strain in lateral leads."""
    vectors, centres, widths = usual.copies()
    centres[QRS_WAVES] *= 1.08
    widths[:, QRS_WAVES] *= 1.08
    strain = np.array([[-0.050, -0.015, -0.050], [-0.07, -0.02, -0.09], [-0.24, -0.07, -0.20]])
    vectors[T_WAVES] = 0.15 * vectors[T_WAVES] + strain @ _half_turn(anatomy).T
    vectors[TERMINAL] *= 0.5
    centres[ST], widths[:, ST] = 0.34, 0.19
    shape = BeatShape(vectors, centres, widths, qtc_s=usual.qtc_s + 0.010)
    mass = np.zeros_like(vectors)  # more muscle on the left and behind
    mass[LATERAL], mass[BASAL] = [0.80, 0.12, 0.28], [0.22, 0.0, 0.50]
    for _ in range(3):
        voltage = sokolow_lyon_mv(shape, shape.lead_weights_mv(anatomy, lead_field))
        vectors += mass * (voltage_mv - voltage) / _MASS_VOLTAGE
    return shape


def _oppose(vectors: Array, *, share: float) -> None:
    """Point ST and T away from the mean QRS vector, keeping a trace of the person's own T."""
    away = -share * vectors[QRS_WAVES].sum(axis=0) * 0.62
    vectors[T_WAVES] *= 0.2
    vectors[ST] += 0.30 * away
    vectors[T_EARLY] += 0.35 * away
    vectors[T_LATE] += 0.85 * away


def _half_turn(anatomy: Anatomy) -> Array:
    """Return half of the person's heart rotation, which keeps the diagnostic pattern."""
    frontal = np.rad2deg(np.arctan2(anatomy.turn[1, 0], anatomy.turn[1, 1]))
    return rotation(0.5 * float(frontal), 0.4 * _tilt(anatomy))


def _tilt(anatomy: Anatomy) -> float:
    return float(np.rad2deg(np.arctan2(-anatomy.turn[0, 2], anatomy.turn[2, 2])))


def _own_sizes(anatomy: Anatomy) -> Array:
    """Return person-specific factors (5, 1) near 1 for the five QRS waves of a conducted beat."""
    return 1 + 0.8 * anatomy.residual[:5, :1].clip(-0.2, 0.2)


def _stretch(usual: BeatShape) -> float:
    """Return the person's QRS width relative to the usual one."""
    return float(np.clip((usual.qrs_end_s - usual.qrs_start_s) / 0.078, 0.85, 1.2))
