"""LocalExecutor: the work is done in this process, as many shards at a time as it overlaps."""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice, takewhile
from threading import Event

from ecgtwin.executors.protocol import Outcome, Work, abandon, num_overlapping, try_once
from ecgtwin.spec.shard import Shard


class LocalExecutor:
    """Runs work here; a failing shard is tried again at once, ``max_tries`` times in all,
    where that may help.

    When ``is_stopping`` says so, no shard is begun any more, and the run ends with those inside.
    """

    def __init__(
        self, *, max_tries: int = 3, is_stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self._max_tries = max_tries
        self._is_stopping = is_stopping

    def run(self, work: Work, shards: Iterable[Shard]) -> Generator[Outcome, None, None]:
        """Yield one outcome per shard, in the order given.

        Work that overlaps is called by as many threads as it says, each outcome yielded as it ends;
        closing waits for the shards that are inside, but not in a process that is stopping.
        """
        num_threads = num_overlapping(work)
        if num_threads == 1:
            for shard in self._until_stopped(shards):
                yield self._outcome(work, shard, Event())
            return
        yield from self._overlapped(work, self._until_stopped(shards), num_threads)

    def _overlapped(
        self, work: Work, shards: Iterator[Shard], num_threads: int
    ) -> Generator[Outcome, None, None]:
        leaving = Event()
        pool = ThreadPoolExecutor(num_threads, thread_name_prefix="shard")
        inside: set[Future[Outcome]] = set()
        ended: set[Future[Outcome]] = set()
        try:
            while True:
                for shard in islice(shards, num_threads - len(inside)):
                    inside.add(pool.submit(self._outcome, work, shard, leaving))
                for future in ended:
                    yield future.result()
                if not inside:
                    return
                ended, inside = wait(inside, return_when=FIRST_COMPLETED)
        finally:
            leaving.set()
            if inside:
                abandon(work)
            pool.shutdown(wait=not self._is_stopping(), cancel_futures=True)

    def _until_stopped(self, shards: Iterable[Shard]) -> Iterator[Shard]:
        return takewhile(lambda _: not self._is_stopping(), shards)

    def _outcome(self, work: Work, shard: Shard, leaving: Event) -> Outcome:
        tries = 1
        tried = try_once(work, shard)
        while tried.may_pass_later and tries < self._max_tries and not leaving.is_set():
            tries += 1
            tried = try_once(work, shard)
        return tried.outcome(shard, tries)
