"""LocalExecutor obeys the laws of executors, in order."""

import gc
import threading
import time
import weakref
from pathlib import Path

import pytest

from ecgtwin.errors import StoreError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.executors.protocol import Executor
from ecgtwin.spec.shard import Shard
from tests.executors.contract import SHARDS, ExecutorContract
from tests.executors.works import CountRows, FailOn, Overlapping


class TestLocalExecutor(ExecutorContract):
    def executor(self, max_tries: int = 3) -> Executor:
        return LocalExecutor(max_tries=max_tries)

    def one_worker(self) -> Executor:
        return LocalExecutor()

    def test_work_is_done_as_it_is_asked_for_and_in_order(self, tmp_path: Path) -> None:
        outcomes = self.executor().run(CountRows(tmp_path), SHARDS)
        assert next(outcomes).shard == SHARDS[0]
        assert not (tmp_path / "1.log").exists()
        assert [outcome.shard for outcome in outcomes] == SHARDS[1:]

    def test_closing_waits_for_the_shards_that_are_inside(self) -> None:
        inside = Inside()
        outcomes = LocalExecutor().run(inside, SHARDS)
        next(outcomes)
        outcomes.close()
        assert len(inside.begun) < len(SHARDS)
        assert sorted(inside.begun) == sorted(inside.ended)

    def test_an_overlapping_shard_is_tried_again(self, tmp_path: Path) -> None:
        work = FailOn(tmp_path, 2, 1)
        object.__setattr__(work, "num_overlapping", 2)
        ends = self.by_index(list(LocalExecutor().run(work, SHARDS)))
        assert [ends[index].tries for index in range(5)] == [1, 1, 2, 1, 1]

    def test_work_that_overlaps_nothing_at_all_is_refused(self) -> None:
        work = Overlapping()
        work.num_overlapping = 0
        with pytest.raises(ValueError, match="num_overlapping is 0"):
            list(LocalExecutor().run(work, SHARDS))


def test_a_mistake_does_not_keep_what_was_in_memory_when_it_was_made() -> None:
    """Failures are kept to the end of a run, and a shard's samples are large."""

    class Samples:
        pass

    made: list[weakref.ref[Samples]] = []

    def refuse() -> None:
        samples = Samples()
        made.append(weakref.ref(samples))
        try:
            raise OSError("no space")
        except OSError as error:
            raise StoreError("the disk is full") from error

    def work(shard: Shard) -> None:
        samples = Samples()
        made.append(weakref.ref(samples))
        refuse()

    (outcome,) = LocalExecutor(max_tries=1).run(work, [Shard(0, 0, 1)])
    assert isinstance(outcome.mistake, StoreError)
    assert "in refuse" in str(outcome.error)
    gc.collect()
    assert [one() for one in made] == [None, None]


class Inside:
    """Says which shards began and ended."""

    num_overlapping = 2

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []

    def __call__(self, shard: Shard) -> None:
        self.begun.append(shard.index)
        time.sleep(0.1 * shard.index)
        self.ended.append(shard.index)


def test_work_that_takes_long_is_told_when_nobody_waits_for_it_any_more() -> None:
    """Closing would wait for ever: the shards inside end only when they are told."""
    told = threading.Event()

    class Endless:
        num_overlapping = 2

        def __call__(self, shard: Shard) -> int:
            if shard.index:
                assert told.wait(60)
            return shard.index

        def abandon(self) -> None:
            told.set()

    run = LocalExecutor().run(Endless(), [Shard(index, index, index + 1) for index in range(4)])
    assert next(run).result == 0
    run.close()
    assert told.is_set()
