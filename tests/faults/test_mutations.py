"""Each guard that is taken out is missed: a scenario then fails, and for the reason it should.

With the guards in, ``test_writers``, ``test_kill_generation`` and ``test_s3_faults`` pass the same
scenarios.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from tests.faults import mutations, s3_scenarios, scenarios
from tests.faults.runs import CI_ROUNDS, ROUNDS, Preparation
from tests.faults.scenarios import Lab

pytestmark = pytest.mark.faults

Scenario = Callable[[Lab], None]

# What is taken out, what then goes wrong, and how that is noticed.
NOTICED: tuple[tuple[Preparation, Scenario, str], ...] = (
    (mutations.looks_not_back, scenarios.object_replaced_before_the_commit, "has digest"),
    (mutations.commits_first, scenarios.killed_while_it_writes_a_file, "missing, but its shard"),
    (mutations.takes_any_numerics, scenarios.other_numerics_are_refused, "ended with 0"),
    (
        mutations.overwrites,
        partial(scenarios.woken_with_other_bytes, step="encoded:1"),
        "other bytes",
    ),
    (mutations.writes_in_place, scenarios.killed_at_each_step, "damaged"),
    (mutations.believes_errors, scenarios.killed_at_each_step, "ended with"),
    (
        mutations.believes_in_success,
        scenarios.place_that_cannot_be_written,
        "missing, but its shard",
    ),
    (mutations.sweeps_nothing, scenarios.killed_while_it_writes_a_file, "left behind"),
    (mutations.sweeps_all, scenarios.another_commits_beside_it, "ended with 1"),
    (mutations.believes_in_objects, scenarios.object_of_other_bytes_stands_there, "has digest"),
    (
        mutations.replaces_committed_objects,
        partial(scenarios.woken_with_other_bytes, step="encoded:1"),
        "has digest",
    ),
    (mutations.gives_nothing_back, scenarios.object_replaced_after_the_commit, "has digest"),
    (
        mutations.restores_what_was_deleted,
        scenarios.planned_anew_behind_its_back,
        "changed the new cohort",
    ),
    (mutations.resumes_by_objects, scenarios.killed_at_each_step, "not killed at ledger:1"),
    (
        mutations.forgets_the_plan,
        scenarios.planned_anew_behind_its_back,
        "changed the new cohort",
    ),
)
NOTICED_ON_S3: tuple[tuple[Preparation, Scenario, str], ...] = (
    (mutations.overwrites, partial(s3_scenarios.puts_meet, kind="twice"), "put twice"),
    (
        mutations.believes_errors,
        partial(s3_scenarios.puts_meet, kind="false error"),
        "not finished",
    ),
    (
        mutations.believes_in_success,
        partial(s3_scenarios.puts_meet, kind="error"),
        "lost: ",
    ),
    (
        mutations.lets_torn_bodies_through,
        partial(s3_scenarios.reads_meet, kind="torn answer"),
        "no clear line",
    ),
    (
        mutations.takes_resets_for_refusals,
        partial(s3_scenarios.puts_meet, kind="reset answer"),
        "runs for what was done",
    ),
)
FEW = 3 if ROUNDS <= CI_ROUNDS else None


def name_of(part: object) -> str | None:
    return getattr(part, "__name__", None) if callable(part) else None


@pytest.mark.parametrize(("mutation", "scenario", "found"), NOTICED[:FEW], ids=name_of)
def test_a_guard_that_is_taken_out_is_missed(
    lab: Lab, mutation: Preparation, scenario: Scenario, found: str
) -> None:
    with pytest.raises(AssertionError, match=found):
        scenario(replace(lab, mutation=mutation))


@pytest.mark.s3
@pytest.mark.skipif(FEW is not None, reason="in make test-faults only")
@pytest.mark.parametrize(("mutation", "scenario", "found"), NOTICED_ON_S3, ids=name_of)
def test_a_guard_that_is_taken_out_is_missed_on_s3(
    s3_lab: Lab, mutation: Preparation, scenario: Scenario, found: str
) -> None:
    with pytest.raises(AssertionError, match=found):
        scenario(replace(s3_lab, mutation=mutation))
