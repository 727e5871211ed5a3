"""What a plan says of the rows of a shard, as the manifest's columns hold it."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecgtwin.generation.plan import CohortPlan
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.shard import Shard

Columns = dict[str, list[Any]]


class Cells(NamedTuple):
    """Rows counted by cell, patient and condition, in ascending order of both; (cell,) each.

    ``attempts`` counts every ECG drawn for the committed rows.
    """

    patient_index: NDArray[np.int64]
    condition_index: NDArray[np.int64]
    planned: NDArray[np.int64]
    committed: NDArray[np.int64]
    accepted: NDArray[np.int64]
    attempts: NDArray[np.int64]


def planned_columns(plan: CohortPlan, shard: Shard) -> Columns:
    """Return the columns of a manifest that follow from the plan, numbers as float32 has them."""
    samples = [plan.rows.sample_at(row) for row in range(shard.start, shard.stop)]
    patients = {one.patient: plan.patients[one.patient] for one in samples}
    conditions: dict[tuple[int, int], CardiacCondition] = {}
    for one in samples:
        if one[:2] not in conditions:
            patient = patients[one.patient]
            conditions[one[:2]] = plan.states[one.state].of(
                age_years=patient.age_years, sex=patient.sex
            )
    wanted = [conditions[one[:2]] for one in samples]
    return {
        "person": [patients[one.patient].person for one in samples],
        "patient_index": [one.patient for one in samples],
        "condition_index": [one.state for one in samples],
        "replicate": [one.replicate for one in samples],
        "statements": [[line.code for line in one.statements] for one in wanted],
        "certainties": [[line.certainty for line in one.statements] for one in wanted],
        "heart_rate_bpm": [_as_stored(one.heart_rate_bpm) for one in wanted],
        "age_years": [_as_stored(one.age_years) for one in wanted],
        "sex": [one.sex for one in wanted],
        "split": [patients[one.patient].split for one in samples],
    }


def cells_of(planned: Columns, committed: Columns | None) -> Cells:
    """Return the cells of a shard's rows; ``committed`` are its manifest's, None: there is none."""
    num_rows = len(planned["patient_index"])
    if committed is None:
        there, accepted, attempts = (np.zeros(num_rows, np.int64) for _ in range(3))
    else:
        there = np.ones(num_rows, np.int64)
        accepted = np.asarray(committed["accepted"], np.int64)
        attempts = np.asarray(committed["attempt"], np.int64) + 1
    patients, conditions = (
        np.asarray(planned[name], np.int64) for name in ("patient_index", "condition_index")
    )
    return merged_cells(
        [Cells(patients, conditions, np.ones(num_rows, np.int64), there, accepted, attempts)]
    )


def merged_cells(parts: list[Cells]) -> Cells:
    """Return the cells of several parts together."""
    if not parts:
        return Cells(*(np.zeros(0, np.int64) for _ in Cells._fields))
    columns = [np.concatenate(values) for values in zip(*parts, strict=True)]
    width = int(columns[1].max()) + 1
    keys, cell = np.unique(columns[0] * width + columns[1], return_inverse=True)
    counts = [np.zeros(len(keys), np.int64) for _ in columns[2:]]
    for total, values in zip(counts, columns[2:], strict=True):
        np.add.at(total, cell, values)
    return Cells(keys // width, keys % width, *counts)


def _as_stored(value: float | None) -> float | None:
    return None if value is None else float(np.float32(value))
