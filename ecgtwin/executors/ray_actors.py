"""RayTransport: one Ray actor per worker, spread over the nodes. Its answers come by callback."""

import os
import pickle
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError

from ecgtwin.executors.protocol import Try, Work, num_overlapping, try_once
from ecgtwin.executors.ray_metrics import WorkerMetrics
from ecgtwin.executors.transport import Answered, Event, Lost, NotReady, Ready, Silent
from ecgtwin.spec.shard import Shard

GRACE_S = 25.0  # a spot machine usually has 30 s
_NODES_S = 0.5  # what is known of the nodes is this old at most
_SENDING_S = 1.0  # for the last answer to leave
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
_NOBODYS_FAULT = ("its node has died", "SIGTERM")  # in what Ray says of the death of an actor


class _Worker:
    """The actor: keeps the work, and with it the loaded model, from shard to shard.

    Told to stop (SIGTERM), it begins no shard, lets those inside end within the grace time, exits.
    """

    def __init__(self, work: Work, environment: dict[str, str], grace_s: float) -> None:
        os.environ.update(environment)
        self._work = work
        self._grace_s = grace_s
        self._is_stopping = self._may_exit = False
        self._num_inside = 0
        self._lock = threading.Lock()
        self._metrics = WorkerMetrics()
        if threading.current_thread() is threading.main_thread():
            self._exit: Any = signal.signal(signal.SIGTERM, self._on_sigterm)

    def ready(self) -> str:
        node: str = ray.get_runtime_context().get_node_id()
        return node

    def do(self, shard: bytes) -> bytes | None:
        """Both ways plain bytes: Ray then serialises nothing in the driver."""
        with self._lock:
            if self._is_stopping:
                return None
            self._num_inside += 1
        try:
            tried = try_once(self._work, pickle.loads(shard))
        finally:
            with self._lock:
                self._num_inside -= 1
        self._metrics.ended(tried)
        answer: bytes = cloudpickle.dumps(tried)  # type: ignore[no-untyped-call]
        return answer

    def _on_sigterm(self, number: int, frame: object) -> None:
        if self._may_exit:
            self._exit(number, frame)  # Ray's own: the actor's death then says SIGTERM
        if not self._is_stopping:
            self._is_stopping = True
            threading.Thread(target=self._leave, daemon=True).start()

    def _leave(self) -> None:
        until = time.monotonic() + self._grace_s
        while self._num_inside and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(_SENDING_S)
        self._may_exit = True
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_SENDING_S)
        os._exit(128 + signal.SIGTERM)


class RayTransport:
    """Workers as Ray actors of the cluster that this process is connected to."""

    def __init__(self, work: Work, *, num_gpus: float, grace_s: float) -> None:
        self._work = ray.put(work)
        self._num_gpus = num_gpus
        self._grace_s = grace_s
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if name in _FORWARDED or name.startswith(_OURS)
        }
        self._actor_class = ray.remote(_Worker).options(
            num_cpus=1,
            num_gpus=num_gpus,
            max_restarts=0,
            max_concurrency=num_overlapping(work),
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": _SINGLE_THREAD},
        )
        self._numbers = count()
        self._actors: dict[int, Any] = {}
        self._started: set[int] = set()
        self._ended: SimpleQueue[tuple[int, Future[Any], bool]] = SimpleQueue()
        self._nodes: list[dict[str, Any]] = []
        self._nodes_at = float("-inf")

    def start(self) -> int:
        """Begin to start an actor."""
        worker = next(self._numbers)
        self._actors[worker] = self._actor_class.remote(
            self._work, self._environment, self._grace_s
        )
        self.ask(worker)
        return worker

    def ask(self, worker: int) -> None:
        """Ask the actor for its node."""
        self._await(worker, self._actors[worker].ready.remote(), is_shard=False)

    def send(self, worker: int, shard: Shard) -> int:
        """Give ``shard`` to the actor."""
        ticket = next(self._numbers)
        self._await(ticket, self._actors[worker].do.remote(pickle.dumps(shard)), is_shard=True)
        return ticket

    def _await(self, number: int, reference: Any, *, is_shard: bool) -> None:  # noqa: ANN401
        """Have the answer put in the queue: waiting then costs nothing for each worker."""
        reference.future().add_done_callback(
            lambda future: self._ended.put((number, future, is_shard))
        )

    def events(self, timeout_s: float) -> Sequence[Event]:
        """Return what was answered since."""
        found = []
        try:
            found.append(_event(*self._ended.get(timeout=timeout_s)))
            while True:
                found.append(_event(*self._ended.get_nowait()))
        except Empty:
            return found

    def stop(self, worker: int) -> None:
        """Kill the actor."""
        ray.kill(self._actors.pop(worker))

    def has_node(self, node: str) -> bool:
        """Say whether Ray counts ``node`` among the living."""
        return any(entry["NodeID"] == node for entry in self._living())

    def capacity(self) -> int:
        """Return how many actors the living nodes can hold, others' work not counted."""
        return sum(_places(entry["Resources"], self._num_gpus) for entry in self._living())

    def missing(self) -> str:
        """Return the cluster's free CPUs and GPUs in words."""
        free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        cpus, gpus = free.get("CPU", 0.0), free.get("GPU", 0.0)
        return f"the cluster has {cpus:g} CPUs and {gpus:g} GPUs free"

    def _living(self) -> list[dict[str, Any]]:
        now = time.monotonic()
        if now - self._nodes_at > _NODES_S:
            self._nodes_at = now
            self._nodes = [entry for entry in ray.nodes() if entry["Alive"]]  # type: ignore[no-untyped-call]
        return self._nodes


def _places(resources: dict[str, float], num_gpus: float) -> int:
    """Return how many actors of one CPU and ``num_gpus`` a node holds; a GPU is not joined."""
    cpus, gpus = int(resources.get("CPU", 0)), resources.get("GPU", 0.0)
    if not num_gpus:
        return cpus
    on_gpus = int(gpus) * int(1 / num_gpus) if num_gpus < 1 else int(gpus / num_gpus)
    return min(cpus, on_gpus)


def _event(number: int, future: Future[Any], is_shard: bool) -> Event:
    error = future.exception()
    if error is None:
        answer = future.result()
        return Answered(number, _tried(answer)) if is_shard else Ready(number, answer)
    if isinstance(error, ActorUnavailableError):
        if is_shard:
            return Silent(number)
        return NotReady(number, str(error), blameless=False, may_answer=True)
    if isinstance(error, RayTaskError) and is_shard:  # the actor lives, its answer cannot be sent
        return Answered(number, Try(None, str(error), None, "unknown", 0.0))
    reason, blameless = str(error), _is_blameless(error)
    if is_shard:
        return Lost(number, reason, blameless)
    return NotReady(number, reason, blameless, may_answer=False)


def _tried(answer: bytes | None) -> Try | None:
    """Return what an actor said of a shard; a failed try where it cannot be read here."""
    try:
        tried: Try | None = None if answer is None else pickle.loads(answer)
    except Exception as error:  # whatever the classes of a result raise
        return Try(None, f"the answer cannot be read: {error!r}", None, "unknown", 0.0)
    return tried


def _is_blameless(error: BaseException) -> bool:
    if isinstance(error, ActorDiedError) and error.preempted:
        return True
    return any(words in str(error) for words in _NOBODYS_FAULT)
