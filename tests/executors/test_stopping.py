"""SIGTERM inside the block ends the run as asked, and leaves no trace after it."""

import signal
import threading
import time

import pytest

from ecgtwin.executors.local import LocalExecutor
from ecgtwin.executors.stopping import Stopped, stopping_on_sigterm
from ecgtwin.spec.shard import Shard
from tests.executors.contract import SHARDS

pytestmark = pytest.mark.timeout(60, method="thread")  # the other way takes the alarm for itself


class StopAt:
    """Sends SIGTERM to its own process in one shard."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __call__(self, shard: Shard) -> int:
        if shard.index == self._index:
            signal.raise_signal(signal.SIGTERM)
        return shard.index


def test_finishing_ends_with_the_shard_that_is_inside() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)
    with stopping_on_sigterm("finish", grace_s=30) as stopping:
        executor = LocalExecutor(is_stopping=stopping.is_requested)
        assert [end.result for end in executor.run(StopAt(1), SHARDS)] == [0, 1]
    assert stopping.is_requested()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)) == before


def test_the_grace_time_ends_the_wait() -> None:
    with stopping_on_sigterm("finish", grace_s=0.2):
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped):
            time.sleep(30)


def test_nothing_is_left_to_go_off_after_the_block() -> None:
    with stopping_on_sigterm("finish", grace_s=0.1):
        signal.raise_signal(signal.SIGTERM)
    time.sleep(0.3)


@pytest.mark.parametrize("grace_s", [0.0, 30.0])
def test_abandoning_ends_inside_the_shard(grace_s: float) -> None:
    on_preempt = "abandon" if grace_s else "finish"
    with stopping_on_sigterm(on_preempt, grace_s=grace_s), pytest.raises(Stopped):
        list(LocalExecutor().run(StopAt(0), SHARDS))


def test_outside_the_main_thread_signals_stay_as_they_are() -> None:
    found: list[object] = []

    def look() -> None:
        with stopping_on_sigterm("finish", grace_s=1) as stopping:
            found.extend([signal.getsignal(signal.SIGTERM), stopping.is_requested()])

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM), False]
