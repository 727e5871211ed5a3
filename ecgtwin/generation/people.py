"""The persons that a specification asks for, wherever they come from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecgtwin.errors import DamageError, SpecificationError
from ecgtwin.generation.banks import Bank
from ecgtwin.generation.population import population_digest, simulated_references
from ecgtwin.generation.references import Reference, ReferenceRecords, read_references
from ecgtwin.sources.simulated import simulate
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.patients import Patients, PatientsOfBank, PatientsOfPopulation
from ecgtwin.store.reader import Corpus
from ecgtwin.twin.twin import EcgTwin


@dataclass(frozen=True, slots=True)
class People:
    """``digest`` is of the corpus, bank or population; ``references`` reads those asked for."""

    digest: str
    references: Callable[[], Sequence[Reference]]


def people_of(spec: CohortSpec, twin: EcgTwin) -> People:
    """Return the persons of ``spec``; SpecificationError where they are not to be had."""
    patients = spec.patients
    if isinstance(patients, PatientsOfPopulation):
        return People(population_digest(patients), lambda: simulated_references(patients, twin))
    if isinstance(patients, PatientsOfBank):
        bank = Bank.read(patients.bank, twin)
        return People(bank.digest, lambda: bank.choose(patients))
    assert spec.corpus is not None  # the specification sees to it
    records = ReferenceRecords(Corpus(spec.corpus))
    return People(
        _corpus_digest(records.corpus),
        lambda: read_references(records, records.choose(patients), twin),
    )


def ages_and_sexes(
    patients: Patients, *, corpus: str | None
) -> tuple[NDArray[np.float64], list[str | None]]:
    """Return age in years (NaN: unknown) and sex (None: unknown) of the persons asked for.

    No network is needed for it.
    """
    if isinstance(patients, PatientsOfPopulation):
        persons = range(patients.population)
        rows = simulate(seed=patients.seed, persons=persons, visits_per_person=1)
        found = [(row.condition.age_years, row.condition.sex) for row in rows]
    elif isinstance(patients, PatientsOfBank):
        rows_of_bank = [one.patient for one in Bank.read(patients.bank).choose(patients)]
        found = [(row.age_years, row.sex) for row in rows_of_bank]
    else:
        if corpus is None:
            raise SpecificationError("corpus is not given, but patients are of one")
        records = ReferenceRecords(Corpus(corpus))
        conditions = [records.own_condition(one) for one in records.choose(patients)]
        found = [(condition.age_years, condition.sex) for condition in conditions]
    ages = np.array([np.nan if age is None else age for age, _ in found], np.float64)
    return ages, [None if sex == "unknown" else sex for _, sex in found]


def _corpus_digest(corpus: Corpus) -> str:
    try:
        return str(corpus.description["digest"])
    except KeyError:
        raise DamageError(
            f"{corpus.url}/corpus.json is damaged: no digest in it; restore it from a copy"
        ) from None
