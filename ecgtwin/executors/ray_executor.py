"""RayExecutor: one actor per worker, bounded work in flight, dead actors replaced."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice

import ray

from ecgtwin.errors import SpecificationError
from ecgtwin.executors.pool import Pool, PoolSettings
from ecgtwin.executors.protocol import Outcome, Work, num_overlapping
from ecgtwin.executors.ray_actors import GRACE_S, RayTransport
from ecgtwin.executors.ray_cluster import connected, local_cluster
from ecgtwin.executors.ray_metrics import RunMetrics
from ecgtwin.spec.shard import Shard


class RayExecutor:
    """Runs work in ``num_workers`` Ray actors, or in as many as the cluster holds, as it changes.

    Actors that find no place wait in Ray; those that are there work. ``num_workers`` None follows
    the nodes as they come and go: an actor for each CPU, or for each ``num_gpus_per_worker`` GPUs,
    which may be a fraction. ``address=None`` uses the cluster this process is connected to, or
    else starts one on this machine and stops it afterwards; another address is connected to.

    A shard is given up after ``max_tries`` tries; ``pool`` says what counts as one. When
    ``is_stopping`` says so, no shard is handed out any more, and the run ends with those in flight.
    An actor that is told to stop has ``grace_s`` seconds for what is inside it.
    """

    def __init__(
        self,
        num_workers: int | None,
        *,
        max_tries: int = 3,
        num_gpus_per_worker: float = 0,
        address: str | None = None,
        is_stopping: Callable[[], bool] = lambda: False,
        grace_s: float = GRACE_S,
    ) -> None:
        if num_workers is not None and num_workers < 1:
            raise SpecificationError(f"{num_workers} workers can do no work; use at least 1")
        self._num_workers = num_workers
        self._max_tries = max_tries
        self._num_gpus = num_gpus_per_worker
        self._address = address
        self._is_stopping = is_stopping
        self._grace_s = grace_s

    def run(self, work: Work, shards: Iterable[Shard]) -> Generator[Outcome, None, None]:
        """Yield one outcome per shard, as they end."""
        fresh = iter(shards)
        first = list(islice(fresh, 1))
        if not first:
            return
        settings = PoolSettings(
            self._num_workers, self._max_tries, num_overlapping(work), self._is_stopping
        )
        with _cluster(self._address, self._num_workers):
            transport = RayTransport(work, num_gpus=self._num_gpus, grace_s=self._grace_s)
            pool = Pool(transport, chain(first, fresh), settings, RunMetrics())
            try:
                yield from pool.run()
            finally:
                pool.stop()


@contextmanager
def _cluster(address: str | None, num_workers: int | None) -> Iterator[None]:
    """Use the cluster we are connected to, or connect to one, or start one on this machine."""
    if ray.is_initialized():
        yield
        return
    if address is None:
        with local_cluster(num_workers):
            yield
        return
    with connected(address):
        yield
