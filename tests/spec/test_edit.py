"""Edits of a condition: what becomes of its statements, and the mistakes one can make."""

import pytest

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.condition import CardiacCondition, Statement
from ecgtwin.spec.edit import DEFAULT_START, Add, EditSpec, Replace, Reweight, edited_condition

SINUS, LBBB, AFIB = "sinus rhythm", "left bundle branch block", "atrial fibrillation"
BOTH = CardiacCondition(statements=(SINUS, LBBB), heart_rate_bpm=70, age_years=50, sex="female")


def edit(condition, *edits, **settings):
    return edited_condition(condition, EditSpec(edits=edits, **settings))


def codes(found):
    return [statement.code for statement in found.condition.statements]


def test_edits_together_keep_place_and_patient():
    found = edit(
        BOTH,
        Add(statement="low qrs voltages", weight=0.5),
        Replace(statement="  Sinus  Rhythm ", by=AFIB),
        Reweight(statement=LBBB, weight=2),
    )
    assert codes(found) == [AFIB, LBBB, "low qrs voltages"]
    assert found.source_columns == (0, 1, None)
    assert found.weights == (1.0, 2.0, 0.5)
    assert found.condition.model_copy(update={"statements": BOTH.statements}) == BOTH


def test_certainty_is_edited_by_a_replacement():
    doubted = Statement(code=LBBB, certainty="possible")
    found = edit(BOTH, Replace(statement=LBBB, by=doubted))
    assert found.condition.statements == (Statement(code=SINUS), doubted)
    assert found.source_columns == (0, 1)


def test_a_condition_without_statements_can_be_added_to():
    found = edit(CardiacCondition(), Add(statement=AFIB))
    assert codes(found) == [AFIB]
    assert found.source_columns == (None,)


@pytest.mark.parametrize(
    ("edits", "settings", "parts"),
    [
        ([Replace(statement="afib", by=AFIB)], {}, ["edits.0", "'afib'", f"'{SINUS}', '{LBBB}'"]),
        ([Reweight(statement=AFIB, weight=2)], {}, ["no statement", AFIB, SINUS]),
        ([Add(statement=AFIB), Add(statement=AFIB)], {}, [AFIB, "twice"]),
        ([Add(statement=SINUS)], {}, [SINUS, "twice", "reweight"]),
        ([Replace(statement=SINUS, by=LBBB)], {}, [LBBB, "twice"]),
        (
            [Replace(statement=SINUS, by=AFIB), Replace(statement=SINUS, by="paced rhythm")],
            {},
            ["edits.1: a second replace", SINUS],
        ),
        (
            [Reweight(statement=SINUS, weight=0), Reweight(statement=LBBB, weight=0)],
            {},
            ["weight 0", "renormalise"],
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_mistake_says_what_there_is(edits, settings, parts):
    with pytest.raises(SpecificationError) as caught:
        edit(BOTH, *edits, **settings)
    for part in parts:
        assert part in str(caught.value)


def test_the_only_statement_cannot_be_reweighted_to_any_effect():
    only = CardiacCondition(statements=(SINUS,))
    with pytest.raises(SpecificationError, match="only statement"):
        edit(only, Reweight(statement=SINUS, weight=3))
    found = edit(only, Reweight(statement=SINUS, weight=3), renormalise=False)
    assert found.weights == (3.0,)
    assert edit(only, Reweight(statement=SINUS, weight=3), Add(statement=AFIB)).weights == (3, 1)


def test_a_statement_that_stands_twice_cannot_be_meant():
    twice = CardiacCondition(statements=(SINUS, SINUS))
    with pytest.raises(SpecificationError, match="2 times"):
        edit(twice, Replace(statement=SINUS, by=AFIB))
    assert codes(edit(twice, Add(statement=AFIB))) == [SINUS, SINUS, AFIB]


def test_an_edit_starts_where_it_is_told_or_at_the_noisiest_of_its_kinds():
    edits = (Add(statement=AFIB), Replace(statement=SINUS, by="paced rhythm"))
    assert EditSpec(edits=edits, start_time=0.2).start_level == 0.2
    assert EditSpec(edits=edits, start_time=0).start_level == 0
    default = max(DEFAULT_START["add"], DEFAULT_START["replace"])
    assert EditSpec(edits=edits).start_level == default


def test_a_written_specification_names_the_kind_of_each_edit():
    written = {"edits": [{"kind": "replace", "statement": SINUS, "by": AFIB}], "start_time": 0.5}
    spec = EditSpec.parse(written, origin="edit.yaml")
    assert spec == EditSpec(edits=(Replace(statement=SINUS, by=AFIB),), start_time=0.5)
    assert EditSpec.parse(spec.model_dump(mode="json"), origin="again") == spec
    for wrong, said in (
        ({"edits": []}, "edits: "),
        ({"edits": [{"kind": "remove", "statement": SINUS}]}, "edits.0.kind: "),
        ({"edits": [{"kind": "add", "statement": SINUS, "weight": -1}]}, "edits.0.weight: "),
        ({**written, "start_time": 2}, "start_time: "),
    ):
        with pytest.raises(SpecificationError, match=f"^edit.yaml: {said}"):
            EditSpec.parse(wrong, origin="edit.yaml")
