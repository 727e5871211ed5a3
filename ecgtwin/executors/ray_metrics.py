"""What a run tells Ray's metrics: Prometheus reads the names with ``ray_`` before them."""

from ray.util.metrics import Counter, Gauge, Histogram

from ecgtwin.executors.protocol import Outcome, Try

_SECONDS = [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]


class RunMetrics:
    """Of the driver: shards by their end, and what there is now."""

    def __init__(self) -> None:
        self._done = Counter("ecgtwin_shards_done", "Shards made, or found made")
        self._failed = Counter("ecgtwin_shards_failed", "Shards given up after all tries")
        self._retried = Counter(
            "ecgtwin_shards_retried", "Tries that ended without the shard, given out again"
        )
        self._in_flight = Gauge("ecgtwin_shards_in_flight", "Shards with workers now")
        self._alive = Gauge("ecgtwin_workers_alive", "Workers that have started")
        self._starting = Gauge("ecgtwin_workers_starting", "Workers that have not started yet")

    def ended(self, outcome: Outcome) -> None:
        """Count the end of a shard."""
        (self._done if outcome.error is None else self._failed).inc()

    def retried(self) -> None:
        """Count a shard that is given out again."""
        self._retried.inc()

    def has(self, *, in_flight: int, alive: int, starting: int) -> None:
        """Set what there is now."""
        self._in_flight.set(in_flight)
        self._alive.set(alive)
        self._starting.set(starting)


class WorkerMetrics:
    """Of an actor: how long its tries take."""

    def __init__(self) -> None:
        self._seconds = Histogram(
            "ecgtwin_shard_seconds",
            "Seconds that one try of a shard took in its worker",
            boundaries=_SECONDS,
            tag_keys=("ended",),
        )

    def ended(self, tried: Try) -> None:
        """Take note of a try."""
        ended = "done" if tried.error is None else "failed"
        self._seconds.observe(tried.seconds, tags={"ended": ended})
