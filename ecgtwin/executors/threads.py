"""ThreadExecutor: work that waits more than it computes is done in threads of this process."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from ecgtwin.executors.protocol import Outcome, Work, one_torch_thread, try_once
from ecgtwin.spec.shard import Shard


class ThreadExecutor:
    """Runs work in ``num_threads`` threads, a few shards ahead of whoever takes the outcomes.

    A failing shard is tried again at once, ``max_tries`` times in all. The work must bear several
    calls at a time.
    """

    def __init__(self, num_threads: int, *, max_tries: int = 3) -> None:
        self._num_threads = num_threads
        self._max_tries = max_tries

    def run(self, work: Work, shards: Iterable[Shard]) -> Generator[Outcome, None, None]:
        """Yield one outcome per shard, in the order given."""
        waiting: deque[Future[Outcome]] = deque()
        # Outside of the threads: each would put back what another has just set.
        with one_torch_thread(), ThreadPoolExecutor(self._num_threads) as pool:
            try:
                for shard in shards:
                    waiting.append(pool.submit(self._outcome, work, shard))
                    if len(waiting) > 2 * self._num_threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _outcome(self, work: Work, shard: Shard) -> Outcome:
        tries = 1
        tried = try_once(work, shard)
        while tried.error is not None and tries < self._max_tries:
            tries += 1
            tried = try_once(work, shard)
        return tried.outcome(shard, tries)
