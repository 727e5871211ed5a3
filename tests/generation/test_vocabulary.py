"""Statements are those that the checkpoint has learnt, however they are called."""

from collections.abc import Mapping
from typing import Any

import pytest

from ecgtwin.errors import SpecificationError
from ecgtwin.generation.vocabulary import in_known_words, known_statements
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.yaml_text import YamlText
from ecgtwin.twin.checkpoint import read_provenance

KNOWN = frozenset(
    {"atrial fibrillation", "right bundle branch block", "sinus rhythm", "normal ecg",
     "left bundle branch block"}
)  # fmt: skip
DATA: Mapping[str, Any] = {
    "checkpoint": "tiny",
    "corpus": "c",
    "patients": {"split": "test"},
    "output": {"url": "o"},
}


def spec_of(conditions: Any, **fields: Any) -> CohortSpec:
    return CohortSpec.parse({**DATA, "conditions": conditions, **fields}, origin="a test")


@pytest.mark.parametrize("said", ["AF", "afib", "AFIB", "164889003", "Atrial  Fibrillation"])
def test_abbreviations_and_codes_stand_for_the_canonical_statement(said: str) -> None:
    canonical = spec_of([{"statements": ["atrial fibrillation"]}])
    assert in_known_words(spec_of([{"statements": [said]}]), KNOWN) == canonical
    of_grid = in_known_words(spec_of({"grid": {"statements": [["sinus rhythm"], [said]]}}), KNOWN)
    assert of_grid.states()[1].statements == canonical.states()[0].statements
    possible = [{"code": said, "certainty": "possible"}]
    of_strata = in_known_words(
        spec_of({"strata": [{"statements": possible, "count": 1}]}), KNOWN
    ).states()
    assert of_strata[0].statements[0].model_dump() == {
        "code": "atrial fibrillation", "certainty": "possible",
    }  # fmt: skip


def test_what_constraints_seek_is_resolved_too() -> None:
    text = "'RBBB' not in condition.statements or condition.label == 'RBBB'"
    found = in_known_words(spec_of([{}], constraints=[text]), KNOWN)
    assert found.constraints == (
        "'right bundle branch block' not in condition.statements or condition.label == 'RBBB'",
    )
    with pytest.raises(SpecificationError, match=r"^constraints\.0: no recording .*'XYZ'"):
        in_known_words(spec_of([{}], constraints=["'XYZ' in condition.statements"]), KNOWN)


def test_what_is_canonical_is_left_alone() -> None:
    spec = spec_of([{"statements": ["sinus rhythm"]}])
    assert in_known_words(spec, KNOWN) is spec


def test_the_unknown_is_named_with_its_place_and_the_three_nearest() -> None:
    text = YamlText.of(
        b"checkpoint: tiny\ncorpus: c\npatients: {split: test}\noutput: {url: o}\nconditions:\n"
        b"  - statements: [sinus rhythm, left bundel branch block]\n"
        b"  - statements: [{code: brugada, certainty: possible}]\n",
        origin="cohort.yaml",
    )
    with pytest.raises(SpecificationError) as caught:
        in_known_words(CohortSpec.parse_text(text), KNOWN, text=text)
    first, second = str(caught.value).splitlines()
    assert first == (
        "cohort.yaml: line 6, column 32: conditions.0.statements.1: no recording that the "
        "checkpoint was trained on shows 'left bundel branch block'; the nearest that it knows "
        "are 'left bundle branch block', 'right bundle branch block', 'atrial fibrillation'"
    )
    assert second.startswith("cohort.yaml: line 7, column 25: conditions.1.statements.0: ")


def test_a_report_that_says_one_thing_twice_is_refused() -> None:
    twice = spec_of(
        [{"statements": ["sinus rhythm"]}, {"statements": ["AF", "Atrial fibrillation"]}]
    )
    with pytest.raises(SpecificationError, match=r"^conditions\.1\.statements\.1: 'atrial fib"):
        in_known_words(twice, KNOWN)
    with pytest.raises(SpecificationError, match="stands in this report already"):
        in_known_words(spec_of([{"statements": ["new", "new"]}]), None)
    in_known_words(spec_of({"grid": {"statements": [["AF"], ["sinus rhythm", "AF"]]}}), KNOWN)


def test_many_mistakes_are_counted() -> None:
    spec = spec_of([{"statements": [f"wrong {number}" for number in range(15)]}])
    with pytest.raises(SpecificationError) as caught:
        in_known_words(spec, KNOWN)
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert lines[-1] == "and 5 more statements that it does not know"


def test_a_checkpoint_that_does_not_say_what_it_learnt_passes_all_and_resolves_codes() -> None:
    assert known_statements({}) is known_statements({"statements": {}}) is None
    spec = spec_of([{"statements": ["LBBB", "something new"]}])
    found = in_known_words(spec, None).states()[0].statements
    assert [one.code for one in found] == ["left bundle branch block", "something new"]


def test_the_shipped_weights_say_what_they_have_learnt() -> None:
    provenance = read_provenance("tiny")
    known = known_statements(provenance)
    assert known is not None
    assert {"sinus rhythm", "atrial fibrillation", "left bundle branch block"} <= known
    assert max(provenance["statements"].values()) <= provenance["training_records"]  # type: ignore[attr-defined, operator]
