"""One visit: anatomy, what changed since, state and rate become the waves of a strip."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgtwin.sources.simulation.anatomy import (
    NUM_WAVES,
    P_WAVES,
    QRS_WAVES,
    T_WAVES,
    Anatomy,
    clipped_normal,
    rotation,
)
from ecgtwin.sources.simulation.beat_shape import (
    BeatShape,
    ectopic_beat,
    left_bundle_branch_block,
    left_ventricular_hypertrophy,
    right_bundle_branch_block,
    sinus_beat,
)
from ecgtwin.sources.simulation.repolarisation import (
    Severity,
    anterior_infarction,
    inferior_infarction,
    lateral_ischaemia,
    low_voltage,
    prolonged_qt,
)
from ecgtwin.sources.simulation.rhythm import Rhythm, pace_s
from ecgtwin.sources.simulation.waves import WaveList

Array = NDArray[np.float64]

_RIGHT_APEX = 1  # where the lead of a pacemaker lies
# How much of an atrial dipole the leads see: the atria lie far from V3 to V6.
_ATRIAL_REACH = np.array([1.35, 1.0, 1.30, 0.90, 0.65, 0.52, 0.50, 0.55])[:, None]
_T_FROM = QRS_WAVES.stop


class Change(NamedTuple):
    """How a visit differs from the person's anatomy: electrodes, posture, and the day."""

    lead_field: Array
    wave_sizes: Array
    t_turn: Array
    pr_s: float
    qtc_s: float
    breathing_depth: float
    breathing_hz: float
    breathing_phase: float
    severity: Severity


def draw_change(rng: np.random.Generator, anatomy: Anatomy) -> Change:
    """Draw the change of one visit.

    Its spread is set so that visits of one person are as alike as those of PTB-XL's persons.
    """
    reach = np.sqrt((anatomy.lead_field**2).sum(axis=1, keepdims=True))
    shift = 0.055 * reach * rng.standard_normal((8, 3)).clip(-2, 2)
    chest = np.concatenate([np.ones(2), 1 + 0.05 * rng.standard_normal(6).clip(-2, 2)])
    gain = np.exp(0.07 * rng.standard_normal())
    turn = rotation(*(5.0 * rng.standard_normal(2).clip(-2, 2)))
    sizes = np.ones(NUM_WAVES)
    sizes[P_WAVES] = np.exp(0.14 * rng.standard_normal())
    sizes[QRS_WAVES] = np.exp(0.045 * rng.standard_normal(5))
    sizes[T_WAVES] = np.exp(0.14 * rng.standard_normal() + 0.06 * rng.standard_normal(3))
    return Change(
        lead_field=gain * chest[:, None] * (anatomy.lead_field + shift) @ turn,
        wave_sizes=sizes,
        t_turn=rotation(*(5.5 * rng.standard_normal(2).clip(-2, 2))),
        pr_s=clipped_normal(rng, 0, 0.006, -0.015, 0.015),
        qtc_s=clipped_normal(rng, 0, 0.007, -0.018, 0.018),
        breathing_depth=float(rng.uniform(0.01, 0.05)),
        breathing_hz=float(rng.uniform(0.18, 0.32)),
        breathing_phase=float(rng.random()),
        severity=Severity(*rng.random(3)),
    )


@dataclass(frozen=True, slots=True)
class Shapes:
    """The beats that a visit can show: conducted ones, and wide ones from the ventricles."""

    conducted: BeatShape
    ventricular: BeatShape


def shapes_of(state: str, anatomy: Anatomy, change: Change) -> Shapes:
    """Return the beats of a state at a visit."""
    usual = sinus_beat(anatomy)
    vectors = usual.vectors_mv * change.wave_sizes[:, None]
    vectors[T_WAVES] = vectors[T_WAVES] @ change.t_turn.T
    usual = BeatShape(vectors, usual.centres, usual.widths, usual.qtc_s + change.qtc_s)
    if state == "paced rhythm":
        wide = ectopic_beat(anatomy, usual, focus=_RIGHT_APEX, slower=1.08)
    elif state == "third degree av block":
        wide = ectopic_beat(anatomy, usual, slower=1.1)
    else:
        wide = ectopic_beat(anatomy, usual)
    return Shapes(_conducted(state, anatomy, change, usual), wide)


def _conducted(state: str, anatomy: Anatomy, change: Change, usual: BeatShape) -> BeatShape:
    traits, severity = anatomy.traits, change.severity
    if state == "left bundle branch block":
        return left_bundle_branch_block(anatomy, usual)
    if state == "right bundle branch block":
        return right_bundle_branch_block(anatomy, usual)
    if state == "left ventricular hypertrophy":
        voltage_mv = 3.95 + 1.1 * float(traits[3]) + 0.12 * severity.injury
        return left_ventricular_hypertrophy(
            anatomy, usual, lead_field=change.lead_field, voltage_mv=voltage_mv
        )
    if state == "inferior myocardial infarction":
        return inferior_infarction(usual, severity)
    if state == "anterior myocardial infarction":
        return anterior_infarction(usual, severity)
    if state == "ischemia in lateral leads":
        return lateral_ischaemia(usual, severity)
    if state == "prolonged qt interval":
        return prolonged_qt(anatomy, usual)
    if state == "low qrs voltage":
        return low_voltage(anatomy, usual, change.lead_field)
    return usual


def add_beats(
    waves: WaveList, rhythm: Rhythm, shapes: Shapes, *, anatomy: Anatomy, change: Change
) -> None:
    """Add the ventricular waves of all beats."""
    wide = np.isin(rhythm.kinds, ("V", "E", "/"))
    angle = 2 * np.pi * (change.breathing_hz * rhythm.times_s + change.breathing_phase)
    breathing = 1 + change.breathing_depth * np.sin(angle)
    for shape, chosen in ((shapes.conducted, ~wide), (shapes.ventricular, wide)):
        if chosen.any():
            centres, widths = _timing(shape, rhythm)
            heights = np.ones((int(chosen.sum()), NUM_WAVES - QRS_WAVES.start))
            heights[:, : _T_FROM - QRS_WAVES.start] = breathing[chosen, None]
            weights = shape.lead_weights_mv(anatomy, change.lead_field)
            waves.add(
                weights[:, QRS_WAVES.start :],
                rhythm.times_s[chosen, None] + centres[chosen],
                widths[:, chosen],
                heights,
            )


def _timing(shape: BeatShape, rhythm: Rhythm) -> tuple[Array, Array]:
    """Return QRS and T of each beat: centres after its R peak, and widths (2, beats, waves), in s.

    QT follows the rate as Fridericia 1920 found.
    """
    intervals = np.diff(rhythm.times_s)
    mean = float(intervals.mean())
    after = np.concatenate([intervals, [mean]])
    pace = np.where(rhythm.kinds == "V", mean, pace_s(rhythm.times_s))
    qt = np.minimum(shape.qtc_s * np.cbrt(pace), 0.93 * after)
    qrs_end = shape.qrs_end_s
    jt = np.maximum(qt - (qrs_end - shape.qrs_start_s), 0.16)
    centres = np.tile(shape.centres[QRS_WAVES.start :], (len(jt), 1))
    widths = np.tile(shape.widths[:, None, QRS_WAVES.start :], (1, len(jt), 1))
    recovery = slice(_T_FROM - QRS_WAVES.start, None)
    centres[:, recovery] = qrs_end + centres[:, recovery] * jt[:, None]
    widths[:, :, recovery] *= np.sqrt(0.30 * jt)[:, None]  # T narrows less than JT
    return centres, widths


def add_atrial_waves(
    waves: WaveList, rhythm: Rhythm, shape: BeatShape, *, anatomy: Anatomy, change: Change
) -> None:
    """Add a P wave at each atrial onset; premature ones come from elsewhere and look otherwise."""
    vectors = shape.vectors_mv[P_WAVES]
    reach = np.sqrt((change.lead_field**2).sum(axis=1, keepdims=True))
    fast = max(0.8, min(1.0, float(np.diff(rhythm.times_s).mean()) ** 0.2))
    elsewhere = vectors @ rotation(40 + 120 * anatomy.traits[4], -40 + 80 * anatomy.traits[5]).T
    for own, chosen in ((vectors, ~rhythm.premature), (elsewhere, rhythm.premature)):
        if chosen.any():
            sizes = np.sqrt((own**2).sum(axis=1))
            weights = change.lead_field @ own.T + anatomy.residual[:, P_WAVES] * reach * sizes
            weights *= _ATRIAL_REACH
            onsets = rhythm.atrial_s[chosen, None]
            count = len(onsets)
            widths = np.tile(shape.widths[:, None, P_WAVES] * fast, (1, count, 1))
            waves.add(weights, onsets + shape.centres[P_WAVES] * fast, widths, np.ones(1))


def truth_of(rhythm: Rhythm, shapes: Shapes, *, state: str, duration_s: float) -> Mapping[str, Any]:
    """Return what is known of a strip, JSON-able; times in s from its start, intervals in ms.

    Beats are lettered as in ``rhythm``; ``pr_ms_by_beat`` is None for a beat that no P wave led
    to; ``p_times_s`` are onsets.
    """
    inside = (rhythm.times_s >= 0) & (rhythm.times_s < duration_s)
    atrial = rhythm.atrial_s[(rhythm.atrial_s >= 0) & (rhythm.atrial_s < duration_s)]
    kinds = [str(kind) for kind in rhythm.kinds[inside]]
    wide = sum(kind in "VE/" for kind in kinds) > len(kinds) / 2
    shape = shapes.ventricular if wide else shapes.conducted
    pr = rhythm.pr_s[inside]
    known = pr[np.isfinite(pr)]
    pace = float(np.diff(rhythm.times_s).mean())
    return {
        "state": state,
        "conduction": rhythm.conduction or ("fibrillation" if rhythm.fibrillation else "sinus"),
        "r_times_s": [round(float(time), 4) for time in rhythm.times_s[inside]],
        "beat_types": kinds,
        "p_times_s": [round(float(time), 4) for time in atrial],
        "pr_ms_by_beat": [None if np.isnan(one) else round(1000 * float(one), 1) for one in pr],
        "pr_ms": round(1000 * float(np.median(known)), 1) if len(known) else None,
        "qrs_ms": round(1000 * (shape.qrs_end_s - shape.qrs_start_s), 1),
        "qt_ms": round(1000 * shape.qtc_s * pace ** (1 / 3), 1),
        "qtc_ms": round(1000 * shape.qtc_s, 1),
        "flutter_bpm": None if rhythm.flutter is None else round(60 / rhythm.flutter[0], 1),
    }
