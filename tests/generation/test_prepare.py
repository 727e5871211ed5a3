"""The plan at a URL: written once, finished wherever it was cut off, never replaced."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecgtwin.errors import CohortMismatchError, DamageError, SpecificationError, StoreError
from ecgtwin.generation.prepare import load_cohort, resolve_cohort, write_plan
from ecgtwin.generation.references import base_vector_digest
from tests.generation.corpora import (
    DEFAULT_ROWS,
    Row,
    make_checkpoint,
    make_corpus,
    make_spec,
    objects_under,
)


def test_a_worker_reads_the_plan_that_was_written(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    written = write_plan(resolve_cohort(spec))
    read = load_cohort(spec, checkpoint_digest=written.plan.checkpoint_digest)
    assert (read.plan.digest, read.layout) == (written.plan.digest, written.layout)
    assert read.plan.patients == written.plan.patients
    assert np.array_equal(read.base_vectors, written.base_vectors)
    assert read.base_vectors.dtype == np.float32


def test_resolving_writes_nothing(inputs: Path, tmp_path: Path) -> None:
    resolve_cohort(make_spec(inputs, tmp_path / "cohort"))
    assert not (tmp_path / "cohort").exists()


def test_the_reference_is_the_earliest_usable_visit(inputs: Path, tmp_path: Path) -> None:
    cohort = resolve_cohort(make_spec(inputs, tmp_path / "cohort"))
    assert [reference.record_id for reference in cohort.references] == ["p1-0", "p2-0", "p3-1"]
    own = [(patient.age_years, patient.sex) for patient in cohort.plan.patients]
    assert own == [(41.0, "female"), (None, "unknown"), (60.0, "male")]


def test_only_private_names_patients(inputs: Path, tmp_path: Path) -> None:
    write_plan(resolve_cohort(make_spec(inputs, tmp_path / "cohort")))
    objects = objects_under(str(tmp_path / "cohort"))
    assert b"p1-0" in objects["private/references.parquet"]
    for name, data in objects.items():
        if not name.startswith("private/"):
            assert b"p1-0" not in data, name


def test_patients_asked_for_by_id_go_by_their_pseudonyms(inputs: Path, tmp_path: Path) -> None:
    """Nor can an id be tried against a digest: the digests are the same under other ids."""
    spec = make_spec(inputs, tmp_path / "cohort", patients={"ids": ["p3", "p1"]})
    written = write_plan(resolve_cohort(spec))
    persons = [patient.person for patient in written.plan.patients]
    objects = objects_under(spec.output.url)
    description = json.loads(objects["cohort.json"])
    assert description["specification"]["patients"] == {"ids": persons}
    public = {name: data for name, data in objects.items() if not name.startswith("private/")}
    for name, data in public.items():
        for secret in (b'"p1"', b'"p3"', b"p1-0", spec.bytes_digest().encode()):
            assert secret not in data, name
    for asked in (spec, written.plan.spec):  # a worker may be given either
        read = load_cohort(asked, checkpoint_digest=written.plan.checkpoint_digest)
        assert read.plan.digest == written.plan.digest
    assert write_plan(resolve_cohort(spec)).plan.digest == written.plan.digest
    assert objects_under(spec.output.url) == objects
    for ids in (["p1", "p3"], ["p3"], ["p3", "p2"]):
        other = make_spec(inputs, tmp_path / "cohort", patients={"ids": ids})
        with pytest.raises(CohortMismatchError, match="another specification"):
            resolve_cohort(other)
        with pytest.raises(CohortMismatchError, match="another specification"):
            load_cohort(other, checkpoint_digest=written.plan.checkpoint_digest)


def test_a_base_vector_does_not_know_who_else_is_asked_for(inputs: Path, tmp_path: Path) -> None:
    alone, among = (
        resolve_cohort(make_spec(inputs, tmp_path / "cohort", patients={"ids": ids}))
        for ids in (["p1"], ["p1", "p2", "p3"])
    )
    assert np.array_equal(alone.base_vectors[0], among.base_vectors[0])


def test_a_corpus_without_its_key_or_digest_is_damaged(inputs: Path, tmp_path: Path) -> None:
    for name, data in (("private/pseudonym.key", b""), ("corpus.json", b"{}")):
        corpus = tmp_path / name.replace("/", "-")
        shutil.copytree(inputs / "corpus", corpus)
        (corpus / name).write_bytes(data)
        with pytest.raises(DamageError, match=name):
            resolve_cohort(make_spec(inputs, tmp_path / "cohort", corpus=str(corpus)))


def test_a_cohort_does_not_move_in_with_a_checkpoint(inputs: Path, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "twin")
    with pytest.raises(CohortMismatchError, match="holds a checkpoint"):
        resolve_cohort(make_spec(inputs, checkpoint))


def test_a_store_that_refuses_is_not_called_damage(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    digest = write_plan(resolve_cohort(spec)).plan.checkpoint_digest
    description = tmp_path / "cohort" / "cohort.json"
    description.unlink()
    description.mkdir()  # cannot be read as a file
    with pytest.raises(StoreError) as error:
        load_cohort(spec, checkpoint_digest=digest)
    assert not isinstance(error.value, DamageError)


def test_pseudonyms_are_keyed_by_the_corpus(inputs: Path, tmp_path: Path) -> None:
    twice = [resolve_cohort(make_spec(inputs, tmp_path / name)).plan for name in ("a", "b")]
    assert twice[0].digest == twice[1].digest
    other_key = make_corpus(str(tmp_path / "corpus"))
    other = resolve_cohort(make_spec(inputs, tmp_path / "c", corpus=other_key)).plan
    persons = {patient.person for patient in (*twice[0].patients, *other.patients)}
    assert len(persons) == 6


@pytest.mark.parametrize("num_kept", range(1, 5))
def test_a_plan_cut_off_anywhere_is_finished_as_it_was_begun(
    inputs: Path, tmp_path: Path, num_kept: int
) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    write_plan(resolve_cohort(spec))
    whole = objects_under(spec.output.url)
    order = [
        "private/references.parquet",
        "plan/patients.parquet",
        "plan/conditions.parquet",
        "cohort.json",
    ]
    assert set(order) <= set(whole)
    for name in whole:
        if name not in order[:num_kept]:
            (tmp_path / "cohort" / name).unlink()
    write_plan(resolve_cohort(spec))
    assert objects_under(spec.output.url) == whole


def test_references_that_another_process_put_first_are_the_ones_that_count(
    inputs: Path, tmp_path: Path
) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    mine = resolve_cohort(spec)
    theirs = write_plan(resolve_cohort(spec))
    drifted = [
        type(reference)(
            type(reference.patient)(
                reference.patient.person,
                reference.patient.split,
                reference.patient.age_years,
                reference.patient.sex,
                base_vector_digest(reference.base_vector + 1),
            ),
            reference.patient_id,
            reference.record_id,
            reference.base_vector + 1,
        )
        for reference in mine.references
    ]
    before = objects_under(spec.output.url)
    found = write_plan(
        type(mine)(
            mine.url,
            type(mine.plan)(
                spec,
                tuple(reference.patient for reference in drifted),
                mine.plan.states,
                mine.plan.checkpoint_digest,
            ),
            mine.layout,
            drifted,
            mine.inputs,
        )
    )
    assert found.plan.digest == theirs.plan.digest
    assert objects_under(spec.output.url) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "another specification"),
        ({"conditions": [{"heart_rate_bpm": 70}]}, "another specification"),
        ({"output": {"rows_per_shard": 8, "rows_per_chunk": 2}}, "another specification"),
        ({"checkpoint": "other"}, "another checkpoint"),
        ({"corpus": "other"}, "another corpus"),
    ],
)
def test_another_plan_at_the_url_is_refused_and_nothing_is_changed(
    inputs: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    url = str(tmp_path / "cohort")
    write_plan(resolve_cohort(make_spec(inputs, url)))
    before = objects_under(url)
    if "checkpoint" in change:
        change = {"checkpoint": make_checkpoint(tmp_path / "other", seed=1)}
    if "corpus" in change:
        change = {"corpus": make_corpus(str(tmp_path / "corpus"))}
        (tmp_path / "corpus" / "corpus.json").write_text('{"kind": "corpus", "digest": "bad1dea"}')
    if "output" in change:
        change = {"output": {"url": url, **change["output"]}}
    other = make_spec(inputs, url, **change)
    with pytest.raises(CohortMismatchError, match=words) as refusal:
        write_plan(resolve_cohort(other))
    assert url in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert objects_under(url) == before


def test_the_refusal_names_both_digests(inputs: Path, tmp_path: Path) -> None:
    spec, other = (make_spec(inputs, tmp_path / "cohort", seed=seed) for seed in (0, 1))
    write_plan(resolve_cohort(spec))
    with pytest.raises(CohortMismatchError) as refusal:
        resolve_cohort(other)
    assert spec.bytes_digest() in str(refusal.value)
    assert other.bytes_digest() in str(refusal.value)


def test_a_corpus_at_the_url_is_refused(inputs: Path) -> None:
    with pytest.raises(CohortMismatchError, match="holds a corpus"):
        resolve_cohort(make_spec(inputs, inputs / "corpus"))


def test_a_worker_with_another_checkpoint_is_refused(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    write_plan(resolve_cohort(spec))
    with pytest.raises(CohortMismatchError, match="another checkpoint"):
        load_cohort(spec, checkpoint_digest="other")


def test_a_damaged_description_is_named(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    digest = write_plan(resolve_cohort(spec)).plan.checkpoint_digest
    name = tmp_path / "cohort" / "cohort.json"
    name.write_bytes(name.read_bytes()[:50])
    with pytest.raises(DamageError, match=r"cohort\.json is damaged"):
        load_cohort(spec, checkpoint_digest=digest)


def test_the_description_says_what_the_cohort_is(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(inputs, tmp_path / "cohort")
    plan = write_plan(resolve_cohort(spec)).plan
    found = json.loads((tmp_path / "cohort" / "cohort.json").read_text())
    assert found["synthetic"] is True
    assert found["plan_digest"] == plan.digest
    assert found["specification"]["conditions"][1]["age_years"] == 80
    assert found["inputs"]["checkpoint"] == plan.checkpoint_digest
    assert "run" not in found["specification"]
    assert "url" not in found["specification"]["output"]


@pytest.mark.parametrize(
    ("patients", "words"),
    [
        ({"ids": ["p1", "q2"]}, r"patients\.ids\.1: patient 'q2' is not among the 4 patients .*p2"),
        ({"ids": ["p1", "p1"]}, r"patients\.ids\.1: 'p1' stands there twice"),
        ({"ids": ["p5"]}, r"patients\.ids\.0: patient 'p5' has no usable record .*a flat lead"),
        ({"split": "train", "count": 4}, r"patients: 4 of split 'train' .* has 3 such"),
        ({"split": "validation"}, r"patients: some of split 'validation' .* has 0 such"),
    ],
)
def test_patients_that_the_corpus_cannot_give_are_named(
    inputs: Path, tmp_path: Path, patients: dict[str, Any], words: str
) -> None:
    with pytest.raises(SpecificationError, match=words):
        resolve_cohort(make_spec(inputs, tmp_path / "cohort", patients=patients))
    assert not (tmp_path / "cohort").exists()


def test_patients_by_id_keep_their_order_and_by_split_are_sorted(
    inputs: Path, tmp_path: Path
) -> None:
    by_id = make_spec(inputs, tmp_path / "a", patients={"ids": ["p3", "p1"]})
    assert [one.patient_id for one in resolve_cohort(by_id).references] == ["p3", "p1"]
    by_split = make_spec(inputs, tmp_path / "b", patients={"split": "train", "count": 2})
    assert [one.patient_id for one in resolve_cohort(by_split).references] == ["p1", "p2"]


def test_an_unfinished_corpus_is_refused(inputs: Path, tmp_path: Path) -> None:
    corpus = make_corpus(str(tmp_path / "corpus"), [*DEFAULT_ROWS, Row("p9", 0)])
    for manifest in (tmp_path / "corpus" / "manifest").iterdir():
        manifest.unlink()
    with pytest.raises(SpecificationError, match="0 of 8 rows are there"):
        resolve_cohort(make_spec(inputs, tmp_path / "cohort", corpus=corpus))
