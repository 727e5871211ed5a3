"""Persons of a corpus, a bank or a simulated population: who is chosen, that they are drawn."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgtwin.errors import CohortMismatchError, SpecificationError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.banks import Bank, write_bank
from ecgtwin.generation.people import ages_and_sexes
from ecgtwin.generation.prepare import resolve_cohort
from ecgtwin.generation.references import ReferenceRecords
from ecgtwin.generation.run import generate_cohort
from ecgtwin.sources.ingest import ingest
from ecgtwin.sources.simulated import SimulatedSource
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.spec.patients import ChosenPatients, PatientsOfBank, PatientsOfPopulation
from ecgtwin.store.reader import Cohort, Corpus
from ecgtwin.store.verify import verify
from ecgtwin.twin.twin import EcgTwin
from tests.generation.corpora import make_checkpoint, make_spec


def persons_of(inputs: Path, patients: dict[str, Any], url: Path) -> list[str]:
    """Return the ids of the patients in the plan."""
    return [
        one.patient_id
        for one in resolve_cohort(make_spec(inputs, url, patients=patients)).references
    ]


@pytest.mark.parametrize(
    ("patients", "ids"),
    [
        ({"where": "patient.sex == 'male'"}, ["p3"]),
        ({"where": "patient.age_years < 50"}, ["p1"]),  # at the earliest visit
        ({"where": "patient.age_years is unknown"}, ["p2"]),
        ({"where": "patient.age_years >= 41"}, ["p1", "p3", "p4"]),  # the unknown is not chosen
        ({"where": "patient.age_years >= 41", "split": "train"}, ["p1", "p3"]),
        ({"where": "patient.split == 'test'"}, ["p4"]),
        ({"count": 3}, ["p1", "p2", "p3"]),
    ],
)
def test_patients_of_a_corpus_are_chosen_by_what_they_are(
    inputs: Path, tmp_path: Path, patients: dict[str, Any], ids: list[str]
) -> None:
    assert persons_of(inputs, patients, tmp_path / "new") == ids


def test_too_few_are_counted(inputs: Path, tmp_path: Path) -> None:
    patients = {"where": "patient.age_years > 70", "split": "train", "count": 2}
    with pytest.raises(SpecificationError) as caught:
        persons_of(inputs, patients, tmp_path / "new")
    assert "2 of split 'train' are asked for" in str(caught.value)
    assert "has 0 such, of 3 before 'patient.age_years > 70'" in str(caught.value)


@pytest.fixture(scope="module")
def bank(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bank") / "bank.parquet"
    records = ReferenceRecords(Corpus(str(inputs / "corpus")))
    everyone = records.choose(ChosenPatients())
    twin = EcgTwin.load(str(inputs / "twin"))
    assert write_bank(records, everyone, twin, str(path)) == len(everyone) == 4
    return path


def test_a_bank_gives_the_twins_that_the_corpus_gives(
    inputs: Path, bank: Path, tmp_path: Path
) -> None:
    where = {"where": "patient.split == 'train' and patient.age_years is known"}
    of_corpus = make_spec(inputs, tmp_path / "of-corpus", patients=where)
    of_bank = make_spec(
        inputs, tmp_path / "of-bank", patients={"bank": str(bank), **where}, corpus=None
    )
    drawn = {}
    for spec in (of_corpus, of_bank):
        summary = generate_cohort(spec, executor=LocalExecutor())
        assert summary.is_complete
        assert verify(spec.output.url) == []
        cohort = Cohort(spec.output.url)
        samples_mv = cohort.samples_mv(range(len(cohort)))
        keys = zip(cohort.column("person"), cohort.column("condition_index"), strict=True)
        drawn[spec.output.url] = dict(zip(keys, samples_mv, strict=True))
    first, second = drawn.values()
    assert first.keys() == second.keys()
    assert len(first) == 8
    for key, samples_mv in first.items():
        np.testing.assert_allclose(second[key], samples_mv, atol=0.0051)


def test_a_bank_enters_a_plan_by_its_content(inputs: Path, bank: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.parquet"
    moved.write_bytes(bank.read_bytes())
    plans = [
        resolve_cohort(make_spec(inputs, tmp_path / "new", patients={"bank": str(path)})).plan
        for path in (bank, moved)
    ]
    assert plans[0].digest == plans[1].digest
    assert plans[0].spec.bytes_digest() == plans[1].spec.bytes_digest()


def test_a_bank_holds_no_id_and_no_recording(bank: Path) -> None:
    data = bank.read_bytes()
    assert not any(name in data for name in (b"p1", b"p3", b"record"))
    assert [one.record_id for one in Bank.read(str(bank)).references] == [""] * 4


def test_a_bank_of_another_base_extractor_is_refused(
    inputs: Path, bank: Path, tmp_path: Path
) -> None:
    make_checkpoint(tmp_path / "other", seed=1)
    changes = {"patients": {"bank": str(bank)}, "checkpoint": str(tmp_path / "other")}
    with pytest.raises(SpecificationError, match="base vectors of another base extractor"):
        resolve_cohort(make_spec(inputs, tmp_path / "new", **changes))


def test_what_is_no_bank_is_refused(inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(
        SpecificationError, match=r"no\.parquet is not there; `ecgtwin corpus bank`"
    ):
        Bank.read(str(tmp_path / "no.parquet"))
    spec = make_spec(inputs, tmp_path / "cohort")
    generate_cohort(spec, executor=LocalExecutor())
    with pytest.raises(SpecificationError, match="is no bank"):
        Bank.read(f"{spec.output.url}/plan/patients.parquet")


def population(inputs: Path, url: Path, count: int, seed: int = 3) -> Any:
    patients = {"population": count, "seed": seed}
    return resolve_cohort(make_spec(inputs, url, patients=patients, corpus=None))


def test_persons_of_a_population_follow_from_seed_and_number(inputs: Path, tmp_path: Path) -> None:
    few, more = (population(inputs, tmp_path / "new", count) for count in (3, 40))
    assert [one.patient for one in more.references[:3]] == [one.patient for one in few.references]
    assert len({one.patient.person for one in more.references}) == 40
    assert len({one.patient.base_vector_digest for one in more.references}) == 40
    other = population(inputs, tmp_path / "new", 3, seed=4)
    persons = {one.patient.person for one in few.references}
    assert not persons & {one.patient.person for one in other.references}
    made = make_spec(inputs, tmp_path / "made", patients={"population": 2, "seed": 3}, corpus=None)
    generate_cohort(made, executor=LocalExecutor())
    with pytest.raises(CohortMismatchError, match="another specification"):
        population(inputs, tmp_path / "made", 3)


def test_simulated_persons_fall_into_the_splits_of_an_ingest_of_the_same_seed(
    inputs: Path, tmp_path: Path
) -> None:
    source = SimulatedSource(3, num_persons=12, visits_per_person=1)
    ingest(source, str(tmp_path / "corpus"), settings=IngestSpec(), executor=LocalExecutor())
    corpus = Corpus(str(tmp_path / "corpus"))
    there = dict(zip(corpus.column("person_id"), corpus.column("split"), strict=True))
    found = population(inputs, tmp_path / "new", 12).references
    assert {one.patient.person: one.patient.split for one in found} == there
    assert len(set(there.values())) > 1


def test_ages_and_sexes_need_no_network(inputs: Path, bank: Path) -> None:
    corpus = str(inputs / "corpus")
    ages, sexes = ages_and_sexes(ChosenPatients(), corpus=corpus)  # type: ignore[arg-type]
    assert ages[[0, 2, 3]].tolist() == [41, 60, 60]
    assert np.isnan(ages[1])
    assert sexes == ["female", None, "male", "female"]
    of_bank, sexes_of_bank = ages_and_sexes(PatientsOfBank(bank=str(bank)), corpus=None)
    assert sorted(of_bank.tolist()) == sorted(ages.tolist()) or np.isnan(of_bank).sum() == 1
    assert sorted(map(str, sexes_of_bank)) == sorted(map(str, sexes))
    simulated, _ = ages_and_sexes(PatientsOfPopulation(population=5), corpus=None)
    assert ((simulated > 0) & (simulated < 100)).all()
