"""What two specifications make differently, against a count of their samples one by one."""

from pathlib import Path
from typing import Any

import pytest

from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.compare import compare_plans, differing_fields
from ecgtwin.generation.prepare import resolve_cohort
from ecgtwin.generation.run import generate_cohort
from ecgtwin.spec.cohort import CohortSpec
from tests.generation.corpora import make_spec

OUTPUT = {"url": "new", "rows_per_shard": 4, "rows_per_chunk": 2}
FAST = {"heart_rate_bpm": {"start": 60, "stop": 120, "count": 3}, "statements": ["sinus rhythm"]}


def samples_of(spec: CohortSpec) -> set[tuple[str, str, int]]:
    plan = resolve_cohort(spec).plan
    requests = [plan.request_at(row) for row in range(plan.num_rows)]
    return {(one.person, one.condition_digest, one.replicate) for one in requests}


@pytest.mark.parametrize(
    "changes",
    [
        {"replicates": 3},
        {"patients": {"ids": ["p3", "p4"]}},
        {"conditions": [FAST]},
        {"constraints": ["condition.heart_rate_bpm > 70"]},
        {"constraints": ["patient.age_years > 50 or condition.heart_rate_bpm < 100"]},
        {"conditions": {"strata": [{**FAST, "count": 7}, {"count": 2}]}},
        {"conditions": {"strata": [{**FAST, "count": 30}]}},
        {"conditions": [{"heart_rate_bpm": 299}]},
    ],
)
def test_the_samples_of_both_are_counted(
    inputs: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    before = make_spec(inputs, tmp_path / "new")
    after = make_spec(inputs, tmp_path / "new", **changes)
    one, other = samples_of(before), samples_of(after)
    expected = (
        f"{len(one)} ECGs -> {len(other)}: {len(one - other)} go, {len(other - one)} come, "
        f"{len(one & other)} are in both"
    )
    assert compare_plans(before, after)[0] == expected
    assert differing_fields(before, after)[0].startswith(f"{next(iter(changes))}: ")


def test_it_is_said_what_those_in_both_are_drawn_by(inputs: Path, tmp_path: Path) -> None:
    before = make_spec(inputs, tmp_path / "new")
    assert compare_plans(before, before)[1:] == ["the same plan: the same bytes"]
    assert differing_fields(before, before) == []
    other = make_spec(inputs, tmp_path / "new", seed=4, batch_rows=2)
    assert compare_plans(before, other)[1:] == [
        "those in both are drawn otherwise (seed, batch_rows)"
    ]
    assert differing_fields(before, other) == [
        "seed: 0 -> 4 (acts on what is made)",
        "batch_rows: 3 -> 2 (acts on what is made)",
    ]
    coarse = make_spec(inputs, tmp_path / "new", output={**OUTPUT, "step_mv": 0.01})
    assert "those in both are stored otherwise (step_mv)" in compare_plans(before, coarse)
    more = make_spec(inputs, tmp_path / "new", replicates=2)
    assert "drawn alike, but for the low bits" in compare_plans(before, more)[1]
    moved = make_spec(inputs, tmp_path / "new").model_copy(update={"labels": {"study": "x"}})
    assert differing_fields(before, moved) == ["labels: {} -> {'study': 'x'} (acts on the run)"]
    cut = make_spec(
        inputs, "elsewhere", output={"url": "u", "rows_per_shard": 2, "rows_per_chunk": 2}
    )
    assert (
        differing_fields(before, cut)[1] == "output.rows_per_shard: 4 -> 2 (acts on what is made)"
    )


def test_what_stands_at_the_url_is_left_aside(inputs: Path, tmp_path: Path) -> None:
    made = make_spec(inputs, tmp_path / "cohort")
    generate_cohort(made, executor=LocalExecutor())
    changed = make_spec(inputs, tmp_path / "cohort", replicates=2)
    assert compare_plans(made, changed)[0] == "12 ECGs -> 24: 0 go, 12 come, 12 are in both"


def test_places_are_named_as_what_acts_by_its_content(inputs: Path, tmp_path: Path) -> None:
    before = make_spec(inputs, tmp_path / "new")
    after = before.model_copy(update={"corpus": "elsewhere"})
    (line,) = differing_fields(before, after)
    assert line.endswith("-> elsewhere (acts on what is made, by its content)")


def test_a_state_that_is_asked_for_in_two_places_counts_in_each(
    inputs: Path, tmp_path: Path
) -> None:
    """Of different patients, which is allowed."""
    rate = {"heart_rate_bpm": 70}
    by_label = [{**rate, "label": "men"}, {**rate, "label": "others"}]
    constraints = ["(condition.label == 'men') == 0 or patient.sex == 'male'"]
    constraints = [
        "condition.label != 'men' or patient.sex == 'male'",
        "condition.label != 'others' or patient.sex == 'female'",
    ]
    before = make_spec(inputs, tmp_path / "new", conditions=by_label, constraints=constraints)
    after = make_spec(inputs, tmp_path / "new", conditions=[rate])
    one, other = samples_of(before), samples_of(after)
    assert (len(one), len(other), len(one & other)) == (2, 3, 2)
    assert compare_plans(before, after)[0].endswith("0 go, 1 come, 2 are in both")
    assert compare_plans(after, before)[0].endswith("1 go, 0 come, 2 are in both")
