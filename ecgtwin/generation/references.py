"""The persons of a cohort: from a specification and a corpus to reference ECGs and base vectors."""

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import SpecificationError
from ecgtwin.executors.protocol import one_torch_thread
from ecgtwin.generation.choice import chosen, patient_columns
from ecgtwin.generation.plan import PatientRow
from ecgtwin.spec.condition import CardiacCondition, condition_from_columns
from ecgtwin.spec.patients import ChosenPatients, PatientsById
from ecgtwin.store.pseudonyms import pseudonym, pseudonym_key
from ecgtwin.store.reader import Corpus
from ecgtwin.twin.twin import EcgTwin

REFERENCES_PER_BATCH = 32


@dataclass(frozen=True, slots=True)
class Reference:
    """One person's reference ECG: who it is, where it lies in the corpus, the base vector."""

    patient: PatientRow
    patient_id: str
    record_id: str
    base_vector: NDArray[np.float32]


class ReferenceRecords:
    """The usable records of a corpus, by position among them."""

    def __init__(self, corpus: Corpus) -> None:
        """Raise SpecificationError where the corpus is not finished."""
        num_rows, num_there = corpus.layout.num_rows, len(corpus.columns["row"])
        if num_there < num_rows:
            raise SpecificationError(
                f"corpus: {corpus.url} is not finished, {num_there} of {num_rows} rows are there; "
                "run its ingest again"
            )
        self.corpus = corpus
        self._kept = np.flatnonzero(corpus.columns["accepted"])

    def __len__(self) -> int:
        return len(self._kept)

    def row(self, position: int) -> dict[str, Any]:
        """Return the columns of one record, None where unknown."""
        index = self._kept[position]
        return {name: values[index] for name, values in self.corpus.columns.items()}

    def own_condition(self, position: int) -> CardiacCondition:
        """Return the state a record was taken in: the label's rate, or else the measured one."""
        row = self.row(position)
        rate = row["heart_rate_bpm"] or row["measured_heart_rate_bpm"]
        columns = {name: [value] for name, value in {**row, "heart_rate_bpm": rate}.items()}
        return condition_from_columns(columns, 0)

    def choose(self, patients: PatientsById | ChosenPatients) -> list[int]:
        """Return the positions of the reference ECGs: the earliest visit of each patient.

        Raises SpecificationError naming a patient that is not there, or of whom there are too few.
        """
        earliest = self._earliest()
        if isinstance(patients, PatientsById):
            return self._by_id(patients.ids, earliest)
        positions = list(earliest.values())
        ages = np.asarray(self.corpus.column("age_years"))[positions]
        sexes, splits = self.corpus.column("sex"), self.corpus.column("split")
        columns = patient_columns(
            ages, [sexes[one] for one in positions], [splits[one] for one in positions]
        )
        places = chosen(patients, list(earliest), columns, of=f"corpus {self.corpus.url}")
        return [positions[place] for place in places]

    def _earliest(self) -> dict[str, int]:
        visits, names = self.corpus.column("visit"), self.corpus.column("patient_id")
        earliest: dict[str, int] = {}
        for position in sorted(range(len(self)), key=lambda position: (visits[position], position)):
            earliest.setdefault(names[position], position)
        return earliest

    def _by_id(self, ids: Sequence[str], earliest: dict[str, int]) -> list[int]:
        positions: dict[str, int] = {}
        for index, name in enumerate(ids):
            if name not in earliest:
                raise SpecificationError(f"patients.ids.{index}: {self._absence(name, earliest)}")
            positions[name] = earliest[name]
        return list(positions.values())

    def _absence(self, name: str, earliest: dict[str, int]) -> str:
        columns = self.corpus.columns
        reasons = [
            reason
            for patient, reason in zip(columns["patient_id"], columns["reason"], strict=True)
            if patient == name
        ]
        if reasons:
            return (
                f"patient {name!r} has no usable record in corpus {self.corpus.url} "
                f"({reasons[0]}); leave the patient out"
            )
        near = difflib.get_close_matches(name, earliest, n=3, cutoff=0) or sorted(earliest)[:3]
        return (
            f"patient {name!r} is not among the {len(earliest)} patients of corpus "
            f"{self.corpus.url}; the nearest ids are {', '.join(near)}"
        )


def read_references(
    records: ReferenceRecords, positions: Sequence[int], twin: EcgTwin
) -> list[Reference]:
    """Return the references at ``positions``, their base vectors extracted with one thread."""
    key = pseudonym_key(records.corpus.url)
    references: list[Reference] = []
    for start in range(0, len(positions), REFERENCES_PER_BATCH):
        batch = list(positions[start : start + REFERENCES_PER_BATCH])
        # Padded, as a plan's batches are: with how many others a person is asked for must not show.
        padded = batch + batch[-1:] * (REFERENCES_PER_BATCH - len(batch))
        samples_mv = records.corpus.samples_mv(padded)
        with one_torch_thread():
            vectors = twin.base_vectors(
                samples_mv, [records.own_condition(position) for position in padded]
            )[: len(batch)]
        references += [
            _reference(records, position, key, vector)
            for position, vector in zip(batch, vectors, strict=True)
        ]
    return references


def base_vector_digest(vector: NDArray[np.float32]) -> str:
    """Return the hex BLAKE2b-128 digest by which a plan knows a base vector."""
    return hashlib.blake2b(vector.astype("<f4").tobytes(), digest_size=16).hexdigest()


def _reference(
    records: ReferenceRecords, position: int, key: bytes, vector: NDArray[np.float32]
) -> Reference:
    row, own = records.row(position), records.own_condition(position)
    patient = PatientRow(
        person=pseudonym(key, row["patient_id"]),
        split=row["split"],
        age_years=own.age_years,
        sex=own.sex,
        base_vector_digest=base_vector_digest(vector),
    )
    return Reference(patient, row["patient_id"], row["record_id"], vector)
