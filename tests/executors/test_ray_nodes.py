"""Nodes come, go and die under a run: nothing is lost, nothing is charged, what comes is used."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.simulated_nodes import ray_settings
from tests.executors.nodes import NUM_SHARDS

pytestmark = pytest.mark.ray

REPOSITORY = Path(__file__).parents[2]


def run(case: str) -> dict[str, Any]:
    """Every shard ended once, without an error and without a try that was charged."""
    made = subprocess.run(
        [sys.executable, "-m", "tests.executors.nodes", case],
        cwd=REPOSITORY,
        env=os.environ | ray_settings() | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    found: dict[str, Any] = json.loads(made.stdout.splitlines()[-1])
    assert found["ended"] == list(range(NUM_SHARDS))
    assert (found["failed"], found["tries"]) == ([], [1])
    return found


def test_a_node_that_is_killed_loses_no_shard() -> None:
    found = run("killed")
    assert found["begun_again"] >= 1, "nothing was in flight on the node"
    assert len(found["first_and_last_of_nodes"]) == 3


def test_a_node_that_leaves_is_survived() -> None:
    found = run("removed")
    assert found["begun_again"] >= 1, "nothing was in flight on the node"
    assert len(found["first_and_last_of_nodes"]) == 2


def test_workers_that_found_no_place_take_a_new_node() -> None:
    found = run("added")
    assert len(found["first_and_last_of_nodes"]) == 3
    assert found["workers"] == 6


def test_a_run_without_a_number_of_workers_grows_with_the_cluster() -> None:
    found = run("grown")
    assert len(found["first_and_last_of_nodes"]) == 3
    assert found["workers"] == 6
