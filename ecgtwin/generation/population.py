"""Persons of a simulated population: their reference ECGs are simulated when they are asked for."""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from ecgtwin.errors import RecordError, SpecificationError
from ecgtwin.executors.protocol import one_torch_thread
from ecgtwin.generation.plan import PatientRow
from ecgtwin.generation.references import REFERENCES_PER_BATCH, Reference, base_vector_digest
from ecgtwin.signals.usable import usable_samples
from ecgtwin.sources.simulated import SimulatedSource, simulate
from ecgtwin.sources.source import SourceRow
from ecgtwin.sources.splits import split_of
from ecgtwin.spec.base import digest_of
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.spec.patients import PatientsOfPopulation
from ecgtwin.twin.twin import EcgTwin

_MOST_UNUSABLE = 0.2  # of the persons that are simulated


def population_digest(patients: PatientsOfPopulation) -> str:
    """Return a digest of what decides every person of the population, however many are asked."""
    described = _source(patients, 1).describe()
    return digest_of({name: described[name] for name in ("name", "version", "seed")})


def simulated_references(patients: PatientsOfPopulation, twin: EcgTwin) -> list[Reference]:
    """Return the first ``population`` persons whose first recording is usable.

    Persons fall into the splits that an ingest of the same seed gives them: one that was trained
    on is not a test person here.
    """
    references: list[Reference] = []
    usable = _usable(patients, twin)
    while batch := list(islice(usable, REFERENCES_PER_BATCH)):
        padded = batch + batch[-1:] * (REFERENCES_PER_BATCH - len(batch))
        with one_torch_thread():
            vectors = twin.base_vectors(
                np.stack([samples_mv for _, samples_mv in padded]),
                [row.condition for row, _ in padded],
            )[: len(batch)]
        references += [
            _reference(patients, row, vector)
            for (row, _), vector in zip(batch, vectors, strict=True)
        ]
    return references


def _usable(
    patients: PatientsOfPopulation, twin: EcgTwin
) -> Iterator[tuple[SourceRow, np.ndarray]]:
    wanted, person = patients.population, 0
    most = int(wanted / (1 - _MOST_UNUSABLE)) + REFERENCES_PER_BATCH
    while wanted:
        if person >= most:
            raise SpecificationError(
                f"patients: of {person:,} simulated persons {wanted:,} too few have a usable first "
                "recording; take another seed"
            )
        persons = range(person, person + REFERENCES_PER_BATCH)
        for row in simulate(seed=patients.seed, persons=persons, visits_per_person=1):
            try:
                samples_mv = usable_samples(
                    row.record, to_hz=twin.sampling_rate_hz, num_samples=twin.num_samples
                )
            except RecordError:
                continue
            yield row, samples_mv
            wanted -= 1
            if not wanted:
                return
        person += REFERENCES_PER_BATCH


def _source(patients: PatientsOfPopulation, num_persons: int) -> SimulatedSource:
    return SimulatedSource(patients.seed, num_persons, visits_per_person=1)


def _reference(patients: PatientsOfPopulation, row: SourceRow, vector: np.ndarray) -> Reference:
    settings = IngestSpec()
    person = f"{_source(patients, 1).archive}:{row.record.patient_id}"
    split = split_of(
        person,
        salt=settings.split_salt,
        validation_share=settings.validation_share,
        test_share=settings.test_share,
    )
    condition = row.condition
    patient = PatientRow(
        person, split, condition.age_years, condition.sex, base_vector_digest(vector)
    )
    return Reference(patient, person, row.record.record_id, vector)
