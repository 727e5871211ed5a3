"""What is wrong may be what the rest is judged by: then it is mended, and not what is right."""

from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from ecgtwin.errors import CohortMismatchError, DamageError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.executors.protocol import Outcome, Work
from ecgtwin.generation.merge_cohort import merge_cohort
from ecgtwin.generation.plan import CohortPlan, PatientTable
from ecgtwin.generation.plan_tables import PATIENTS, REFERENCES, patient_columns, plan_metadata
from ecgtwin.generation.prepare import resolve_cohort, write_plan
from ecgtwin.generation.stored_plan import load_plan, read_stored
from ecgtwin.generation.verify_cohort import verify_cohort
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.shard import Shard
from ecgtwin.store.layout import ledger_name, manifest_name, object_name
from ecgtwin.store.manifest import encode_manifest, read_manifest
from ecgtwin.store.tables import encode_columns, read_table
from tests.generation.cohorts import (
    copied,
    exact_spec,
    make_exact,
    problems_of,
    repaired,
    verified,
)
from tests.generation.corpora import objects_under


@pytest.fixture(scope="module")
def spec(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> CohortSpec:
    return make_exact(inputs, tmp_path_factory.mktemp("judged") / "cohort")


@pytest.fixture
def url(spec: CohortSpec, tmp_path: Path) -> str:
    return copied(spec.output.url, tmp_path / "cohort")


def test_the_ledger_of_a_shard_whose_manifest_forgets_it_is_no_stray(url: str) -> None:
    shard = next(index for index in range(12) if read_manifest(url, index).ledger_digest)
    before = objects_under(url)
    forgetful = replace(read_manifest(url, shard), plan_digest="another", ledger_digest="")
    Path(url, manifest_name(shard)).write_bytes(encode_manifest(forgetful))
    assert problems_of(verified(url)) == [("other_plan", shard, manifest_name(shard))]
    found = repaired(url, remove_strays=True)
    assert (found.mended, found.left) == ([manifest_name(shard)], [])
    assert ledger_name(shard) in before
    assert objects_under(url) == before


def put_patients_of_another_plan(url: str) -> None:
    """Put a table of patients that agrees with itself, as one from another cohort does."""
    plan = load_plan(url)
    patients = list(plan.patients)
    others = PatientTable.of([replace(patients[0], base_vector_digest="f" * 32), *patients[1:]])
    other = CohortPlan(plan.spec, others, plan.states, plan.checkpoint_digest)
    _, said = read_table(f"{url}/{PATIENTS}")
    inputs = {name: said[name] for name in said if name != "plan"}
    data = encode_columns(patient_columns(others), plan_metadata(other, inputs))
    Path(url, PATIENTS).write_bytes(data)


def test_patients_of_another_plan_are_mended_and_the_shards_stay(url: str) -> None:
    before = objects_under(url)
    put_patients_of_another_plan(url)
    assert {kind for kind, _, _ in problems_of(verified(url))} >= {"description", "other_plan"}
    found = repaired(url)
    assert (found.mended, found.left) == ([PATIENTS], [])
    assert objects_under(url) == before


def test_base_vectors_that_fewer_agree_with_replace_nothing(url: str) -> None:
    columns, said = read_table(f"{url}/{REFERENCES}")
    columns["base_vector"][0] = [value + 1 for value in columns["base_vector"][0]]
    Path(url, REFERENCES).write_bytes(encode_columns(columns, said))
    Path(url, PATIENTS).unlink()
    before = objects_under(url)
    with pytest.raises(CohortMismatchError, match=r"manifest of shard 0, .*restore the first from"):
        repaired(url)
    assert objects_under(url) == before


def test_without_base_vectors_shards_cannot_be_drawn(url: str) -> None:
    Path(url, REFERENCES).unlink()
    Path(url, object_name(1)).unlink()
    assert [kind for kind, _, _ in problems_of(verified(url))] == ["missing_object"]
    with pytest.raises(DamageError, match="restore it from a copy"):
        repaired(url)


def test_base_vectors_of_others_are_refused(inputs: Path, url: str, tmp_path: Path) -> None:
    other = exact_spec(inputs, tmp_path / "other", patients={"ids": ["p1", "p2"]})
    write_plan(resolve_cohort(other))
    for name in (PATIENTS, REFERENCES):
        Path(url, name).write_bytes(Path(other.output.url, name).read_bytes())
    before = objects_under(url)
    with pytest.raises(CohortMismatchError):
        repaired(url)
    assert objects_under(url) == before


def test_base_vectors_that_cannot_be_read_are_to_be_restored(url: str) -> None:
    Path(url, REFERENCES).write_bytes(Path(url, REFERENCES).read_bytes()[:-7])
    Path(url, manifest_name(0)).unlink()
    with pytest.raises(DamageError, match="restore it from a copy, nothing can") as said:
        repaired(url)
    assert "cohort repair" not in str(said.value)


def test_numerics_of_other_batches_are_damaged_and_written_again(url: str) -> None:
    before = objects_under(url)
    name = Path(url, "numerics.json")
    name.write_text(name.read_text().replace('"batch_rows": 3', '"batch_rows": 4'))
    assert problems_of(verified(url)) == [("numerics", None, "numerics.json")]
    repaired(url)
    assert objects_under(url) == before


class AllButOne:
    """An executor on which the work fails for one shard."""

    def run(self, work: Work, shards: Iterable[Shard]) -> Generator[Outcome, None, None]:
        for outcome in LocalExecutor().run(work, shards):
            failed = replace(outcome, result=None, error="Traceback\nOSError: gone")
            yield failed if outcome.shard.index == 3 else outcome


def test_with_a_shard_unchecked_nothing_is_counted_or_blamed_for_it(url: str) -> None:
    merge_cohort(url)
    found = verify_cohort(read_stored(url), executor=AllButOne())
    assert problems_of(found) == [("unchecked", 3, manifest_name(3))]
    assert (found.cells, found.cell_counts()) == (None, {})
