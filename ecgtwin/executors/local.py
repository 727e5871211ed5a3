"""LocalExecutor: the work is done in this process, one shard after the other."""

from collections.abc import Generator, Iterable

from ecgtwin.executors.protocol import Outcome, Work, try_once
from ecgtwin.spec.shard import Shard


class LocalExecutor:
    """Runs work here; a failing shard is tried again at once, ``max_tries`` times in all."""

    def __init__(self, *, max_tries: int = 3) -> None:
        self._max_tries = max_tries

    def run(self, work: Work, shards: Iterable[Shard]) -> Generator[Outcome, None, None]:
        """Yield one outcome per shard, in the order given."""
        for shard in shards:
            tries = 1
            tried = try_once(work, shard)
            while tried.error is not None and tries < self._max_tries:
                tries += 1
                tried = try_once(work, shard)
            yield tried.outcome(shard, tries)
