"""A plan is arithmetic: rows and requests are in one-to-one correspondence, shards partition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgtwin.errors import SpecificationError
from ecgtwin.generation.admission import MANY_CLASSES
from ecgtwin.generation.plan import (
    CohortPlan,
    PatientRow,
    PatientTable,
    plan_text,
    shards_text,
)
from ecgtwin.generation.plan_checks import check_rows
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.condition import CardiacCondition, Statement


def make_plan(
    num_patients: int = 3,
    num_conditions: int = 4,
    replicates: int = 2,
    rows_per_shard: int = 5,
    **changes: object,
) -> CohortPlan:
    spec = CohortSpec.parse(
        {
            "checkpoint": "tiny",
            "corpus": "corpus",
            "patients": {"split": "test"},
            "conditions": [{"heart_rate_bpm": 50 + index} for index in range(num_conditions)],
            "replicates": replicates,
            "output": {"url": "out", "rows_per_shard": rows_per_shard, "rows_per_chunk": 1},
        }
        | changes,
        origin="a test",
    )
    patients = tuple(
        PatientRow(f"p{index}", "test", 50.0 + index, "female", f"b{index}")
        for index in range(num_patients)
    )
    return CohortPlan(spec, PatientTable.of(patients), tuple(spec.states()), "checkpoint")


counts = st.integers(1, 5)


@given(counts, counts, counts, st.integers(1, 130))
def test_rows_and_requests_correspond_and_shards_partition_them(
    num_patients: int, num_conditions: int, replicates: int, rows_per_shard: int
) -> None:
    plan = make_plan(num_patients, num_conditions, replicates, rows_per_shard)
    assert plan.num_rows == num_patients * num_conditions * replicates
    rows = [row for shard in plan.shards() for row in range(shard.start, shard.stop)]
    assert rows == list(range(plan.num_rows))
    assert [shard.index for shard in plan.shards()] == list(range(plan.num_shards))
    triples = [
        (request.patient_index, request.condition_index, request.replicate)
        for request in map(plan.request_at, rows)
    ]
    assert triples == sorted(set(triples))  # each once; patients slowest, replicates fastest
    assert len(triples) == plan.num_rows


@pytest.mark.parametrize("row", [-1, 24])
def test_a_row_outside_the_cohort_is_refused(row: int) -> None:
    with pytest.raises(IndexError, match="24"):
        make_plan().request_at(row)


def test_own_values_come_from_the_patient_and_given_ones_from_the_condition() -> None:
    plan = make_plan(
        conditions=[
            {"statements": ["sinus rhythm"], "heart_rate_bpm": 60},
            {"age_years": 95, "sex": "male"},
            {"age_years": None, "sex": "unknown"},
        ],
        replicates=1,
    )
    asked = [plan.request_at(3 + index).condition for index in range(3)]  # of the second patient
    assert asked[0] == CardiacCondition(
        statements=(Statement(code="sinus rhythm"),),
        heart_rate_bpm=60,
        age_years=51,
        sex="female",
    )
    assert (asked[1].age_years, asked[1].sex) == (90, "male")  # over 89: one class
    assert (asked[2].age_years, asked[2].sex) == (None, "unknown")


def test_a_request_does_not_depend_on_the_rest_of_the_cohort() -> None:
    small, large = make_plan(1, 2, 1), make_plan(3, 4, 2)
    by_triple = {
        (request.person, request.condition_digest, request.replicate): request.condition
        for request in map(large.request_at, range(large.num_rows))
    }
    for request in map(small.request_at, range(small.num_rows)):
        key = (request.person, request.condition_digest, request.replicate)
        assert by_triple[key] == request.condition


def test_the_digest_covers_what_is_stored_and_not_who_makes_it_or_where() -> None:
    plan = make_plan()
    same = make_plan(
        run={"num_workers": 7},
        checkpoint="elsewhere",
        output={"url": "other", "rows_per_shard": 5, "rows_per_chunk": 1},
    )
    assert same.digest == plan.digest
    others = [
        make_plan(num_patients=2),
        make_plan(num_conditions=3),
        make_plan(replicates=1),
        make_plan(seed=1),
        make_plan(share_noise=True),
        make_plan(batch_rows=8),
        make_plan(rows_per_shard=6),
        make_plan(sampling={"num_steps": 3}),
        CohortPlan(plan.spec, plan.patients, plan.states, "another checkpoint"),
        CohortPlan(plan.spec, plan.patients[1:], plan.states, "checkpoint"),
        make_plan(constraints=["patient.age_years > 51"]),
    ]
    assert len({plan.digest, *(other.digest for other in others)}) == 12


def test_a_condition_asked_for_twice_is_refused() -> None:
    twice = [{"heart_rate_bpm": [60, 75]}, {"heart_rate_bpm": 75, "label": "another name"}]
    with pytest.raises(SpecificationError, match=r"conditions: .* 75 bpm .* twice .*\(0 and 1\)"):
        check_rows(make_plan(conditions=twice))
    strata = {"strata": [{"count": 3}, {"count": 2, "age_years": [60, 95]}, {"count": 1}]}
    with pytest.raises(SpecificationError, match=r"an unknown rate .*\(strata\.0 and strata\.2\)"):
        check_rows(make_plan(conditions=strata, replicates=1))
    older = {"grid": {"statements": [["normal ecg"]], "age_years": [91, 95]}}  # one class
    with pytest.raises(SpecificationError, match=r"\(0 and 0\)"):
        check_rows(make_plan(conditions=older))


def test_strata_may_ask_for_a_state_twice_of_different_patients() -> None:
    def plan(age: int) -> CohortPlan:
        parts = [f"patient.age_years <= {age}", "patient.age_years > 50"]
        strata = [{"heart_rate_bpm": 60, "count": 3, "among": among} for among in parts]
        return make_plan(conditions={"strata": strata}, replicates=1)

    check_rows(plan(50))
    persons = [plan(50).request_at(row).person for row in range(6)]
    assert set(persons[:3]) == {"p0"}
    assert set(persons[3:]) == {"p1", "p2"}
    with pytest.raises(SpecificationError, match=r"strata\.0 and strata\.1"):
        check_rows(plan(51))


@pytest.mark.parametrize(
    ("values", "num"),
    [
        ({"sex": ["own", "female", "male"]}, 3),  # all three are women
        ({"sex": ["own", "male"]}, 0),
        ({"age_years": ["own", 51]}, 1),
        ({"age_years": ["own", 80]}, 0),
        ({"age_years": ["own", 51], "sex": ["own", "female"]}, 3),
    ],
)
def test_own_and_the_same_value_beside_it_are_refused(values: dict[str, object], num: int) -> None:
    plan = make_plan(conditions=[{"heart_rate_bpm": 70, **values}])
    if num:
        message = rf"conditions: 0 and 0 are the same for {num} of the patients"
        with pytest.raises(SpecificationError, match=message):
            check_rows(plan)
        own = make_plan(
            conditions=[{"heart_rate_bpm": 70, **values}],
            constraints=["patient.age_years < 51", "patient.sex == 'male'"],
        )
        with pytest.raises(SpecificationError, match="nothing is left"):
            check_rows(own)
    else:
        check_rows(plan)


def test_many_classes_say_what_they_cost_and_too_many_are_refused() -> None:
    num = MANY_CLASSES + 1
    ages = np.linspace(20, 80, num)
    blank = np.full(num, "b", dtype=object)
    names = np.array([f"p{place}" for place in range(num)], dtype=object)
    table = PatientTable(names, blank, ages, np.full(num, "female", dtype=object), blank)
    text = ["patient.age_years > condition.heart_rate_bpm - 100"]
    few = make_plan(num_conditions=200, constraints=text)
    assert "classes" not in plan_text(few)
    many = CohortPlan(few.spec, table, few.states, "c")
    assert "into 10,001 classes: 200 conditions of each take 2 MB" in plan_text(many)
    states = few.states * 4001
    with pytest.raises(SpecificationError, match=r"10,001 classes .*age_years.* would take 8 GB"):
        _ = CohortPlan(few.spec, table, states, "c").admission


def test_the_plan_in_words() -> None:
    plan = make_plan(16, 32, 1, 128)
    assert plan_text(plan) == "512 ECGs = 16 patients x 32 conditions x 1 replicate"
    assert shards_text(plan, raw_bytes=12 * 2**20, num_committed=1) == (
        "4 shards of 128 rows, 12.0 MiB before compression; 1 already committed"
    )
    text = plan_text(make_plan(2, 3, 2, constraints=["condition.heart_rate_bpm < 52"]))
    assert text.splitlines() == [
        "8 ECGs of 12 = 2 patients x 3 conditions x 2 replicates, less",
        "  condition.heart_rate_bpm < 52: removes 2 pairs of patient and condition",
    ]
    strata = {"strata": [{"count": 7, "heart_rate_bpm": [60, 70]}, {"count": 2}]}
    text = plan_text(make_plan(conditions=strata, replicates=1))
    assert text.splitlines()[0] == "9 ECGs in 2 strata of 3 conditions, of 3 patients"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"constraints": ["patient.sex == 'male'"]},
            r"nothing is left of the cohort: .*patient\.sex == 'male': removes 12 pairs",
        ),
        (
            {
                "conditions": {"strata": [{"count": 1}, {"count": 1, "label": "old", "sex": "male",
                                          "among": "patient.age_years > 80"}]},
                "replicates": 1,
            },
            r"conditions\.strata\.1 \(old\): none of the 3 patients",
        ),
    ],
)  # fmt: skip
def test_a_plan_that_constraints_leave_empty_is_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecificationError, match=message):
        check_rows(make_plan(**changes))


def test_the_seed_of_a_sample_does_not_depend_on_what_constraints_leave_of_others() -> None:
    conditions = [{"heart_rate_bpm": 60}, {"heart_rate_bpm": 70, "age_years": [30, "own"]}]
    whole = make_plan(conditions=conditions)
    part = make_plan(conditions=conditions, constraints=["condition.age_years > 50"])
    strata = make_plan(
        conditions={"strata": [{**one, "count": 5} for one in conditions]}, replicates=1
    )
    identities = {
        (request.person, request.condition_digest, request.replicate)
        for request in map(whole.request_at, range(whole.num_rows))
    }
    for plan in (part, strata):
        assert 0 < plan.num_rows < whole.num_rows
        for request in map(plan.request_at, range(plan.num_rows)):
            triple = request.patient_index, request.condition_index, request.replicate
            assert plan.row_of(*triple) == request.row
            key = (request.person, request.condition_digest, request.replicate)
            assert key in identities
