"""Transport: how a pool reaches its workers. The pool schedules; it knows no Ray."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from ecgtwin.executors.protocol import Try
from ecgtwin.spec.shard import Shard


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker has started, or answers again after silence. ``node`` says which node it is on."""

    worker: int
    node: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A shard's try has ended; ``tried`` is None where the worker stops and did not begin it."""

    ticket: int
    tried: Try | None


@dataclass(frozen=True, slots=True)
class Silent:
    """The worker cannot be reached for now; whether it did the shard is not known."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker died before it answered for the shard.

    ``blameless``: surely no shard's fault, because its node died or somebody told it to stop.
    """

    ticket: int
    reason: str
    blameless: bool


@dataclass(frozen=True, slots=True)
class NotReady:
    """A worker did not start, or died in silence. ``may_answer``: it may still be asked again."""

    worker: int
    reason: str
    blameless: bool
    may_answer: bool


Event: TypeAlias = Ready | Answered | Silent | Lost | NotReady


class Transport(Protocol):
    """Starts workers and carries shards to them; workers and tickets are numbers of its own.

    Each ``start`` and each ``ask`` gives one Ready or NotReady, each ``send`` one of the others.
    """

    def start(self) -> int:
        """Begin to start a worker; return its number."""

    def ask(self, worker: int) -> None:
        """Ask a silent worker whether it is there."""

    def send(self, worker: int, shard: Shard) -> int:
        """Give ``shard`` to a worker; return the ticket of the try."""

    def events(self, timeout_s: float) -> Sequence[Event]:
        """Return all that happened since, waiting up to ``timeout_s`` for the first."""

    def stop(self, worker: int) -> None:
        """End a worker at once, started or not, dead or not."""

    def has_node(self, node: str) -> bool:
        """Say whether ``node`` is alive."""

    def capacity(self) -> int:
        """Return how many workers the nodes that are there can hold."""

    def missing(self) -> str:
        """Return in words what is free for workers that do not start."""
