"""Kill -9 anywhere, run the same command again: the cohort equals that of an undisturbed run.

Real processes, started by the command line. The corpus and the networks are tiny.
"""

import random
import time

import pytest

from tests.faults import scenarios
from tests.faults.cohorts import NUM_SHARDS, check_cohort, make_undisturbed
from tests.faults.runs import CI_ROUNDS, ROUNDS
from tests.faults.scenarios import Lab

pytestmark = pytest.mark.faults

# In CI actors are killed at each step of a commit only, and by the end of their raylet.
VICTIMS = ("driver", "raylet") if ROUNDS <= CI_ROUNDS else ("driver", "actor", "raylet")
# Each round kills every one of them.
ROUNDS_ON_RAY = 1 if ROUNDS <= CI_ROUNDS else -(-ROUNDS // len(VICTIMS))


def test_a_process_killed_at_each_step_of_a_commit_is_gone_on_from(lab: Lab) -> None:
    scenarios.killed_at_each_step(lab)


def test_actors_killed_at_each_step_are_replaced_and_the_same_run_finishes(lab: Lab) -> None:
    command = lab.command("one", executor="ray")
    steps = ["encoded:1", "object:2", "ledger:3", "manifest:4"]
    assert command.run(kill=",".join(steps)) == 0, command.log.read_text()
    assert command.has_carried_out() == sorted(steps)
    lab.check()


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_process_killed_at_a_random_moment_is_gone_on_from(lab: Lab, seed: int) -> None:
    choose = random.Random(seed)
    command = lab.command("one")
    with command.started(pause_s=0.02) as run:
        awaited = choose.randrange(NUM_SHARDS)
        run.wait_until(lambda: command.num_committed() >= awaited)
        time.sleep(choose.uniform(0, 0.2))
        run.kill()
    command.must_finish()
    lab.check()


@pytest.mark.parametrize("seed", range(ROUNDS_ON_RAY))
def test_driver_actor_and_raylet_killed_at_random_moments_are_gone_on_from(
    lab: Lab, seed: int
) -> None:
    """A run goes on without one of its actors; without its raylet it may, or end badly."""
    choose = random.Random(100 + seed)
    # Up to eight shards are in flight, and actors end theirs after their driver: each victim must
    # find some to do.
    long = {"replicates": 4 if len(VICTIMS) < 3 else 12}
    command = lab.command("one", executor="ray", **long)
    for victim in VICTIMS:
        with command.started(pause_s=0.1) as run:
            awaited = command.num_committed() + 1
            run.wait_until(lambda: command.num_committed() >= awaited)  # noqa: B023  (called at once)
            time.sleep(choose.uniform(0, 0.2))
            assert run.exit_code is None, command.log.read_text()
            if victim == "driver":
                run.kill()
                continue
            victims = run.actors() if victim == "actor" else run.raylets()
            choose.choice(victims).kill()
            if victim == "actor":
                run.wait_until(lambda: command.num_committed() >= awaited + 1)  # noqa: B023
                assert run.exit_code is None, command.log.read_text()
                run.kill()
            elif run.wait() != 0:
                command.must_finish()
    check_cohort(lab.url, make_undisturbed(lab.inputs, lab.folder / "undisturbed", **long))
