"""Banks: persons as base vectors in one Parquet table, to draw twins of without their recordings.

    person, split, age_years, sex, base_vector      a row each, by person

Persons go by the pseudonyms that the corpus gives them; no recording and no id of a patient is in
it. It stays personal data nonetheless: a base vector can tell a person from a thousand others.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any, Self

import numpy as np

from ecgtwin.errors import DamageError, SpecificationError, StoreError
from ecgtwin.generation.choice import chosen, patient_columns
from ecgtwin.generation.plan import PatientRow
from ecgtwin.generation.references import (
    Reference,
    ReferenceRecords,
    base_vector_digest,
    read_references,
)
from ecgtwin.spec.patients import PatientsOfBank
from ecgtwin.store.tables import put_table, read_table
from ecgtwin.twin.encoding import base_vectors_digest
from ecgtwin.twin.twin import EcgTwin

_COLUMNS = ("person", "split", "age_years", "sex", "base_vector")
_KIND = "bank"


def write_bank(records: ReferenceRecords, positions: Sequence[int], twin: EcgTwin, url: str) -> int:
    """Write the persons at ``positions`` as a bank; return how many they are.

    Raises SpecificationError where base vectors of the twin cannot be kept, and CommitConflictError
    where something else is at ``url``.
    """
    references = read_references(records, positions, twin)
    references.sort(key=lambda one: one.patient.person)
    patients = [one.patient for one in references]
    columns: dict[str, list[Any]] = {
        name: [getattr(patient, name) for patient in patients] for name in _COLUMNS[:-1]
    }
    columns["base_vector"] = [one.base_vector for one in references]
    put_table(
        url,
        columns,
        {"kind": _KIND, "base_vectors": _digest_of(twin), "ecgtwin": version("ecgtwin")},
    )
    return len(references)


@dataclass(frozen=True)
class Bank:
    """The persons of a bank, by name; ``references`` have no id but the pseudonym."""

    url: str
    references: Sequence[Reference]

    @classmethod
    def read(cls, url: str, twin: EcgTwin | None = None) -> Self:
        """Read a bank; SpecificationError where it is none, or not of the extractor of ``twin``."""
        try:
            columns, metadata = read_table(url)
        except FileNotFoundError:
            raise SpecificationError(
                f"patients.bank: {url} is not there; `ecgtwin corpus bank` writes one"
            ) from None
        except (DamageError, StoreError) as error:
            raise SpecificationError(
                f"patients.bank: {url} is no bank, or a damaged one ({error}); `ecgtwin corpus "
                "bank` writes one"
            ) from error
        if metadata.get("kind") != _KIND:
            raise SpecificationError(
                f"patients.bank: {url} is no bank; `ecgtwin corpus bank` writes one"
            )
        found, mine = metadata.get("base_vectors"), twin and _digest_of(twin)
        if mine is not None and found != mine:
            raise SpecificationError(
                f"patients.bank: {url} holds base vectors of another base extractor ({found}, that "
                f"of the checkpoint is {mine}); write a bank with this checkpoint"
            )
        return cls(url, _references(url, columns))

    @cached_property
    def digest(self) -> str:
        """A digest of every person in it, wherever it is."""
        found = hashlib.blake2b(digest_size=16)
        for one in self.references:
            patient = one.patient
            fields = (patient.person, patient.split, repr(patient.age_years), patient.sex)
            found.update("\0".join((*fields, patient.base_vector_digest)).encode())
        return found.hexdigest()

    def choose(self, patients: PatientsOfBank) -> list[Reference]:
        """Return the persons that are chosen."""
        rows = [one.patient for one in self.references]
        ages = np.array([np.nan if row.age_years is None else row.age_years for row in rows], float)
        columns = patient_columns(ages, [row.sex for row in rows], [row.split for row in rows])
        places = chosen(patients, [row.person for row in rows], columns, of=f"bank {self.url}")
        return [self.references[place] for place in places]


def _digest_of(twin: EcgTwin) -> str:
    found = base_vectors_digest(twin)
    if found is None:
        raise SpecificationError(
            "base vectors of this checkpoint depend on what else is in a batch (reference_mask), "
            "so no bank can hold them; take patients of the corpus"
        )
    return found


def _references(url: str, columns: Mapping[str, Sequence[Any]]) -> list[Reference]:
    try:
        rows = zip(*(columns[name] for name in _COLUMNS), strict=True)
        return [_reference(*row) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise DamageError(f"{url} is damaged: {error!r}; write the bank again") from error


def _reference(person: str, split: str, age: float | None, sex: Any, values: Any) -> Reference:  # noqa: ANN401  (Parquet)
    vector = np.asarray(values, np.float32)
    patient = PatientRow(person, split, age, sex, base_vector_digest(vector))
    return Reference(patient, person, "", vector)
