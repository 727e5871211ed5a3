"""RayExecutor: one actor per worker, bounded work in flight, dead actors replaced. Home of ray."""

import logging
import os
import secrets
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from ecgtwin.errors import SpecificationError
from ecgtwin.executors.protocol import (
    Outcome,
    Try,
    Work,
    num_overlapping,
    try_once,
    worker_name,
)
from ecgtwin.executors.ray_cluster import connected
from ecgtwin.spec.shard import Shard

_log = logging.getLogger(__name__)

# Linux answers on all of 127/8; ray replaces 127.0.0.1 by the machine's own address there.
_LOOPBACK = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
_OBJECT_STORE_BYTES = 100 * 1024**2  # results are small; shards go to the cohort, not through ray
_PATIENCE_S = 60.0  # without news, say which workers are missing
_MAX_STARTS = 3
_TOO_SLOW = "timed out during startup"
_SINGLE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "BLOSC_NTHREADS": "1",
}
# What a worker needs of the driver's environment. Node-specific ones (role files, containers)
# stay out; they travel as an argument, because a runtime environment is shown in logs.
_FORWARDED = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
)
_OURS = "ECGTWIN_"


class _Worker:
    """The actor: keeps the work, and with it the loaded model, from shard to shard."""

    def __init__(self, work: Work, environment: dict[str, str]) -> None:
        os.environ.update(environment)
        self._work = work

    def ready(self) -> str:
        return worker_name()

    def do(self, shard: Shard) -> Try:
        return try_once(self._work, shard)


@dataclass(slots=True)
class _Job:
    shard: Shard
    tries: int = 0


@dataclass(slots=True)
class _Slot:
    """One worker's place: its actor, whether it has started, and what it was given, in order."""

    actor: Any
    starting: Any | None
    jobs: dict[Any, _Job] = field(default_factory=dict)  # by object reference


class RayExecutor:
    """Runs work in ``num_workers`` Ray actors.

    ``address=None`` uses the cluster this process is connected to, or else starts one on this
    machine and stops it afterwards; another address is connected to.
    A shard is given up after ``max_tries`` tries; the death of an actor counts as a try of the
    shard it worked on. ``num_gpus_per_worker`` may be a fraction.
    """

    def __init__(
        self,
        num_workers: int,
        *,
        max_tries: int = 3,
        num_gpus_per_worker: float = 0,
        address: str | None = None,
    ) -> None:
        if num_workers < 1:
            raise SpecificationError(f"{num_workers} workers can do no work; use at least 1")
        self._num_workers = num_workers
        self._max_tries = max_tries
        self._num_gpus = num_gpus_per_worker
        self._address = address

    def run(self, work: Work, shards: Iterable[Shard]) -> Generator[Outcome, None, None]:
        """Yield one outcome per shard, as they end."""
        waiting = deque(_Job(shard) for shard in shards)
        if not waiting:
            return
        with _cluster(self._address, self._num_workers):
            pool = _Pool(
                work, min(self._num_workers, len(waiting)), self._max_tries, self._num_gpus
            )
            try:
                yield from pool.run(waiting)
            finally:
                pool.stop()


class _Pool:
    """The actors of one run."""

    def __init__(self, work: Work, num_workers: int, max_tries: int, num_gpus: float) -> None:
        overlapping = num_overlapping(work)
        self._work = ray.put(work)
        self._most_in_flight = overlapping + 1  # one waits, so that no actor waits for the driver
        self._max_tries = max_tries
        self._actor_class = ray.remote(_Worker).options(
            num_cpus=1,
            num_gpus=num_gpus,
            max_restarts=0,
            max_concurrency=overlapping,
            runtime_env={"env_vars": _SINGLE_THREAD},
        )
        self._failed_starts = 0
        self._slots = [self._started() for _ in range(num_workers)]

    def run(self, waiting: deque[_Job]) -> Iterator[Outcome]:
        while waiting or any(slot.jobs for slot in self._slots):
            self._hand_out(waiting)
            owners = self._owners()
            ready, _ = ray.wait(list(owners), num_returns=1, timeout=_PATIENCE_S)
            if not ready:
                self._report_missing()
            for reference in ready:
                yield from self._settle(owners[reference], reference, waiting)

    def stop(self) -> None:
        for slot in self._slots:
            ray.kill(slot.actor)

    def _started(self) -> _Slot:
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in _FORWARDED or name.startswith(_OURS)
        }
        actor: Any = self._actor_class.remote(self._work, environment)
        return _Slot(actor, actor.ready.remote())

    def _hand_out(self, waiting: deque[_Job]) -> None:
        """Give each started worker as many shards as it may have, the emptiest first."""
        while waiting:
            free = [
                slot
                for slot in self._slots
                if not slot.starting and len(slot.jobs) < self._most_in_flight
            ]
            if not free:
                return
            slot = min(free, key=lambda slot: len(slot.jobs))
            job = waiting.popleft()
            slot.jobs[slot.actor.do.remote(job.shard)] = job

    def _owners(self) -> dict[Any, _Slot]:
        owners = {reference: slot for slot in self._slots for reference in slot.jobs}
        owners.update({slot.starting: slot for slot in self._slots if slot.starting})
        return owners

    def _settle(self, slot: _Slot, reference: Any, waiting: deque[_Job]) -> Iterator[Outcome]:  # noqa: ANN401
        if reference == slot.starting:
            self._settle_start(slot)
            return
        try:
            tried = _fetch(reference)
        except RayError as death:
            yield from self._replace(slot, death, waiting)
            return
        yield from self._end_try(slot.jobs.pop(reference), tried, waiting)

    def _settle_start(self, slot: _Slot) -> None:
        try:
            _ready(slot.starting)
        except RayError as death:
            self._failed_starts += 1
            if self._failed_starts >= self._max_tries * len(self._slots):
                raise RuntimeError(f"Ray could not start a worker: {death}") from death
            _log.warning("a worker did not start and is replaced: %s", _first_line(death))
            self._refill(slot)
        else:
            slot.starting = None
            self._failed_starts = 0

    def _replace(self, slot: _Slot, death: RayError, waiting: deque[_Job]) -> Iterator[Outcome]:
        """Replace a dead actor; charge the first of its shards without a result with the try."""
        _log.warning("a worker died and is replaced: %s", _first_line(death))
        ray.kill(slot.actor)
        jobs, slot.jobs = slot.jobs, {}
        charged = False
        for reference, job in jobs.items():
            try:
                tried = _fetch(reference)
            except RayError as error:
                if charged:
                    waiting.appendleft(job)
                    continue
                charged = True
                tried = Try(None, f"the worker died: {error}", None, "unknown", 0.0)
            yield from self._end_try(job, tried, waiting)
        self._refill(slot)

    def _end_try(self, job: _Job, tried: Try, waiting: deque[_Job]) -> Iterator[Outcome]:
        job.tries += 1
        if tried.error is not None and job.tries < self._max_tries:
            waiting.append(job)  # last in the line: what is wrong may pass meanwhile
            return
        yield tried.outcome(job.shard, job.tries)

    def _refill(self, slot: _Slot) -> None:
        fresh = self._started()
        slot.actor, slot.starting = fresh.actor, fresh.starting

    def _report_missing(self) -> None:
        missing = sum(slot.starting is not None for slot in self._slots)
        if missing:
            free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
            _log.warning(
                "%d of %d workers have not started; the cluster has %g CPUs and %g GPUs free",
                missing,
                len(self._slots),
                free.get("CPU", 0.0),
                free.get("GPU", 0.0),
            )


def _fetch(reference: Any) -> Try:  # noqa: ANN401  (ray gives its references no useful type)
    """Return what a try gave; raise RayError if its actor died."""
    try:
        tried: Try = ray.get(reference)
    except RayTaskError as error:  # the actor lives, its answer could not be sent
        return Try(None, str(error), None, "unknown", 0.0)
    return tried


def _ready(reference: Any) -> None:  # noqa: ANN401
    ray.get(reference)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


@contextmanager
def local_cluster(num_workers: int) -> Iterator[None]:
    """Start a Ray cluster on this machine for the block; executors without an address use it.

    Ray's servers listen on every interface, so the cluster asks for a token, new for each process
    and kept in the environment only. Set RAY_AUTH_MODE to decide otherwise.
    """
    defaults = {"RAY_USAGE_STATS_ENABLED": "0"}
    if "RAY_AUTH_MODE" not in os.environ:
        defaults["RAY_AUTH_TOKEN"] = _token()  # where the mode is not set, ray then asks for it
    with _environment(defaults), _quiet_about_tokens():
        _start(num_workers)
        try:
            yield
        finally:
            ray.shutdown()


def _start(num_workers: int) -> None:
    """Start a cluster; on a busy machine its servers can miss ray's fixed deadline of 30 s."""
    for start in range(1, _MAX_STARTS + 1):
        try:
            ray.init(
                num_cpus=num_workers,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _node_ip_address=_LOOPBACK,
                logging_level=logging.WARNING,
            )
            return
        except Exception as error:  # ray raises no narrower class for this
            if _TOO_SLOW not in str(error) or start == _MAX_STARTS:
                raise
            _log.warning("Ray did not start in time, start %d of %d", start, _MAX_STARTS)
            ray.shutdown()


@contextmanager
def _cluster(address: str | None, num_workers: int) -> Iterator[None]:
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


@cache
def _token() -> str:
    return secrets.token_hex(32)


@contextmanager
def _environment(defaults: dict[str, str]) -> Iterator[None]:
    """Set the variables that the user has not set, for as long as the block lasts."""
    names = ["RAY_AUTH_MODE", *defaults]  # ray sets the mode itself
    before = {name: os.environ.get(name) for name in names}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name, earlier in before.items():
            if earlier is None:
                os.environ.pop(name, None)


@contextmanager
def _quiet_about_tokens() -> Iterator[None]:
    """Keep ray from advising, at each start, to switch its token off."""
    adviser = logging.getLogger("ray._private.authentication.authentication_token_setup")
    before = adviser.level
    adviser.setLevel(logging.ERROR)
    try:
        yield
    finally:
        adviser.setLevel(before)
