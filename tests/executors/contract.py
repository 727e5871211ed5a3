"""The laws of every executor."""

from pathlib import Path

import torch

from ecgtwin.errors import CohortMismatchError
from ecgtwin.executors.protocol import Executor, Outcome
from ecgtwin.spec.shard import cut_shards
from tests.executors.works import CountRows, FailOn, NumThreads, Overlapping

SHARDS = cut_shards(23, 5)


def tries_of(folder: Path, index: int) -> int:
    return len((folder / f"{index}.log").read_text().splitlines())


class ExecutorContract:
    """Subclasses give ``executor(max_tries)`` and ``one_worker()``."""

    def executor(self, max_tries: int = 3) -> Executor:
        raise AssertionError("a subclass gives the executor")

    def one_worker(self) -> Executor:
        raise AssertionError("a subclass gives the executor")

    def by_index(self, outcomes: list[Outcome]) -> dict[int, Outcome]:
        assert sorted(outcome.shard.index for outcome in outcomes) == list(range(len(SHARDS)))
        return {outcome.shard.index: outcome for outcome in outcomes}

    def test_each_shard_is_run_once_and_its_result_comes_back(self, tmp_path: Path) -> None:
        ends = self.by_index(list(self.executor().run(CountRows(tmp_path), SHARDS)))
        assert [ends[index].result for index in range(5)] == [5, 5, 5, 5, 3]
        assert all(end.error is None and end.tries == 1 for end in ends.values())
        assert all(end.seconds >= 0 and ":" in end.worker for end in ends.values())
        assert [tries_of(tmp_path, index) for index in range(5)] == [1] * 5

    def test_no_shards_no_outcomes(self, tmp_path: Path) -> None:
        assert list(self.executor().run(CountRows(tmp_path), [])) == []

    def test_a_poison_shard_is_given_up_and_the_rest_finish(self, tmp_path: Path) -> None:
        ends = self.by_index(list(self.executor(2).run(FailOn(tmp_path, 1, 99), SHARDS)))
        assert ends[1].tries == tries_of(tmp_path, 1) == 2
        assert ends[1].error is not None
        assert "RuntimeError: poison" in ends[1].error
        assert ends[1].result is None
        assert [ends[index].error for index in (0, 2, 3, 4)] == [None] * 4

    def test_a_shard_that_recovers_is_not_reported_as_failed(self, tmp_path: Path) -> None:
        ends = self.by_index(list(self.executor(3).run(FailOn(tmp_path, 2, 2), SHARDS)))
        assert (ends[2].tries, ends[2].error, ends[2].result) == (3, None, 5)

    def test_a_mistake_of_the_user_comes_back_as_itself(self, tmp_path: Path) -> None:
        work = FailOn(tmp_path, 0, 99, how="mistake")
        ends = self.by_index(list(self.executor(3).run(work, SHARDS)))
        assert isinstance(ends[0].mistake, CohortMismatchError)
        assert ends[0].tries == 1
        assert str(ends[0].mistake) == "this is not that cohort"
        assert ends[1].mistake is None

    def test_a_worker_has_as_many_shards_inside_as_the_work_overlaps(self) -> None:
        ends = self.by_index(list(self.one_worker().run(Overlapping(), SHARDS)))
        assert {end.result for end in ends.values()} == {3}

    def test_the_work_has_one_torch_thread_and_the_caller_keeps_its_own(self) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            ends = self.by_index(list(self.executor().run(NumThreads(), SHARDS)))
            assert {end.result for end in ends.values()} == {1}
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)
