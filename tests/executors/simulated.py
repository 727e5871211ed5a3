"""A transport without processes: what happens to its workers is drawn from a seed."""

import random
from collections.abc import Container, Sequence
from itertools import count

from ecgtwin.errors import CohortMismatchError
from ecgtwin.executors.protocol import Try
from ecgtwin.executors.transport import Answered, Event, Lost, NotReady, Ready, Silent
from ecgtwin.spec.shard import Shard

MOST_IDLE = 100_000  # calls in a row at which nothing happens


class Simulated:
    """Workers on nodes of four. At each call of ``events`` one thing happens.

    ``killers`` kill the worker they are inside, ``raisers`` raise, ``mistaken``
    raise what no other try mends. ``fates`` are what may happen
    beside the work, each with its share of the calls: "node" dies, "silence", "stop" of a worker,
    "no start".
    """

    def __init__(
        self,
        *,
        overlapping: int = 1,
        killers: Sequence[int] = (),
        raisers: Sequence[int] = (),
        mistaken: Container[int] = (),
        fates: dict[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        self.overlapping = overlapping
        self.killers, self.raisers, self.mistaken = killers, raisers, mistaken
        self.fates = fates or {}
        self.places = 8
        self.most_in_flight = self.most_workers = self.num_sent = 0
        self.deaths_beside: dict[int, int] = {}
        self._random = random.Random(seed)
        self._numbers = count()
        self._starting: dict[int, None] = {}
        self._given: dict[int, dict[int, Shard]] = {}
        self._node_of: dict[int, str] = {}
        self._dead_nodes: set[str] = set()
        self._stopping: set[int] = set()
        self._num_idle = 0
        self._events: list[Event] = []

    def start(self) -> int:
        number = next(self._numbers)
        self._starting[number] = None
        self.most_workers = max(self.most_workers, len(self._starting) + len(self._given))
        return number

    def ask(self, worker: int) -> None:
        if worker in self._given:
            answer = self._random.choice(["yes", "later"])
            if answer == "yes":
                self._events.append(Ready(worker, self._node_of[worker]))
            else:
                self._events.append(NotReady(worker, "not there", False, may_answer=True))
        else:
            self._events.append(NotReady(worker, "dead", False, may_answer=False))

    def send(self, worker: int, shard: Shard) -> int:
        ticket = next(self._numbers)
        self.num_sent += 1
        if worker not in self._given:
            self._events.append(Lost(ticket, "dead already", blameless=True))
        elif worker in self._stopping:
            self._events.append(Answered(ticket, None))
        else:
            self._given[worker][ticket] = shard
            self.most_in_flight = max(self.most_in_flight, len(self._given[worker]))
        return ticket

    def events(self, timeout_s: float) -> Sequence[Event]:
        self._happen()
        found, self._events = self._events, []
        self._num_idle = 0 if found else self._num_idle + 1
        assert self._num_idle < MOST_IDLE, "waits for what nobody will ever say"
        return found

    def stop(self, worker: int) -> None:
        self._starting.pop(worker, None)
        self._given.pop(worker, None)

    def has_node(self, node: str) -> bool:
        return node not in self._dead_nodes

    def capacity(self) -> int:
        return self.places

    def missing(self) -> str:
        return "nothing is free"

    @property
    def num_workers(self) -> int:
        return len(self._given)

    def _happen(self) -> None:
        fate = next((fate for fate, share in self.fates.items() if self._hits(share)), None)
        if fate == "no start" and self._starting:
            worker = self._starting.popitem()[0]
            self._events.append(NotReady(worker, "no start", False, may_answer=False))
        elif self._starting and (self._hits(0.5) or not self._busy()):
            worker = next(iter(self._starting))
            del self._starting[worker]
            self._given[worker] = {}
            self._node_of[worker] = f"node {worker // 4} of {len(self._dead_nodes)}"
            self._events.append(Ready(worker, self._node_of[worker]))
        elif busy := self._busy():
            worker = self._random.choice(busy)
            {"node": self._kill_node, "silence": self._hush, "stop": self._tell_to_stop}.get(
                fate or "", self._work
            )(worker)

    def _hits(self, share: float) -> bool:
        return self._random.random() < share

    def _busy(self) -> list[int]:
        return [worker for worker, given in self._given.items() if given]

    def _inside(self, worker: int) -> list[int]:
        return list(self._given[worker])[: self.overlapping]

    def _work(self, worker: int) -> None:
        ticket = self._random.choice(self._inside(worker))
        shard = self._given[worker][ticket]
        if shard.index in self.killers:
            for beside in self._inside(worker):
                index = self._given[worker][beside].index
                self.deaths_beside[index] = self.deaths_beside.get(index, 0) + 1
            self._die(worker, blameless=False)
            return
        del self._given[worker][ticket]
        mistake = CohortMismatchError("not this") if shard.index in self.mistaken else None
        error = "poison" if shard.index in self.raisers or mistake else None
        self._events.append(Answered(ticket, Try(shard.index, error, mistake, str(worker), 1.0)))

    def _die(self, worker: int, *, blameless: bool) -> None:
        for ticket in self._given.pop(worker):
            self._events.append(Lost(ticket, "its end", blameless))

    def _kill_node(self, worker: int) -> None:
        node = self._node_of[worker]
        self._dead_nodes.add(node)
        for neighbour in [other for other in self._given if self._node_of[other] == node]:
            self._die(neighbour, blameless=self._hits(0.5))

    def _hush(self, worker: int) -> None:
        """Lose one answer: the shard may have been done, or is done later."""
        ticket = self._random.choice(self._inside(worker))
        shard = self._given[worker].pop(ticket)
        self._events.append(Silent(ticket))
        if shard.index not in (*self.killers, *self.raisers) and self._hits(0.5):
            self._events.append(Answered(ticket, Try(shard.index, None, None, "late", 1.0)))

    def _tell_to_stop(self, worker: int) -> None:
        """What waits is refused; what is inside is answered later, or its answer is lost."""
        self._stopping.add(worker)
        given = self._given[worker]
        for ticket in list(given)[self.overlapping :]:
            del given[ticket]
            self._events.append(Answered(ticket, None))
