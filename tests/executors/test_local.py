"""LocalExecutor obeys the laws of executors, in order."""

from pathlib import Path

from ecgtwin.executors.local import LocalExecutor
from ecgtwin.executors.protocol import Executor
from tests.executors.contract import SHARDS, ExecutorContract
from tests.executors.works import CountRows


class TestLocalExecutor(ExecutorContract):
    def executor(self, max_tries: int = 3) -> Executor:
        return LocalExecutor(max_tries=max_tries)

    def test_work_is_done_as_it_is_asked_for_and_in_order(self, tmp_path: Path) -> None:
        outcomes = self.executor().run(CountRows(tmp_path), SHARDS)
        assert next(outcomes).shard == SHARDS[0]
        assert not (tmp_path / "1.log").exists()
        assert [outcome.shard for outcome in outcomes] == SHARDS[1:]
