"""RayExecutor obeys the laws of executors, and survives its actors."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
import ray

from ecgtwin.executors.protocol import Executor
from ecgtwin.executors.ray_executor import RayExecutor
from tests.executors.contract import SHARDS, ExecutorContract, tries_of
from tests.executors.works import (
    CountRows,
    FailOn,
    KillBeside,
    Lingering,
    Slow,
    Unreadable,
    Unsendable,
)

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


class TestRayExecutor(ExecutorContract):
    def executor(self, max_tries: int = 3) -> Executor:
        return RayExecutor(2, max_tries=max_tries)

    def one_worker(self) -> Executor:
        return RayExecutor(1)

    def test_a_shard_that_kills_its_worker_is_given_up_and_charged_alone(
        self, tmp_path: Path
    ) -> None:
        work = FailOn(tmp_path, 1, 99, how="kill")
        ends = self.by_index(list(self.executor(2).run(work, SHARDS)))
        assert ends[1].tries == tries_of(tmp_path, 1) == 2
        assert ends[1].error is not None
        assert "worker died" in ends[1].error
        assert [ends[index].error for index in (0, 2, 3, 4)] == [None] * 4
        assert [ends[index].tries for index in (0, 2, 3, 4)] == [1] * 4

    def test_a_worker_killed_from_outside_is_replaced(self, tmp_path: Path) -> None:
        outcomes = self.executor(3).run(Slow(tmp_path, 0.3), SHARDS)
        first = next(outcomes)
        os.kill(int(first.worker.rpartition(":")[2]), signal.SIGKILL)
        ends = self.by_index([first, *outcomes])
        assert all(end.error is None for end in ends.values())
        assert len({end.result for end in ends.values()}) >= 2

    def test_an_answer_that_cannot_be_sent_is_an_error_of_its_shard(self) -> None:
        ends = self.by_index(list(self.executor(1).run(Unsendable(), SHARDS)))
        assert ends[1].error is not None
        assert "pickle" in ends[1].error
        assert ends[2].result == 2

    def test_an_answer_that_cannot_be_read_is_an_error_of_its_shard(self) -> None:
        ends = self.by_index(list(self.executor(1).run(Unreadable(), SHARDS)))
        assert ends[1].error is not None
        assert "the answer cannot be read: ValueError" in ends[1].error
        assert ends[2].result == 2

    def test_leaving_early_frees_the_workers(self, tmp_path: Path) -> None:
        for _ in range(3):  # would wait for ever on the third pair of actors, the cluster has two
            outcomes = self.executor().run(CountRows(tmp_path), SHARDS)
            assert isinstance(outcomes, Iterator)
            next(outcomes)
            outcomes.close()  # type: ignore[attr-defined]
        assert ray.is_initialized()

    def test_a_worker_told_to_stop_ends_what_is_inside_and_begins_no_more(
        self, tmp_path: Path
    ) -> None:
        outcomes = RayExecutor(2, max_tries=1).run(Lingering(tmp_path, 1.0), SHARDS)
        first = next(outcomes)
        os.kill(int(first.worker.rpartition(":")[2]), signal.SIGTERM)
        ends = self.by_index([first, *outcomes])
        assert all(end.error is None and end.tries == 1 for end in ends.values())
        of_the_stopped = [end for end in ends.values() if end.worker == first.worker]
        assert len(of_the_stopped) <= 2, "it took more than the one that was inside"
        assert len(list(tmp_path.glob("*.begun"))) == len(SHARDS), "a shard was begun again"

    def test_a_worker_told_to_stop_goes_when_its_grace_is_over_and_nobody_is_charged(
        self, tmp_path: Path
    ) -> None:
        outcomes = RayExecutor(1, max_tries=1, grace_s=0.2).run(Lingering(tmp_path, 3.0), SHARDS)
        stopped = Thread(target=lambda: stop_the_first(tmp_path))
        stopped.start()
        ends = self.by_index(list(outcomes))
        stopped.join()
        assert all(end.error is None and end.tries == 1 for end in ends.values())
        assert len(list(tmp_path.glob("*.begun"))) == len(SHARDS) + 1

    def test_a_neighbour_of_a_shard_that_kills_is_not_charged(self, tmp_path: Path) -> None:
        """Three are inside when the worker dies; all but one are run alone once and pass."""
        ends = self.by_index(list(RayExecutor(1, max_tries=2).run(KillBeside(tmp_path), SHARDS)))
        assert ends[1].error is not None
        assert ends[1].tries == 2
        assert [tries_of(tmp_path, index) for index in range(5)] == [2, 3, 2, 1, 1]
        assert [ends[index].error for index in (0, 2, 3, 4)] == [None] * 4
        assert [ends[index].tries for index in (0, 2, 3, 4)] == [1] * 4


def stop_the_first(folder: Path) -> None:
    """Send SIGTERM to the process that began the first shard."""
    while not (begun := list(folder.glob("*.begun"))):
        time.sleep(0.05)
    os.kill(int(begun[0].name.split(".")[1]), signal.SIGTERM)
