"""Laws of plans, whatever the specification: rows, samples, shards, and the seed of a sample."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ecgtwin.generation.draw import key_of
from ecgtwin.generation.plan import CohortPlan, PatientRow, PatientTable, SampleRequest
from ecgtwin.spec.cohort import CohortSpec

CONSTRAINTS = (
    "condition.heart_rate_bpm <= 220 - patient.age_years",
    "patient.sex == 'female' or condition.heart_rate_bpm > 60",
    "'atrial fibrillation' not in condition.statements or patient.age_years >= 40",
)
REPORTS = (["sinus rhythm"], ["atrial fibrillation"], [])

patients = st.builds(
    PatientRow,
    person=st.text("abcdef0123456789", min_size=4, max_size=4),
    split=st.sampled_from(["train", "test"]),
    age_years=st.none() | st.integers(0, 89).map(float),
    sex=st.sampled_from(["female", "male", "unknown"]),
    base_vector_digest=st.just("b"),
)
many_patients = st.lists(patients, min_size=1, max_size=6, unique_by=lambda one: one.person)
rates = st.lists(st.integers(40, 180), min_size=1, max_size=3, unique=True)
conditions = st.lists(
    st.fixed_dictionaries({"statements": st.sampled_from(REPORTS), "heart_rate_bpm": rates}),
    min_size=1,
    max_size=3,
    unique_by=lambda one: tuple(one["statements"]),
)
fields = st.fixed_dictionaries(
    {
        "constraints": st.lists(st.sampled_from(CONSTRAINTS), unique=True),
        "seed": st.integers(0, 2**62),
        "share_noise": st.booleans(),
    }
)


def plan_of(people: list[PatientRow], wanted: Any, **changes: Any) -> CohortPlan:
    values = {
        "checkpoint": "tiny",
        "corpus": "corpus",
        "patients": {"split": "test"},
        "conditions": wanted,
        "output": {"url": "out", "rows_per_shard": 4, "rows_per_chunk": 1},
        **changes,
    }
    spec = CohortSpec.parse(values, origin="a test")
    return CohortPlan(spec, PatientTable.of(people), tuple(spec.states()), "c")


def strata_of(wanted: list[dict[str, Any]], counts: list[int]) -> dict[str, Any]:
    return {"strata": [{**one, "count": count} for one, count in zip(wanted, counts, strict=False)]}


def requests_of(plan: CohortPlan) -> list[SampleRequest]:
    return [plan.request_at(row) for row in range(plan.num_rows)]


def keys_by_sample(plan: CohortPlan) -> dict[tuple[str, str, int], Any]:
    """Return the key of each sample: who, in which state, for which time."""
    requests = requests_of(plan)
    return {
        (one.person, one.condition_digest, one.replicate): key_of(plan.spec, one)
        for one in requests
    }


def any_plan(
    people: list[PatientRow], wanted: Any, counts: list[int], more: Any, replicates: int
) -> CohortPlan:
    if counts:
        return plan_of(people, strata_of(wanted, counts), **more)
    return plan_of(people, wanted, replicates=replicates, **more)


plans = st.builds(
    any_plan,
    many_patients,
    conditions,
    st.one_of(st.just([]), st.lists(st.integers(1, 15), min_size=3, max_size=3)),
    fields,
    st.integers(1, 3),
)  # fmt: skip


@given(plans)
def test_shards_partition_the_rows_and_row_and_sample_are_inverse(plan: CohortPlan) -> None:
    rows = [row for shard in plan.shards() for row in range(shard.start, shard.stop)]
    assert rows == list(range(plan.num_rows))
    assert len(plan.shards()) == plan.num_shards
    for row, one in enumerate(requests_of(plan)):
        assert (one.row, plan.row_of(one.patient_index, one.condition_index, one.replicate)) == (
            row, row,
        )  # fmt: skip


@given(plans)
def test_samples_have_one_seed_where_they_are_the_same_but_for_shared_noise(
    plan: CohortPlan,
) -> None:
    keys = keys_by_sample(plan)
    assert len(keys) == plan.num_rows  # no sample stands there twice
    shared = plan.spec.share_noise
    found = {
        ((person, replicate) if shared else (person, condition, replicate), key)
        for (person, condition, replicate), key in keys.items()
    }
    assert len({what for what, _ in found}) == len({key for _, key in found}) == len(found)


@given(many_patients, conditions, fields, st.integers(1, 2), st.data())
def test_another_patient_or_condition_changes_no_other_samples_seed(
    people: list[PatientRow], wanted: Any, more: Any, replicates: int, data: st.DataObject
) -> None:
    before = keys_by_sample(plan_of(people, wanted, replicates=replicates, **more))
    newcomer = data.draw(patients.filter(lambda one: one.person not in {p.person for p in people}))
    place = data.draw(st.integers(0, len(people)))
    joined = [*people[:place], newcomer, *people[place:]]
    extra = {"statements": ["left bundle branch block"], "heart_rate_bpm": 75}
    at = data.draw(st.integers(0, len(wanted)))
    widened = [*wanted[:at], extra, *wanted[at:]]
    after = keys_by_sample(plan_of(joined, widened, replicates=replicates + 1, **more))
    assert before.items() <= after.items()


@given(many_patients, conditions, fields, st.data())
def test_a_larger_stratum_keeps_the_samples_that_it_had(
    people: list[PatientRow], wanted: Any, more: Any, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, 12))
    before = keys_by_sample(plan_of(people, strata_of(wanted[:1], [count]), **more))
    widened = strata_of([*wanted[:1], {"heart_rate_bpm": 75}], [count + 5, 3])
    after = keys_by_sample(plan_of(people, widened, **more))
    assert before.items() <= after.items()
