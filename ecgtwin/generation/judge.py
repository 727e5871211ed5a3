"""What was drawn, measured and held against the gates; and the manifest's columns of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtwin.generation.gates import NOT_FINITE, failed_gates_of
from ecgtwin.generation.plan import SampleRequest
from ecgtwin.generation.prepare import ResolvedCohort
from ecgtwin.signals.leads import limb_residual_mv
from ecgtwin.signals.measurement import BLOCK_SAMPLES, Measurement, measure_all
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
    """Return what was found of each row of (rows, 12, time) in mV, drawn for ``requests``.

    A few rows go through every step together while they are in the cache.
    """
    size = max(1, BLOCK_SAMPLES // max(1, samples_mv.shape[2]))
    return [
        judged
        for start in range(0, len(requests), size)
        for judged in _judge_block(
            cohort, requests[start : start + size], samples_mv[start : start + size]
        )
    ]


def _judge_block(
    cohort: ResolvedCohort, requests: Sequence[SampleRequest], samples_mv: NDArray[np.float32]
) -> list[Judged]:
    layout, gates = cohort.layout, cohort.plan.spec.gates
    is_finite = np.isfinite(samples_mv).all(axis=(1, 2))
    steps, _ = quantise(samples_mv, step_mv=layout.step_mv)
    stored_mv = to_mv(steps, step_mv=layout.step_mv)
    residuals_mv = limb_residual_mv(stored_mv).tolist()
    judged = [
        Judged(Measurement(num_beats=0), residual_mv, (NOT_FINITE,), is_accepted=False)
        for residual_mv in residuals_mv
    ]
    finite = np.flatnonzero(is_finite).tolist()
    if len(finite) < len(judged):
        stored_mv = stored_mv[finite]
    rates_hz = [layout.sampling_rate_hz] * len(finite)
    measured = measure_all(list(stored_mv), rates_hz, seek_swaps=False)
    failures: list[list[str]] = [[] for _ in finite]
    if gates is not None:
        failures = failed_gates_of(
            stored_mv,
            measured=measured,
            limb_residuals_mv=[residuals_mv[row] for row in finite],
            conditions=[requests[row].condition for row in finite],
            gates=gates,
            sampling_rate_hz=layout.sampling_rate_hz,
        )
    is_exact = gates is not None and gates.accept == "exact"
    for row, one, failed in zip(finite, measured, failures, strict=True):
        judged[row] = Judged(one, residuals_mv[row], tuple(failed), not (is_exact and failed))
    return judged


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
