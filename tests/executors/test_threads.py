"""ThreadExecutor obeys the laws of executors, in order, some shards ahead."""

import threading
from pathlib import Path

from ecgtwin.executors.protocol import Executor
from ecgtwin.executors.threads import ThreadExecutor
from ecgtwin.spec.shard import Shard
from tests.executors.contract import SHARDS, ExecutorContract
from tests.executors.works import CountRows


class TestThreadExecutor(ExecutorContract):
    def executor(self, max_tries: int = 3) -> Executor:
        return ThreadExecutor(2, max_tries=max_tries)

    def test_outcomes_come_in_order(self, tmp_path: Path) -> None:
        outcomes = list(self.executor().run(CountRows(tmp_path), SHARDS))
        assert [outcome.shard for outcome in outcomes] == SHARDS

    def test_as_many_shards_as_threads_are_worked_on_at_a_time(self) -> None:
        both = threading.Barrier(2)

        def work(shard: Shard) -> int:
            return both.wait(60)

        outcomes = list(ThreadExecutor(2, max_tries=1).run(work, SHARDS[:4]))
        assert [outcome.error for outcome in outcomes] == [None] * 4

    def test_what_nobody_asks_for_is_not_begun(self, tmp_path: Path) -> None:
        outcomes = ThreadExecutor(1).run(CountRows(tmp_path), SHARDS)
        next(outcomes)
        outcomes.close()
        assert not (tmp_path / "4.log").exists()
