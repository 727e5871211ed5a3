"""What was drawn, measured and held against the gates; and the manifest's columns of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtwin.generation.gates import NOT_FINITE, failed_gates
from ecgtwin.generation.plan import SampleRequest
from ecgtwin.generation.prepare import ResolvedCohort
from ecgtwin.signals.beats import Measurement
from ecgtwin.signals.leads import limb_residual_mv
from ecgtwin.signals.measurement import measure_all
from ecgtwin.store.reader import to_mv
from ecgtwin.store.writer import quantise

_MEASURED = ("rr_sd_ms", "qrs_ms", "pr_ms", "qt_ms")


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found of one drawn ECG, on the values that will be stored.

    ``failures`` are the gates that it does not pass. ``is_accepted`` is of the specification: with
    ``accept: all`` every ECG of finite samples is.
    """

    measured: Measurement
    limb_residual_mv: float
    failures: tuple[str, ...]
    is_accepted: bool


def judge_rows(
    cohort: ResolvedCohort, requests: Sequence[SampleRequest], samples_mv: NDArray[np.float32]
) -> list[Judged]:
    """Return what was found of each row of (rows, 12, time) in mV, drawn for ``requests``."""
    is_finite = [bool(np.isfinite(row_mv).all()) for row_mv in samples_mv]
    layout, gates = cohort.layout, cohort.plan.spec.gates
    steps, _ = quantise(samples_mv, step_mv=layout.step_mv)
    stored_mv = to_mv(steps, step_mv=layout.step_mv)
    finite = np.flatnonzero(is_finite).tolist()
    measurements = [Measurement(num_beats=0)] * len(requests)
    rates_hz = [layout.sampling_rate_hz] * len(finite)
    for place, found in zip(finite, measure_all(list(stored_mv[finite]), rates_hz), strict=True):
        measurements[place] = found
    residuals_mv = limb_residual_mv(stored_mv).tolist()
    failures = [[NOT_FINITE]] * len(requests)
    for place in finite:
        failures[place] = (
            []
            if gates is None
            else failed_gates(
                stored_mv[place],
                measured=measurements[place],
                limb_residual_mv=residuals_mv[place],
                condition=requests[place].condition,
                gates=gates,
                sampling_rate_hz=layout.sampling_rate_hz,
            )
        )
    is_exact = gates is not None and gates.accept == "exact"
    return [
        Judged(measured, residual, tuple(failed), not failed if is_exact else is_whole)
        for measured, residual, failed, is_whole in zip(
            measurements, residuals_mv, failures, is_finite, strict=True
        )
    ]


def manifest_columns(
    cohort: ResolvedCohort,
    requests: Sequence[SampleRequest],
    judged: Sequence[Judged],
    attempts: Sequence[int],
) -> dict[str, list[Any]]:
    """Return the manifest's columns of rows whose ``attempts`` are the ones that are stored."""
    conditions = [request.condition for request in requests]
    patients = [cohort.plan.patients[request.patient_index] for request in requests]
    return {
        "person": [request.person for request in requests],
        "patient_index": [request.patient_index for request in requests],
        "condition_index": [request.condition_index for request in requests],
        "replicate": [request.replicate for request in requests],
        "attempt": list(attempts),
        "accepted": [one.is_accepted for one in judged],
        "gate_failures": [list(one.failures) for one in judged],
        "statements": [[line.code for line in one.statements] for one in conditions],
        "certainties": [[line.certainty for line in one.statements] for one in conditions],
        "heart_rate_bpm": [one.heart_rate_bpm for one in conditions],
        "age_years": [one.age_years for one in conditions],
        "sex": [one.sex for one in conditions],
        "split": [patient.split for patient in patients],
        "measured_heart_rate_bpm": [one.measured.heart_rate_bpm for one in judged],
        **{name: [getattr(one.measured, name) for one in judged] for name in _MEASURED},
        "limb_residual_mv": [one.limb_residual_mv for one in judged],
    }


def ledger_line(row: int, attempt: int, judged: Judged) -> Mapping[str, Any]:
    """Return what the ledger keeps of an ECG that was rejected."""
    measured = judged.measured
    return {
        "row": row,
        "attempt": attempt,
        "gate_failures": list(judged.failures),
        "num_beats": measured.num_beats,
        "measured_heart_rate_bpm": measured.heart_rate_bpm,
        **{name: getattr(measured, name) for name in _MEASURED},
    }
