"""Several writers of one cohort, at once or one behind the other's back: it is whole and the same.

Real processes of the command line; what each scenario does stands in ``scenarios``.
"""

import pytest

from tests.faults import scenarios
from tests.faults.runs import CI_ROUNDS, ROUNDS
from tests.faults.scenarios import Lab

pytestmark = pytest.mark.faults


def test_two_drivers_at_once_commit_each_shard_once(lab: Lab) -> None:
    scenarios.two_at_once(lab)


@pytest.mark.skipif(ROUNDS <= CI_ROUNDS, reason="two clusters; in make test-faults only")
def test_two_drivers_at_once_each_with_a_cluster_commit_each_shard_once(lab: Lab) -> None:
    scenarios.two_at_once(lab, executor="ray")


@pytest.mark.parametrize("step", ["put:3", "encoded:1", "object:1", "ledger:1"])
def test_a_writer_that_wakes_after_the_commit_changes_nothing(lab: Lab, step: str) -> None:
    scenarios.woken_after_the_commit(lab, step)


@pytest.mark.parametrize("step", ["encoded:1", "object:1", "ledger:1"])
def test_one_that_wakes_with_other_bytes_changes_nothing_and_says_so(lab: Lab, step: str) -> None:
    scenarios.woken_with_other_bytes(lab, step)


@pytest.mark.parametrize(
    "scenario",
    [
        scenarios.killed_while_it_writes_a_file,
        scenarios.object_of_other_bytes_stands_there,
        scenarios.object_replaced_before_the_commit,
        scenarios.object_replaced_after_the_commit,
        scenarios.another_commits_beside_it,
        scenarios.planned_anew_behind_its_back,
        scenarios.other_numerics_are_refused,
        scenarios.place_that_cannot_be_written,
    ],
    ids=lambda scenario: scenario.__name__,
)
def test_the_cohort_is_whole_and_the_same(lab: Lab, scenario) -> None:
    scenario(lab)
