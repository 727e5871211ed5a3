"""The tables of a plan: their names at a cohort's URL, and their columns."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ecgtwin.errors import DamageError
from ecgtwin.generation.plan import CohortPlan, PatientRow, PatientTable
from ecgtwin.generation.references import Reference, base_vector_digest
from ecgtwin.spec.states import WantedState
from ecgtwin.store.objects import join
from ecgtwin.store.tables import read_table, read_whole_table

REFERENCES = "private/references.parquet"
PATIENTS = "plan/patients.parquet"
CONDITIONS = "plan/conditions.parquet"


def read_reference_table(url: str) -> tuple[list[Reference], dict[str, str]] | None:
    """Return the references at ``url`` and what they were made from, None where there are none."""
    name = join(url, REFERENCES)
    try:
        columns, metadata = read_table(name)
    except FileNotFoundError:
        return None
    except DamageError as error:
        found = str(error).partition("; ")[0]
        raise DamageError(f"{found}; restore it from a copy, nothing can make it again") from error
    try:
        rows = zip(*columns.values(), strict=True)
        return [_stored_reference(dict(zip(columns, row, strict=True))) for row in rows], metadata
    except (KeyError, TypeError, ValueError) as error:
        raise DamageError(f"{name} is damaged: {error!r}; restore it from a copy") from error


def _stored_reference(row: Mapping[str, Any]) -> Reference:
    vector = np.asarray(row["base_vector"], np.float32)
    patient = PatientRow(
        person=row["person"],
        split=row["split"],
        age_years=row["age_years"],
        sex=row["sex"],
        base_vector_digest=base_vector_digest(vector),
    )
    return Reference(patient, row["patient_id"], row["record_id"], vector)


def reference_columns(references: Sequence[Reference]) -> dict[str, list[Any]]:
    """Return the columns of REFERENCES."""
    columns = patient_columns([reference.patient for reference in references])
    del columns["base_vector_digest"]
    return {
        **columns,
        "patient_id": [reference.patient_id for reference in references],
        "record_id": [reference.record_id for reference in references],
        "base_vector": [reference.base_vector for reference in references],
    }


def patient_columns(patients: Iterable[PatientRow]) -> dict[str, list[Any]]:
    """Return the columns of PATIENTS: what is not private."""
    names = ("person", "split", "age_years", "sex", "base_vector_digest")
    rows = list(patients)
    return {name: [getattr(patient, name) for patient in rows] for name in names}


def condition_columns(states: Sequence[WantedState]) -> dict[str, list[Any]]:
    """Return the columns of CONDITIONS: rate and statements to read, and the whole as JSON.

    ``own`` has no column type.
    """
    return {
        "heart_rate_bpm": [one.heart_rate_bpm for one in states],
        "statements": ["; ".join(line.code for line in one.statements) for one in states],
        "condition": [json.dumps(one.model_dump(mode="json"), sort_keys=True) for one in states],
    }


def plan_metadata(plan: CohortPlan, public_inputs: Mapping[str, str]) -> dict[str, str]:
    """Return what PATIENTS and CONDITIONS say of themselves."""
    return {**public_inputs, "plan": plan.digest}


def read_patient_table(url: str) -> tuple[PatientTable, dict[str, str]]:
    """Return the patients of the plan at ``url``, and what the table says of itself.

    FileNotFoundError where it is not there, DamageError where it is not such a table.
    """
    name = join(url, PATIENTS)
    columns, metadata = read_whole_table(name)
    rows = zip(*columns.values(), strict=True)
    try:
        patients = [PatientRow(**dict(zip(columns, row, strict=True))) for row in rows]
        table = PatientTable.of(patients)
        table.digest()  # takes texts and numbers, nothing else
    except (TypeError, ValueError) as error:
        raise DamageError(f"{name} is damaged: {error!r}") from error
    return table, metadata
