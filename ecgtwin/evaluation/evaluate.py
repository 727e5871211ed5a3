"""All figures of a cohort as one JSON-able mapping, good or bad; a missing one says why."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtwin.evaluation.fidelity import frechet
from ecgtwin.evaluation.figures import finite, median_of, reason
from ecgtwin.evaluation.heart_rate import heart_rate_fidelity
from ecgtwin.evaluation.identity import (
    beside_real,
    cosine_similarity,
    own_against_others,
    shape_correlation,
)
from ecgtwin.evaluation.nearest import nearest_training
from ecgtwin.evaluation.readings import Readings, read_ecgs
from ecgtwin.signals.leads import limb_residual_mv

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]

SELECTION_RULE = (
    "all twins in order of the difference between requested and measured heart rate, then of the "
    "limb-lead residual, those without R peaks last; the median is in the middle, the worst is last"
)


@dataclass(frozen=True, slots=True)
class EvaluationInputs:
    """What a cohort is judged by. Samples are (ecg, 12, time) in mV at one rate.

    ``visit_*`` are other real ECGs of the same patients, perhaps none; ``training_*`` records that
    the networks were trained on, or some of them. Patients of twins and visits are positions among
    the references; those of training records are any labels. Rates not requested are NaN.
    """

    sampling_rate_hz: float
    twin_samples_mv: Floats
    twin_requested_bpm: Floats
    twin_patient: Integers
    twin_state: Sequence[str]
    reference_samples_mv: Floats
    visit_samples_mv: Floats
    visit_patient: Integers
    training_samples_mv: Floats
    training_patient: NDArray[np.generic]
    twin_base_vectors: Floats | None = None
    reference_base_vectors: Floats | None = None
    visit_base_vectors: Floats | None = None
    references_are_unseen: bool = True  # no training saw the patients of references and visits
    seed: int = 0  # of the halves that the Frechet distance compares


def evaluate(inputs: EvaluationInputs) -> dict[str, object]:
    """Return every figure, under the paths that the report knows."""
    if not len(inputs.twin_samples_mv):
        return reason("there are no twins")
    rate = inputs.sampling_rate_hz
    twins, references, visits, training = (
        read_ecgs(samples_mv, sampling_rate_hz=rate)
        for samples_mv in (
            inputs.twin_samples_mv,
            inputs.reference_samples_mv,
            inputs.visit_samples_mv,
            inputs.training_samples_mv,
        )
    )
    requested = np.asarray(inputs.twin_requested_bpm, dtype=np.float64)
    residual = limb_residual_mv(np.asarray(inputs.twin_samples_mv, dtype=np.float64))
    return {
        "counts": _counts(inputs),
        "heart_rate": {
            **heart_rate_fidelity(
                requested,
                twins.heart_rate_bpm,
                references.heart_rate_bpm[inputs.twin_patient],
            ),
            "requested_bpm": [finite(value) for value in requested],
            "measured_bpm": [finite(value) for value in twins.heart_rate_bpm],
            "states": list(inputs.twin_state),
        },
        "limb_leads": {
            "mean_residual_mv": float(residual.mean()),
            "max_residual_mv": float(residual.max()),
        },
        "identity": {
            "base_extractor": _by_base_vectors(inputs),
            "median_beat": _by_median_beats(inputs, twins, references, visits),
        },
        "frechet": frechet(twins, training, inputs.training_patient, seed=inputs.seed),
        "nearest": nearest_training(
            twins, _joined(references, visits) if inputs.references_are_unseen else None, training
        ),
        "states": _states(inputs.twin_state, requested, twins),
        "selection_rule": SELECTION_RULE,
        "chosen": choose(requested, twins.heart_rate_bpm, residual),
    }


def choose(requested_bpm: Floats, measured_bpm: Floats, residual_mv: Floats) -> dict[str, int]:
    """Return the positions of the ``median`` and the ``worst`` twin by SELECTION_RULE.

    A twin of which no rate was requested has an error of 0 when it has R peaks.
    """
    error = np.abs(np.where(np.isfinite(requested_bpm), requested_bpm, measured_bpm) - measured_bpm)
    order = np.lexsort((residual_mv, np.where(np.isfinite(error), error, np.inf)))
    return {"median": int(order[(len(order) - 1) // 2]), "worst": int(order[-1])}


def _counts(inputs: EvaluationInputs) -> dict[str, int]:
    return {
        "twins": len(inputs.twin_samples_mv),
        "persons": len(inputs.reference_samples_mv),
        "real_visits": len(inputs.visit_samples_mv),
        "training_records": len(inputs.training_samples_mv),
    }


def _by_base_vectors(inputs: EvaluationInputs) -> dict[str, object]:
    own, others = inputs.twin_base_vectors, inputs.reference_base_vectors
    if own is None or others is None:
        return reason("no base vectors were given")
    twins = own_against_others(cosine_similarity(own, others), inputs.twin_patient)
    visits = inputs.visit_base_vectors
    if visits is None or not len(visits):
        return beside_real(twins, reason("no patient has another one"))
    real = own_against_others(cosine_similarity(visits, others), inputs.visit_patient)
    return beside_real(twins, real)


def _by_median_beats(
    inputs: EvaluationInputs, twins: Readings, references: Readings, visits: Readings
) -> dict[str, object]:
    made = shape_correlation(twins.shapes_mv, references.shapes_mv)
    figures = own_against_others(made, inputs.twin_patient)
    if not len(visits):
        return beside_real(figures, reason("no patient has another one"))
    real = shape_correlation(visits.shapes_mv, references.shapes_mv)
    return beside_real(figures, own_against_others(real, inputs.visit_patient))


def _joined(first: Readings, second: Readings) -> Readings:
    names = Readings.__dataclass_fields__
    return Readings(
        **{name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in names}
    )


def _states(states: Sequence[str], requested: Floats, twins: Readings) -> list[dict[str, object]]:
    """Return one mapping per state, in order of first appearance."""
    labels = np.array(list(states), dtype=object)
    rows: list[dict[str, object]] = []
    for state in dict.fromkeys(states):
        here = labels == state
        measured = twins.heart_rate_bpm[here]
        error = np.abs(requested[here] - measured)
        known = error[np.isfinite(error)]
        rows.append(
            {
                "state": state,
                "num_twins": int(here.sum()),
                "share_measured": float(np.isfinite(measured).mean()),
                "mean_absolute_error_bpm": float(known.mean()) if len(known) else None,
                "median_requested_bpm": median_of(requested[here]),
                "median_measured_bpm": median_of(measured),
                "rr_sd_ms": median_of(twins.rr_sd_ms[here]),
                "qrs_ms": median_of(twins.qrs_ms[here]),
            }
        )
    return rows
