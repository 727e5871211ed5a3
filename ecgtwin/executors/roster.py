"""What a pool keeps in order: the line of jobs, and the workers by how much they have to do."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ecgtwin.spec.shard import Shard


@dataclass(slots=True, eq=False)
class Job:
    """A shard on its way. ``losses`` are deaths that are not its own fault, and not tries."""

    shard: Shard
    tries: int = 0
    losses: int = 0


@dataclass(slots=True, eq=False)
class Worker:
    """One worker and what it was given, in that order, by ticket.

    ``unanswered`` are tickets for which no answer will come, ``silent`` those of them of which it
    is not known whether they were done. ``death`` says why it died.
    """

    number: int
    node: str = ""
    is_ready: bool = False
    is_leaving: bool = False
    is_reserved: bool = False
    jobs: dict[int, Job] = field(default_factory=dict)
    unanswered: set[int] = field(default_factory=set)
    silent: set[int] = field(default_factory=set)
    silent_since: float | None = None
    death: str | None = None
    is_blameless: bool = False
    level: int | None = None  # where it stands in the roster

    @property
    def has_started(self) -> bool:
        """Say whether it was ever ready."""
        return bool(self.node)

    @property
    def may_take(self) -> bool:
        """Say whether it may be given any shard."""
        return self.is_ready and not (self.is_leaving or self.is_reserved)

    def perhaps_inside(self, overlapping: int) -> list[int]:
        """Return the tickets that can have been at work at the end of a worker: it keeps order."""
        known = [ticket for ticket in self.jobs if ticket not in self.silent]
        return [*self.silent, *known[:overlapping]]


class Line:
    """Jobs to hand out: those given back first, then fresh ones, then those to be tried again.

    What is wrong with a shard may pass while the others are made. Shards are taken from the
    iterable only as they are needed.
    """

    def __init__(self, shards: Iterable[Shard]) -> None:
        self._given_back: deque[Job] = deque()
        self._fresh: deque[Job] = deque()
        self._unread = iter(shards)
        self._again: deque[Job] = deque()

    def count(self, up_to: int) -> int:
        """Return the number of jobs in the line, or ``up_to`` if there are more."""
        missing = up_to - len(self._given_back) - len(self._fresh) - len(self._again)
        while missing > 0 and self._read():
            missing -= 1
        return up_to - max(0, missing)

    def pop(self) -> Job | None:
        """Return the next job, None where there is none."""
        if self._given_back:
            return self._given_back.popleft()
        if self._fresh or self._read():
            return self._fresh.popleft()
        return self._again.popleft() if self._again else None

    def give_back(self, job: Job) -> None:
        """Put ``job`` in front."""
        self._given_back.appendleft(job)

    def try_again(self, job: Job) -> None:
        """Put ``job`` last."""
        self._again.append(job)

    def _read(self) -> bool:
        shard = next(self._unread, None)
        if shard is not None:
            self._fresh.append(Job(shard))
        return shard is not None


class Roster:
    """The workers that may take shards, by how many they have; each step costs the same."""

    def __init__(self, most_in_flight: int) -> None:
        self._levels: list[dict[int, Worker]] = [{} for _ in range(most_in_flight)]

    def place(self, worker: Worker) -> None:
        """Take note of what ``worker`` has now, and whether it may take more."""
        load = len(worker.jobs)
        level = load if worker.may_take and load < len(self._levels) else None
        if level == worker.level:
            return
        if worker.level is not None:
            del self._levels[worker.level][worker.number]
        if level is not None:
            self._levels[level][worker.number] = worker
        worker.level = level

    def emptiest(self) -> Worker | None:
        """Return a worker with the fewest shards, None where none may take one."""
        for workers in self._levels:
            if workers:
                return next(iter(workers.values()))
        return None
