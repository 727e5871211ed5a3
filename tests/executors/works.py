"""Work for the executor tests; a module of its own, so that Ray's actors can import it."""

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import ray

from ecgtwin.errors import CohortMismatchError
from ecgtwin.executors.protocol import Work
from ecgtwin.spec.shard import Shard


@dataclass(frozen=True)
class CountRows:
    """Writes one line per call, to count the tries; returns the number of rows."""

    folder: Path

    def __call__(self, shard: Shard) -> int:
        with (self.folder / f"{shard.index}.log").open("a") as log:
            log.write(f"{os.getpid()}\n")
        return len(shard)


@dataclass(frozen=True)
class FailOn:
    """Fails on one shard, always or the first ``times`` times; ``how`` is what goes wrong."""

    folder: Path
    index: int
    times: int
    how: str = "raise"

    def __call__(self, shard: Shard) -> int:
        rows = CountRows(self.folder)(shard)
        tries = len((self.folder / f"{shard.index}.log").read_text().splitlines())
        if shard.index == self.index and tries <= self.times:
            if self.how == "kill":
                time.sleep(0.2)  # the answers before this one are on their way
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "mistake":
                raise CohortMismatchError("this is not that cohort")
            raise RuntimeError("poison")
        return rows


class Unsendable:
    """Returns what cannot be pickled for shard 1."""

    def __call__(self, shard: Shard) -> object:
        return (lambda: None, sys._getframe()) if shard.index == 1 else shard.index


class Unreadable:
    """Returns what can be pickled, but not read again, for shard 1."""

    def __call__(self, shard: Shard) -> object:
        return _RaisesWhenRead() if shard.index == 1 else shard.index


class _RaisesWhenRead:
    def __reduce__(self) -> tuple[object, ...]:
        return int, ("no number",)


class NumThreads:
    """Returns how many threads torch uses."""

    def __call__(self, shard: Shard) -> int:
        import torch

        return torch.get_num_threads()


@dataclass(frozen=True)
class Slow:
    """Says that it began, then takes its time."""

    folder: Path
    seconds: float

    def __call__(self, shard: Shard) -> int:
        (self.folder / f"{shard.index}.begun").touch()
        time.sleep(self.seconds)
        return os.getpid()


@dataclass(frozen=True)
class MeetFirst:
    """Another's work, begun only when ``num_workers`` processes have each been given a shard."""

    folder: Path
    num_workers: int
    work: Work

    def __call__(self, shard: Shard) -> object:
        (self.folder / f"{os.getpid()}.here").touch()
        until = time.monotonic() + 120
        while len(list(self.folder.glob("*.here"))) < self.num_workers:
            if time.monotonic() > until:
                raise TimeoutError(f"{self.num_workers} workers were not all given a shard")
            time.sleep(0.05)
        return self.work(shard)


_changed = threading.Condition()
_inside = 0
_most_inside = 0


class Overlapping:
    """Keeps the first three threads until they are all inside; returns the most there ever were."""

    num_overlapping = 3

    def __call__(self, shard: Shard) -> int:
        global _inside, _most_inside
        with _changed:
            _inside += 1
            _most_inside = max(_most_inside, _inside)
            _changed.notify_all()
            if not _changed.wait_for(lambda: _most_inside >= self.num_overlapping, 120):
                raise TimeoutError(f"only {_most_inside} shards were inside at a time")
        time.sleep(0.05)  # a fourth would be seen
        with _changed:
            _inside -= 1
            return _most_inside


@dataclass(frozen=True)
class Lingering:
    """Takes its time; each try leaves two files, of its begin and its end. Returns its node."""

    folder: Path
    seconds: float

    def __call__(self, shard: Shard) -> str:
        name = f"{shard.index}.{os.getpid()}.{time.time_ns()}"
        (self.folder / f"{name}.begun").touch()
        time.sleep(self.seconds)
        (self.folder / f"{name}.ended").touch()
        return ray.get_runtime_context().get_node_id()


@dataclass(frozen=True)
class KillBeside:
    """Shard 1 kills its process while its neighbours are still at work."""

    folder: Path
    num_overlapping = 3

    def __call__(self, shard: Shard) -> int:
        rows = CountRows(self.folder)(shard)
        time.sleep(0.3 if shard.index == 1 else 1.0)
        if shard.index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return rows
