"""Work, Outcome, Executor: any idempotent ``work(shard) -> result``, done by anybody."""

import os
import socket
import time
import traceback
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Protocol

from ecgtwin.errors import (
    CheckpointError,
    CohortMismatchError,
    DamageError,
    EcgTwinError,
    SpecificationError,
)
from ecgtwin.executors.torch_threads import one_torch_thread as one_torch_thread
from ecgtwin.spec.shard import Shard

# What no other try mends; most often no other shard does either.
_HOPELESS = (CheckpointError, CohortMismatchError, DamageError, SpecificationError)


class Work(Protocol):
    """Picklable and idempotent; loads what it needs on its first call in a process.

    Work that overlaps its own stages says in a class attribute ``num_overlapping: int`` how many
    shards one worker may have inside it at a time: it is called by as many threads at once. Work
    that takes long may have a method ``abandon()``: nobody waits for the shards inside any more.
    """

    def __call__(self, shard: Shard) -> object:
        """Do one shard; return a small picklable result."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one shard ended.

    ``error`` is None or the traceback of the last of ``tries`` tries; ``mistake`` is the exception
    itself where it is one that a user can mend.
    """

    shard: Shard
    result: object
    error: str | None
    tries: int
    worker: str
    seconds: float
    mistake: EcgTwinError | None = None

    @property
    def is_hopeless(self) -> bool:
        """Say whether it ended with a mistake for which a shard is tried once only."""
        return isinstance(self.mistake, _HOPELESS)


class Executor(Protocol):
    """Runs work on shards."""

    def run(self, work: Work, shards: Iterable[Shard]) -> Generator[Outcome, None, None]:
        """Yield one outcome per shard in any order; a failing shard does not stop the rest.

        Closing it ends the workers.
        """


@dataclass(frozen=True, slots=True)
class Try:
    """What one call of the work gave."""

    result: object
    error: str | None
    mistake: EcgTwinError | None
    worker: str
    seconds: float

    @property
    def may_pass_later(self) -> bool:
        """Say whether it failed by what another try may not meet."""
        return self.error is not None and not isinstance(self.mistake, _HOPELESS)

    def outcome(self, shard: Shard, tries: int) -> Outcome:
        """Return this as the end of ``shard``."""
        return Outcome(
            shard, self.result, self.error, tries, self.worker, self.seconds, self.mistake
        )


def num_overlapping(work: Work) -> int:
    """Return how many threads of a worker may be inside ``work`` at a time: 1 where it says none.

    Raises ValueError where it says less than 1.
    """
    num = int(getattr(work, "num_overlapping", 1))
    if num < 1:
        raise ValueError(f"{type(work).__name__}.num_overlapping is {num}; it must be at least 1")
    return num


def abandon(work: Work) -> None:
    """Tell work that takes long that nobody waits for what is inside."""
    told = getattr(work, "abandon", None)
    if told is not None:
        told()


def try_once(work: Work, shard: Shard) -> Try:
    """Call ``work`` with one torch thread; return its result or its traceback."""
    started = time.perf_counter()
    result, error, mistake = None, None, None
    try:
        with one_torch_thread():
            result = work(shard)
    except Exception as caught:
        error = traceback.format_exc()
        mistake = _without_frames(caught) if isinstance(caught, EcgTwinError) else None
    return Try(result, error, mistake, worker_name(), time.perf_counter() - started)


def _without_frames(mistake: EcgTwinError) -> EcgTwinError:
    """Let go of the frames that ``mistake`` came through: they hold the arrays of a shard."""
    error: BaseException | None = mistake
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
    return mistake


def worker_name() -> str:
    """Return ``host:process id`` of this process."""
    return f"{socket.gethostname()}:{os.getpid()}"
