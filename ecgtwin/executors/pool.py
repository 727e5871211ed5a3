"""Pool: bounded work in flight on workers that come, go and die. It knows no Ray.

A shard's *try* is charged to it: it raised, or its worker died by itself while nothing else was
inside. Where several were inside, each is run alone until it has passed or failed: a shard is not
given up for its neighbour. What no other try mends ends a shard at once: a run that cannot work
says so before all its shards have failed. A death with the node is nobody's fault, up to
``MOST_LOSSES`` times.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ecgtwin.errors import ClusterError
from ecgtwin.executors.protocol import Outcome, Try
from ecgtwin.executors.reasons import both_ends, first_line
from ecgtwin.executors.roster import Job, Line, Roster, Worker
from ecgtwin.executors.transport import (
    Answered,
    Event,
    Lost,
    NotReady,
    Ready,
    Silent,
    Transport,
)
from ecgtwin.executors.watch import Unwatched, Watch
from ecgtwin.spec.shard import Shard

_log = logging.getLogger(__name__)

MOST_LOSSES = 100  # deaths of nodes, and silences, that a shard survives uncharged
_TICK_S = 1.0


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How a pool runs. ``num_workers`` None: what the cluster holds, each ``look_s``.

    Without news for ``patience_s`` it says what is missing, and a silent worker is called dead.
    ``verdict_s``: a node's death is known a moment after that of its workers.
    """

    num_workers: int | None
    max_tries: int
    overlapping: int = 1
    is_stopping: Callable[[], bool] = lambda: False
    look_s: float = 5.0
    patience_s: float = 60.0
    verdict_s: float = 2.0


@dataclass(slots=True)
class _Suspicion:
    """Jobs that were inside a worker when it died, until it is known whether its node did."""

    worker: Worker
    jobs: list[Job]
    until: float


class Pool:
    """The workers of one run."""

    def __init__(
        self,
        transport: Transport,
        shards: Iterable[Shard],
        settings: PoolSettings,
        watch: Watch | None = None,
    ) -> None:
        self._transport = transport
        self._settings = settings
        self._watch = watch or Unwatched()
        self._line = Line(shards)
        self._roster = Roster(settings.overlapping + 1)  # one waits: no worker waits for us
        self._workers: dict[int, Worker] = {}
        self._owners: dict[int, Worker] = {}  # by ticket
        self._suspicions: list[_Suspicion] = []
        self._suspects: deque[Job] = deque()
        self._reserved: dict[int, Worker] = {}
        self._num_dead = 0
        self._failed_starts = 0
        self._wanted = 0
        self._look_at = self._tell_at = 0.0

    def run(self) -> Iterator[Outcome]:
        """Yield one outcome per shard, as they end.

        When the settings say that it is stopping, nothing more is handed out, and it returns once
        nothing is in flight.
        """
        heard_at = time.monotonic()
        while self._has_more():
            if not self._settings.is_stopping():
                self._keep_workers()
                self._hand_out()
            events = self._transport.events(_TICK_S)
            for event in events:
                yield from self._settle(event)
            yield from self._judge()
            now = time.monotonic()
            if events or now - heard_at > self._settings.patience_s:
                self._report_missing(is_quiet=not events)
                heard_at = now

    def stop(self) -> None:
        """End the workers."""
        for worker in self._workers.values():
            self._transport.stop(worker.number)
        self._workers.clear()

    def _has_more(self) -> bool:
        if self._settings.is_stopping():
            return bool(self._owners)
        return bool(self._owners or self._suspects or self._suspicions or self._line.count(1))

    def _keep_workers(self) -> None:
        """Start what is missing; end starts that nobody waits for."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + self._settings.look_s
            fixed = self._settings.num_workers
            self._wanted = fixed or max(1, self._transport.capacity())
            self._end_surplus(self.num_alive - self._wanted)
        if now >= self._tell_at:
            self._tell_at = now + _TICK_S
            self._tell()
        missing = self._wanted - self.num_alive
        if missing > 0:
            for _ in range(min(missing, self._num_left(self._wanted) - self.num_alive)):
                number = self._transport.start()
                self._workers[number] = Worker(number)

    @property
    def num_alive(self) -> int:
        """The workers that have started or are starting, as far as is known."""
        return len(self._workers) - self._num_dead

    def _num_left(self, up_to: int) -> int:
        suspected = sum(len(suspicion.jobs) for suspicion in self._suspicions)
        others = len(self._owners) + len(self._suspects) + suspected
        return others + self._line.count(up_to)

    def _end_surplus(self, surplus: int) -> None:
        if surplus <= 0:
            return
        starting = [worker for worker in self._workers.values() if not worker.has_started]
        for worker in starting[:surplus]:
            self._retire(worker)

    def _retire(self, worker: Worker) -> None:
        """Forget a worker that has nothing in flight."""
        self._transport.stop(worker.number)
        del self._workers[worker.number]
        self._reserved.pop(worker.number, None)
        self._num_dead -= worker.death is not None
        worker.is_ready = False
        self._roster.place(worker)

    def _tell(self) -> None:
        starting = sum(not worker.has_started for worker in self._workers.values())
        self._watch.has(
            in_flight=len(self._owners), alive=self.num_alive - starting, starting=starting
        )

    def _report_missing(self, *, is_quiet: bool) -> None:
        missing = (
            sum(not worker.has_started for worker in self._workers.values()) if is_quiet else 0
        )
        if missing:
            _log.warning(
                "%d of %d workers have not started; %s",
                missing,
                len(self._workers),
                self._transport.missing(),
            )

    def _hand_out(self) -> None:
        self._hand_out_suspects()
        while (worker := self._roster.emptiest()) is not None:
            job = self._line.pop()
            if job is None:
                return
            self._send(worker, job)

    def _hand_out_suspects(self) -> None:
        """Give suspects to workers kept free for them, a quarter of all at most."""
        most = min(len(self._suspects), max(1, self.num_alive // 4))
        while len(self._reserved) < most and (worker := self._roster.emptiest()) is not None:
            worker.is_reserved = True
            self._reserved[worker.number] = worker
            self._roster.place(worker)
        for worker in [worker for worker in self._reserved.values() if not worker.jobs]:
            if self._suspects and worker.is_ready and not worker.is_leaving:
                self._send(worker, self._suspects.popleft())
            else:
                worker.is_reserved = False
                del self._reserved[worker.number]
                self._roster.place(worker)

    def _send(self, worker: Worker, job: Job) -> None:
        ticket = self._transport.send(worker.number, job.shard)
        worker.jobs[ticket] = job
        self._owners[ticket] = worker
        self._roster.place(worker)

    def _settle(self, event: Event) -> Iterator[Outcome]:
        if isinstance(event, Ready):
            if (worker := self._workers.get(event.worker)) is not None:
                yield from self._welcome(worker, event.node)
        elif isinstance(event, NotReady):
            if (worker := self._workers.get(event.worker)) is not None:
                self._miss(worker, event)
        elif (worker := self._owners.get(event.ticket)) is not None:
            yield from self._settle_ticket(worker, event)

    def _settle_ticket(self, worker: Worker, event: Answered | Silent | Lost) -> Iterator[Outcome]:
        ticket = event.ticket
        if isinstance(event, Answered):
            job = self._take_back(worker, ticket)
            if event.tried is None:
                worker.is_leaving = True
                self._return(job)
            else:
                yield from self._end_try(job, event.tried)
        elif isinstance(event, Silent):
            worker.unanswered.add(ticket)
            worker.silent.add(ticket)
            if worker.silent_since is None and worker.death is None:
                worker.silent_since = time.monotonic()
                worker.is_ready = False
                self._transport.ask(worker.number)
        else:
            worker.unanswered.add(ticket)
            self._note_death(worker, event.reason, blameless=event.blameless)
        self._roster.place(worker)
        self._settle_worker(worker)

    def _take_back(self, worker: Worker, ticket: int) -> Job:
        del self._owners[ticket]
        worker.unanswered.discard(ticket)
        worker.silent.discard(ticket)
        return worker.jobs.pop(ticket)

    def _settle_worker(self, worker: Worker) -> None:
        """Bury a dead worker when all its answers are in; let a leaving one go."""
        if worker.death is not None:
            if len(worker.unanswered) == len(worker.jobs):
                self._bury(worker)
        elif worker.is_leaving and not worker.jobs:
            _log.warning("a worker was told to stop and is replaced")
            self._retire(worker)

    def _welcome(self, worker: Worker, node: str) -> Iterator[Outcome]:
        worker.node, worker.is_ready, worker.silent_since = node, worker.death is None, None
        self._failed_starts = 0
        for ticket in list(worker.silent):
            yield from self._lose(
                self._take_back(worker, ticket), "its worker could not be reached"
            )
        self._roster.place(worker)
        self._settle_worker(worker)

    def _miss(self, worker: Worker, event: NotReady) -> None:
        if worker.has_started:
            since = worker.silent_since or time.monotonic()
            if event.may_answer and time.monotonic() - since <= self._settings.patience_s:
                self._transport.ask(worker.number)
                return
            if event.may_answer:
                worker.unanswered.update(worker.jobs)  # no longer waited for
            self._note_death(worker, event.reason, blameless=event.blameless or event.may_answer)
            self._settle_worker(worker)
            return
        self._failed_starts += not event.blameless
        if self._failed_starts >= self._settings.max_tries * max(1, self._wanted):
            raise ClusterError(f"Ray could not start a worker: {both_ends(event.reason)}")
        _log.warning("a worker did not start and is replaced: %s", first_line(event.reason))
        self._retire(worker)

    def _note_death(self, worker: Worker, reason: str, *, blameless: bool) -> None:
        if worker.death is None:
            _log.warning("a worker died and is replaced: %s", first_line(reason))
            worker.death = reason
            worker.is_ready = False
            self._num_dead += 1
        worker.is_blameless |= blameless

    def _bury(self, worker: Worker) -> None:
        """Suspect what was or may have been inside a dead worker; give back what waited in it."""
        suspected = worker.perhaps_inside(self._settings.overlapping)
        waited = [ticket for ticket in worker.jobs if ticket not in suspected]
        for ticket in reversed(waited):
            self._return(self._take_back(worker, ticket))
        if jobs := [self._take_back(worker, ticket) for ticket in suspected]:
            until = time.monotonic() + self._settings.verdict_s
            self._suspicions.append(_Suspicion(worker, jobs, until))
        self._retire(worker)

    def _judge(self) -> Iterator[Outcome]:
        """Decide on jobs whose worker died: with its node, or by itself."""
        if not self._suspicions:
            return
        now, open_still = time.monotonic(), []
        for case in self._suspicions:
            reason = case.worker.death or ""
            if case.worker.is_blameless or not self._transport.has_node(case.worker.node):
                for job in case.jobs:
                    yield from self._lose(job, reason)
            elif now < case.until:
                open_still.append(case)
            elif len(case.jobs) == 1:
                died = Try(None, f"the worker died: {reason}", None, "unknown", 0.0)
                yield from self._end_try(case.jobs[0], died, alone=self._settings.overlapping > 1)
            else:
                self._suspects.extend(case.jobs)
        self._suspicions = open_still

    def _lose(self, job: Job, reason: str) -> Iterator[Outcome]:
        """Give ``job`` to another worker, uncharged while that has not happened too often."""
        job.losses += 1
        if job.losses <= MOST_LOSSES:
            self._return(job)
            return
        error = f"lost {job.losses} times with its node: {reason}"
        yield from self._end_try(job, Try(None, error, None, "unknown", 0.0))

    def _return(self, job: Job) -> None:
        self._line.give_back(job)
        self._watch.retried()

    def _end_try(self, job: Job, tried: Try, *, alone: bool = False) -> Iterator[Outcome]:
        job.tries += 1
        if tried.may_pass_later and job.tries < self._settings.max_tries:
            if alone:
                self._suspects.append(job)
            else:
                self._line.try_again(job)
            self._watch.retried()
            return
        outcome = tried.outcome(job.shard, job.tries)
        self._watch.ended(outcome)
        yield outcome
