"""Prometheus finds on Ray's own port what a run tells of itself."""

import time
import urllib.request
from pathlib import Path

import pytest
import ray

from ecgtwin.executors.ray_executor import RayExecutor
from ecgtwin.spec.shard import cut_shards
from tests.executors.works import FailOn

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

EXPORT_S = 12.0  # Ray exports every ten seconds or so
DEADLINE_S = 90.0
COUNTED = {
    "ray_ecgtwin_shards_done_total": 4.0,
    "ray_ecgtwin_shards_failed_total": 1.0,
    "ray_ecgtwin_shards_retried_total": 1.0,
    "ray_ecgtwin_shard_seconds_count": 6.0,
}
GAUGES = (
    "ray_ecgtwin_shards_in_flight",
    "ray_ecgtwin_workers_alive",
    "ray_ecgtwin_workers_starting",
)


def exported() -> dict[str, float]:
    """Return the sum of each of our metrics over its tags."""
    node = ray.nodes()[0]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    sums: dict[str, float] = {}
    for line in lines:
        if line.startswith("ray_ecgtwin_"):
            name, value = line.partition("{")[0].split()[0], line.rpartition(" ")[2]
            sums[name] = sums.get(name, 0.0) + float(value)
    return sums


def settled() -> dict[str, float]:
    """Return what is exported once nothing of the runs before is still on its way."""
    found = exported()
    for _ in range(8):
        time.sleep(EXPORT_S)
        before, found = found, exported()
        if found == before:
            return found
    pytest.fail(f"other runs go on: {found}")


def test_the_ends_of_shards_are_exported(tmp_path: Path) -> None:
    """Read while the actors are there: what one that is killed has not exported yet is lost."""
    before = settled()
    run = RayExecutor(2, max_tries=2).run(FailOn(tmp_path, 1, 99), cut_shards(5, 1))
    ends = [next(run) for _ in range(5)]
    assert sorted(end.shard.index for end in ends if end.error is None) == [0, 2, 3, 4]
    deadline = time.monotonic() + DEADLINE_S
    grown: dict[str, float] = {}
    now: dict[str, float] = {}
    while time.monotonic() < deadline:
        now = exported()
        grown = {name: now.get(name, 0.0) - before.get(name, 0.0) for name in COUNTED}
        if grown == COUNTED and set(GAUGES) <= set(now):
            break
        time.sleep(1)
    run.close()
    assert grown == COUNTED
    assert set(GAUGES) <= set(now)
