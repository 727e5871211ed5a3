"""A specification put together in Python is the one that YAML would give."""

from pathlib import Path

import pytest

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.builder import CohortBuilder
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.patients import PatientsOfBank, PatientsOfPopulation


def begun() -> CohortBuilder:
    return CohortBuilder(checkpoint="tiny", corpus="corpus", url="cohort").patients(split="test")


def test_every_part_can_be_built_and_reads_back_from_the_file(tmp_path: Path) -> None:
    builder = (
        begun()
        .patients(split="train", where="patient.age_years >= 60", count=100)
        .condition("sinus rhythm", heart_rate_bpm={"start": 60, "stop": 100, "step": 10})
        .condition("atrial fibrillation", {"code": "no", "certainty": "possible"}, sex="female")
        .constraint("condition.heart_rate_bpm <= 208 - 0.7 * patient.age_years")
        .fields(replicates=2, seed=7, share_noise=True, labels={"code": "x"})
        .output(rows_per_shard=64)
        .set("output.rows_per_chunk=32", "sampling.num_steps=3")
    )
    path = tmp_path / "cohort.yaml"
    spec = builder.write(path, head=["by a test"])
    assert CohortSpec.from_yaml(path) == spec == builder.build()
    assert "# by a test" in path.read_text()
    assert path.read_text() == builder.yaml(head=["by a test"])  # the same for the same
    assert spec.patients.model_dump() == {
        "split": "train", "where": "patient.age_years >= 60", "count": 100,
    }  # fmt: skip
    assert (spec.num_states(), spec.replicates, spec.seed) == (6, 2, 7)
    assert (spec.output.rows_per_shard, spec.output.rows_per_chunk) == (64, 32)
    assert spec.sampling is not None
    assert spec.sampling.num_steps == 3
    assert spec.labels == {"code": "x"}
    with pytest.raises(SpecificationError, match="exists"):
        builder.write(path)


def test_grids_and_strata_can_be_built() -> None:
    grid = begun().grid([["sinus rhythm"], []], heart_rate_bpm=[60, 70]).build()
    assert grid.num_states() == 4
    strata = begun().stratum("sinus rhythm", count=5).stratum(count=2, label="none").build()
    assert [one.count for one in strata.strata() or ()] == [5, 2]


def test_other_patients_need_no_corpus() -> None:
    builder = CohortBuilder(checkpoint="tiny", url="out").condition()
    bank = builder.patients(bank="b.parquet", split="test").build()
    assert bank.patients == PatientsOfBank(bank="b.parquet", split="test")
    population = builder.patients(population=5, seed=2).build()
    assert population.patients == PatientsOfPopulation(population=5, seed=2)


def test_mistakes_are_told_when_it_is_built() -> None:
    with pytest.raises(SpecificationError, match="one of these, not two"):
        begun().condition().stratum(count=1)
    with pytest.raises(SpecificationError, match="one of these, not two"):
        begun().stratum(count=1).condition()
    with pytest.raises(SpecificationError, match="one of these, not two"):
        begun().grid([[]]).stratum(count=1)
    with pytest.raises(SpecificationError, match="a grid stands alone"):
        begun().condition().grid([[]])
    with pytest.raises(SpecificationError, match=r"conditions: is required"):
        begun().build()
    with pytest.raises(SpecificationError, match="say whom"):
        begun().patients().condition().build()
    with pytest.raises(SpecificationError, match=r"replicate: unknown key, replicates perhaps"):
        begun().condition().fields(replicate=2).build()
    with pytest.raises(SpecificationError, match="corpus is not given, but patients are of one"):
        CohortBuilder(checkpoint="t", url="o").patients(split="test").condition().build()
